"""From a config to the parts of a training: network, optimizer, loader and the rest."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from recipe.data.loader import TrainLoader
from recipe.ingredients.early_stopping import EarlyStopping
from recipe.ingredients.ema import Ema
from recipe.ingredients.loss import NetworkLoss, make_loss
from recipe.ingredients.optimizer import make_optimizer
from recipe.ingredients.schedule import Plateau
from recipe.logs.journal import TrainMeter
from recipe.network import compiling
from recipe.training.loop import Training, channel_statistics
from recipe.training.prefetch import Ahead

if TYPE_CHECKING:
    from recipe.run.run import Run


def build(run: "Run", network: nn.Module) -> Training:
    """The parts of a training, from the run's config."""
    config, ranks, order = run.config, run.ranks, run.order
    torch.use_deterministic_algorithms(config.runtime.deterministic)
    torch.backends.cudnn.benchmark = not config.runtime.deterministic
    network = network.to(ranks.device)
    if config.model.sync_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    ema = Ema(network, config, len(run.train_set))
    optimizer = make_optimizer(network, config.optimizer)
    scaler = torch.amp.GradScaler(ranks.device.type, enabled=config.runtime.precision == "fp16")
    network_loss: nn.Module = NetworkLoss(network, make_loss(config.loss))
    if config.runtime.compile:
        network_loss = compiling.Compiled(network_loss, config.runtime)
    if compiling.replays(config.runtime):
        compiling.keep_gradients(network)
    mean, std = channel_statistics(config, ranks.device)
    return Training(
        config=config,
        ranks=ranks,
        order=order,
        loader=TrainLoader(run.train_set, order, config, ranks, (run.progress.epoch, run.progress.step)),
        ahead=Ahead(ranks.device),
        network=network,
        network_loss=ranks.averaging_gradients(network_loss),
        optimizer=optimizer,
        scaler=scaler,
        ema=ema,
        plateau=Plateau(config.schedule),
        early_stopping=EarlyStopping(config.early_stopping),
        meter=TrainMeter(
            run.journal, ranks, order.steps, config.log.every_steps, run.steps, overflows=scaler.is_enabled()
        ),
        after_step=run.after_step,
        num_classes=len(run.train_set.classes),
        mean=mean,
        std=std,
    )
