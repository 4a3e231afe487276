"""The algorithm: one epoch of training, and an evaluation."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipe.config import Config
from recipe.data.dataset import Images
from recipe.data.loader import TrainLoader, eval_batches
from recipe.data.micro_batch import MicroBatch
from recipe.data.order import Order
from recipe.data.transforms import normalise
from recipe.errors import DataError
from recipe.ingredients.augment import erase
from recipe.ingredients.early_stopping import EarlyStopping
from recipe.ingredients.ema import Ema
from recipe.ingredients.mix import draw_mix, mix
from recipe.ingredients.optimizer import clip_gradients
from recipe.ingredients.policies_batched import apply_batched
from recipe.ingredients.schedule import Plateau, set_rates
from recipe.logs.journal import TrainMeter
from recipe.machine.distributed import Ranks, gradients_averaged
from recipe.network.batch_norm import statistics_of_first
from recipe.network.compiling import replays
from recipe.network.freeze import training_mode
from recipe.network.model import PRECISIONS
from recipe.randomness import Draws, reseed_device
from recipe.training.prefetch import Ahead


@dataclass
class Training:
    """What a step needs. Built by run.py."""

    config: Config
    ranks: Ranks
    order: Order
    loader: TrainLoader
    ahead: Ahead
    network: nn.Module  # the bare network
    network_loss: nn.Module  # of images and targets; its backward pass averages gradients over the ranks
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    ema: Ema
    plateau: Plateau
    early_stopping: EarlyStopping
    meter: TrainMeter
    after_step: Callable[[int, int], None]  # given the epoch and the steps done of it
    num_classes: int
    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)


def train_one_epoch(training: Training, epoch: int, first_step: int = 0) -> None:
    """All optimizer steps of an epoch, from `first_step` on."""
    t, config = training, training.config
    training_mode(t.network, config.model)
    for step, micro_batches in t.loader.epoch(epoch, first_step):
        lr = set_rates(t.optimizer, config, t.plateau.factor, epoch, step, t.order.steps)
        prepared = t.ahead(micro_batches, lambda batch: prepare(t, batch, epoch))
        for done, (batch, (images, targets)) in enumerate(prepared, start=1):
            reseed_device(t.ranks.device, config.seed, epoch, step, batch.number)  # for dropout
            last = done == t.order.micro_batches // t.ranks.world_size
            with statistics_of_first(t.network, batch.number), gradients_averaged(t.network_loss, now=last):
                with autocast(config, t.ranks.device):
                    loss = t.network_loss(images, targets)
                t.scaler.scale(loss * (batch.share * t.ranks.world_size)).backward()
            t.meter.add(loss, batch.share, len(images))
        t.scaler.unscale_(t.optimizer)
        norm = clip_gradients(t.network.parameters(), config.optimizer)
        t.scaler.step(t.optimizer)
        t.scaler.update()
        t.optimizer.zero_grad(set_to_none=not replays(config.runtime))
        t.ema.update(t.network, epoch, step)
        t.meter.step_done(epoch, step, lr, norm)
        t.after_step(epoch, step + 1)


def prepare(t: Training, batch: MicroBatch, epoch: int) -> tuple[Tensor, Tensor]:
    """Normalise, erase and mix a micro-batch on the device: images (n, 3, H, W) and targets (n, classes)."""
    images, labels, boxes = (
        part.to(t.ranks.device, non_blocking=True) for part in (batch.images, batch.labels, batch.erase)
    )
    images = apply_batched(images, batch.codes, batch.magnitudes, t.config.resolution.interpolation)
    images = erase(as_input(images, t.mean, t.std, t.config), boxes)
    draw = draw_mix(t.config.mix, Draws(t.config.seed, "mix", epoch, batch.step, batch.number), *images.shape[2:])
    return mix(images, labels, t.num_classes, draw)


def as_input(images: Tensor, mean: Tensor, std: Tensor, config: Config) -> Tensor:
    """uint8 images on the device, as the network takes them."""
    layout = torch.channels_last if config.runtime.channels_last else torch.contiguous_format
    return normalise(images.contiguous(memory_format=layout), mean, std, mean.dtype)


def autocast(config: Config, device: torch.device) -> AbstractContextManager[None]:
    """Mixed precision where the config asks for bf16 or fp16."""
    precision = config.runtime.precision
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision in ("bf16", "fp16"))


def channel_statistics(config: Config, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the channels, (3, 1, 1) each, in the precision that networks take images in."""
    dtype = torch.float64 if config.runtime.precision == "fp64" else torch.float32
    mean, std = (torch.tensor(values, dtype=dtype, device=device) for values in (config.data.mean, config.data.std))
    return mean.view(3, 1, 1), std.view(3, 1, 1)


@dataclass
class Evaluation:
    """Figures over the whole data set, the same on every rank; predictions in the set's order, on rank 0."""

    acc1: float  # percent
    acc5: float  # percent
    balanced_acc1: float  # percent: mean over the classes of the share of their images that is recognised
    loss: float  # mean cross entropy, without label smoothing
    indices: Tensor  # (images,) int64
    labels: Tensor  # (images,) int64
    correct: Tensor  # (images,) bool: whether the class with the largest logit is the label
    logits: Tensor  # (images, classes) float16
    unreadable: list[str]  # files that were left out (data.on_corrupt=skip), of this rank
    guessed: list[str] = field(default_factory=list)  # files the range of whose values was guessed, of this rank

    def figures(self) -> dict[str, float]:
        """Accuracies and loss by name."""
        return {"acc1": self.acc1, "acc5": self.acc5, "balanced_acc1": self.balanced_acc1, "loss": self.loss}


