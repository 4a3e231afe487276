"""The algorithm: one epoch of training."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recipe.config import Config
from recipe.data.loader import TrainLoader
from recipe.data.micro_batch import MicroBatch
from recipe.data.order import Order
from recipe.data.transforms import normalise
from recipe.ingredients.augment import erase
from recipe.ingredients.early_stopping import EarlyStopping
from recipe.ingredients.ema import Ema
from recipe.ingredients.mix import draw_mix, mix
from recipe.ingredients.optimizer import clip_gradients
from recipe.ingredients.policies_batched import apply_batched
from recipe.ingredients.resizing import resize_batch
from recipe.ingredients.schedule import Plateau, set_rates
from recipe.machine.distributed import Ranks, gradients_averaged
from recipe.network.batch_norm import Statistics
from recipe.network.freeze import training_mode
from recipe.network.model import PRECISIONS
from recipe.randomness import Draws, reseed_device
from recipe.training.gradients import GradientSums
from recipe.training.meter import TrainMeter
from recipe.training.prefetch import Prefetcher


@dataclass
class Training:
    """What a step needs. Built by recipe.run.parts."""

    config: Config
    ranks: Ranks
    order: Order
    loader: TrainLoader
    prefetcher: Prefetcher
    network: nn.Module  # the bare network
    network_loss: nn.Module  # of images and targets: loss and logits; its backward pass averages gradients over ranks
    parameters: list[nn.Parameter]  # the network's trainable ones
    statistics: Statistics  # the network's buffers
    sums: GradientSums  # of the parameters
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Ema
    plateau: Plateau
    early_stopping: EarlyStopping
    meter: TrainMeter
    num_classes: int
    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)
    after_step: Callable[[int, int], None] = lambda epoch, step: None  # given the epoch and the steps done of it


def train_one_epoch(training: Training, epoch: int, first_step: int = 0) -> None:
    """Take all optimizer steps of an epoch, from `first_step` on."""
    t, config = training, training.config
    training_mode(t.network, config.model)
    for step, micro_batches in t.loader.epoch(epoch, first_step):
        lr = set_rates(t.optimizer, config, t.plateau.factor, epoch, step, t.order.steps)
        # On a GPU the next micro-batch is made beside the step on this one. So `prepare` must draw nothing from the
        # device's generator, and all work on a micro-batch is queued before the next is asked for.
        prepared = t.prefetcher(micro_batches, lambda batch: prepare(t, batch, epoch))
        for done, (batch, (images, targets)) in enumerate(prepared, start=1):
            reseed_device(t.ranks.device, config.seed, epoch, step, batch.number)  # for dropout
            # A rank adds up the gradients of its micro-batches by itself (no_sync); the backward pass of the last one
            # averages the sums over the ranks, once a step.
            last = done == t.order.micro_batches // t.ranks.world_size
            averaged = gradients_averaged(t.network_loss, now=last)
            # Batch norm keeps the statistics of the step's micro-batch 0; after any other, the old ones are restored.
            with t.statistics.of_first(batch.number), t.sums.of_micro_batch(last), averaged:
                with autocast(config, t.ranks.device):
                    loss, logits = t.network_loss(images, targets)
                # The loss is a mean over the micro-batch: times its share of the step's images, the micro-batches add
                # up to the mean over the step, short ones included. Times the ranks: their gradients are averaged.
                t.scaler.scale(times(loss, batch.share * t.ranks.world_size)).backward()
            t.meter.add(loss, batch.share, logits, targets)
        t.scaler.unscale_(t.optimizer)  # before clipping, whose limit is for the gradient and not for fp16's multiple
        norm = clip_gradients(t.parameters, config.optimizer, norm_wanted=t.meter.shows(epoch, step))
        t.meter.watch(t.parameters, norm)
        t.scaler.step(t.optimizer)
        t.scaler.update()
        t.optimizer.zero_grad()  # to None: the next backward pass writes its gradients, with nothing to add them to
        t.ema.update(epoch, step)
        t.meter.step_done(epoch, step, lr)
        t.after_step(epoch, step + 1)


def prepare(t: Training, batch: MicroBatch, epoch: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, H, W) and targets (n, classes) on the device: normalised, erased, resized, mixed."""
    images, labels = (part.to(t.ranks.device, non_blocking=True) for part in (batch.images, batch.labels))
    images = apply_batched(images, batch.codes, batch.magnitudes, t.config.resolution.interpolation)
    images = as_input(images, t.mean, t.std, t.config)
    if t.config.augment.random_erase:
        images = erase(images, batch.erase.to(t.ranks.device, non_blocking=True))
    images = resize_batch(images, t.config, epoch, batch.step, t.order.steps)
    draw = draw_mix(t.config.mix, Draws(t.config.seed, "mix", epoch, batch.step, batch.number), *images.shape[2:])
    return mix(images, labels, t.num_classes, draw)


def as_input(images: Tensor, mean: Tensor, std: Tensor, config: Config) -> Tensor:
    """Images as the network takes them, normalised, (n, 3, H, W) in the precision of `mean`.

    Args:
        images: (n, 3, H, W) uint8, on the device.
        mean, std: of the channels, (3, 1, 1).
    """
    layout = torch.channels_last if config.runtime.channels_last else torch.contiguous_format
    return normalise(images.contiguous(memory_format=layout), mean, std, mean.dtype)


def times(loss: Tensor, weight: float) -> Tensor:
    """The product of both. Times 1, as in steps of one micro-batch, is the loss itself and takes no operation."""
    return loss if weight == 1 else loss * weight


def autocast(config: Config, device: torch.device) -> AbstractContextManager[None]:
    """Context of mixed precision where the config asks for bf16 or fp16, else of none."""
    precision = config.runtime.precision
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision in ("bf16", "fp16"))


def channel_statistics(config: Config, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the channels, (3, 1, 1) each, in the precision that networks take images in."""
    dtype = torch.float64 if config.runtime.precision == "fp64" else torch.float32
    mean, std = (torch.tensor(values, dtype=dtype, device=device) for values in (config.data.mean, config.data.std))
    return mean.view(3, 1, 1), std.view(3, 1, 1)
