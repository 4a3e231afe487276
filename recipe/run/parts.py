"""From a config to the parts of a training: network, optimizer, loader and the rest."""

import numpy as np
import torch
from torch import nn

from recipe.config import Config
from recipe.data.dataset import Dataset
from recipe.data.loader import TrainLoader
from recipe.data.order import Order
from recipe.ingredients.early_stopping import EarlyStopping
from recipe.ingredients.ema import Ema
from recipe.ingredients.loss import NetworkLoss, class_weights, make_loss
from recipe.ingredients.optimizer import make_optimizer
from recipe.ingredients.resizing import sides
from recipe.ingredients.schedule import Plateau
from recipe.machine.distributed import Ranks
from recipe.network import compiling
from recipe.network.batch_norm import Statistics
from recipe.training.gradients import GradientSums
from recipe.training.loop import Training, channel_statistics
from recipe.training.meter import TrainMeter
from recipe.training.prefetch import Prefetcher


def build(
    config: Config,
    network: nn.Module,
    train_set: Dataset,
    order: Order,
    ranks: Ranks,
    start: tuple[int, int],
    meter: TrainMeter,
) -> Training:
    """The parts of a training, as the config asks for them. Starts the data workers. Every rank calls it.

    Args:
        start: epoch and step that the loader begins at, from 0.
    """
    network = network.to(ranks.device)
    if config.model.sync_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    ema = Ema(network, config, len(train_set))
    optimizer = make_optimizer(network, config.optimizer)
    mean, std = channel_statistics(config, ranks.device)
    weights = class_weights(config.loss, np.bincount(train_set.labels, minlength=len(train_set.classes)).tolist())
    weights = weights if weights is None else weights.to(mean)
    network_loss: nn.Module = NetworkLoss(network, make_loss(config.loss, weights))
    if config.runtime.compile:
        network_loss = compiling.Compiled(network_loss, config.runtime, len(set(sides(config))))
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    several = order.micro_batches > ranks.world_size  # micro-batches of a rank
    return Training(
        config=config,
        ranks=ranks,
        order=order,
        loader=TrainLoader(train_set, order, config, ranks, start),
        prefetcher=Prefetcher(ranks.device),
        network=network,
        network_loss=ranks.averaging_gradients(network_loss),
        parameters=parameters,
        statistics=Statistics(network),
        sums=GradientSums(
            parameters, kept=several and compiling.replays(config.runtime), averaged=ranks.world_size > 1
        ),
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(ranks.device.type, enabled=config.runtime.precision == "fp16"),
        ema=ema,
        plateau=Plateau(config.schedule),
        early_stopping=EarlyStopping(config.early_stopping),
        meter=meter,
        num_classes=len(train_set.classes),
        mean=mean,
        std=std,
    )