@torch.inference_mode()
def evaluate(
    models: Mapping[str, nn.Module], dataset: Images, config: Config, ranks: Ranks, val_resize: int, val_crop: int
) -> dict[str, Evaluation]:
    """Evaluate one or more models on every image once, in one pass over the data, in fp32 (fp64 where trained so).

    With data.on_corrupt=skip, on every image that can be read.
    """
    device, num_classes = ranks.device, len(dataset.classes)
    mean, std = channel_statistics(config, device)
    ranks.copy_buffers(*models.values())
    for model in models.values():
        model.eval()
    exact = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPU has no float64
    top5 = {name: torch.zeros((), dtype=torch.int64, device=device) for name in models}
    images_of = torch.zeros(num_classes, dtype=torch.int64, device=device)  # each class
    hits_of = {name: torch.zeros_like(images_of) for name in models}
    unreadable: list[str] = []
    guessed: list[str] = []
    losses = {name: torch.zeros((), dtype=exact, device=device) for name in models}
    rows: list[tuple[Tensor, Tensor]] = []
    predictions: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in models}
    for batch in eval_batches(dataset, config, ranks, val_resize, val_crop):
        unreadable.extend(batch.unreadable)
        guessed.extend(batch.guessed)
        if not len(batch.indices):
            continue
        images = as_input(batch.images.to(device, non_blocking=True), mean, std, config)
        labels = batch.labels.to(device, non_blocking=True)
        rows.append((batch.indices, batch.labels))
        images_of.index_add_(0, labels, torch.ones_like(labels))
        for name, model in models.items():
            output = model(images)
            hits = output.topk(min(5, num_classes)).indices == labels[:, None]
            top5[name] += hits.sum()
            hits_of[name].index_add_(0, labels, hits[:, 0].long())
            losses[name] += F.cross_entropy(output, labels, reduction="none").sum(dtype=exact)
            predictions[name].append((hits[:, 0].to(torch.uint8), output.half()))
    ranks.sum(images_of)
    left_out = ranks.sum(torch.tensor(len(unreadable), device=device)).item()
    if images_of.sum().item() + left_out != len(dataset):
        raise AssertionError(f"evaluated {images_of.sum().item()} images of a data set of {len(dataset)}")
    found = {
        name: _collect(ranks, top5[name], losses[name], hits_of[name], images_of, rows, predictions[name], unreadable)
        for name in models
    }
    return {name: replace(evaluation, guessed=guessed) for name, evaluation in found.items()}


def evaluate_grid(
    models: Mapping[str, nn.Module], dataset: Images, config: Config, ranks: Ranks
) -> list[dict[str, Any]]:
    """The further evaluations that `evaluate.grid` asks for: each entry with its figures."""
    results = []
    for entry in config.evaluate.grid:
        weights = entry.get("weights", list(models)[-1])
        sizes = {name: entry.get(name, getattr(config.resolution, name)) for name in ("val_resize", "val_crop")}
        found = evaluate({weights: models[weights]}, dataset, config, ranks, **sizes)
        results.append({"weights": weights, **sizes, **found[weights].figures()})
    return results


def _collect(
    ranks: Ranks,
    top5: Tensor,
    loss: Tensor,
    hits_of: Tensor,
    images_of: Tensor,
    rows: list[tuple[Tensor, Tensor]],
    predictions: list[tuple[Tensor, Tensor]],
    unreadable: list[str],
) -> Evaluation:
    """Add up what the ranks counted.

    Args:
        top5, loss, hits_of: this rank's sums; images_of: all ranks' images of each class.
        rows, predictions: by batch, indices and labels; top-1 hits and logits.
    """
    images = int(images_of.sum())
    if images == 0:
        raise DataError("none of the validation images can be read")
    ranks.sum(hits_of)
    recall = hits_of[images_of > 0].to(loss.dtype) / images_of[images_of > 0]
    none = torch.empty(0, dtype=torch.int64)
    no_hits = torch.empty(0, dtype=torch.uint8, device=loss.device)
    no_logits = torch.empty((0, len(images_of)), dtype=torch.float16, device=loss.device)
    own = (
        torch.cat([none, *(indices for indices, _ in rows)]),
        torch.cat([none, *(labels for _, labels in rows)]),
        torch.cat([no_hits, *(hits for hits, _ in predictions)]),
        torch.cat([no_logits, *(logits for _, logits in predictions)]),
    )
    indices, labels, hits, logits = (ranks.gather_rows(part.to(loss.device)).cpu() for part in own)
    order = indices.argsort()
    return Evaluation(
        acc1=100 * int(hits_of.sum()) / images,
        acc5=100 * int(ranks.sum(top5)) / images,
        balanced_acc1=100 * recall.mean().item(),
        loss=ranks.sum(loss).item() / images,
        indices=indices[order],
        labels=labels[order],
        correct=hits[order].bool(),
        logits=logits[order],
        unreadable=unreadable,
    )
