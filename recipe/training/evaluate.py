"""Evaluations: figures and predictions of one or more models on every image of a data set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipe.config import Config
from recipe.data.dataset import Images
from recipe.data.loader import EvalBatch, eval_batches
from recipe.data.order import most_batches
from recipe.errors import DataError
from recipe.machine.distributed import Ranks
from recipe.training.loop import as_input, channel_statistics

# What the figures of each kind of weights are called in metrics.jsonl and TensorBoard.
METRICS = {
    "raw": {"acc1": "val/acc1", "acc5": "val/acc5", "balanced_acc1": "val/balanced_acc1", "loss": "val/loss"},
    "ema": {"acc1": "ema/acc1", "acc5": "ema/acc5", "balanced_acc1": "ema/balanced_acc1", "loss": "ema/loss"},
}


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


def metrics(found: Mapping[str, Evaluation]) -> dict[str, float]:
    """Figures of evaluations, each by its name in METRICS.

    Args:
        found: by kind of weights.
    """
    return {METRICS[kind][name]: value for kind, e in found.items() for name, value in e.figures().items()}


def primary_weights(config: Config) -> str:
    """The kind of weights whose figures count: "ema" where weights are averaged, else "raw"."""
    return "raw" if config.ema.decay is None else "ema"


def evaluates(config: Config, epoch: int, epochs: int) -> bool:
    """Whether an epoch (from 0) of so many ends with an evaluation."""
    return (epoch + 1) % config.evaluate.every == 0 or epoch + 1 == epochs


@torch.inference_mode()
def evaluate(
    models: Mapping[str, nn.Module],
    dataset: Images,
    config: Config,
    ranks: Ranks,
    val_resize: int,
    val_crop: int,
    before_batch: Callable[[], None] = lambda: None,
) -> dict[str, Evaluation]:
    """Evaluations of one or more models, by their names: every image once, in one pass over the data, in fp32 (fp64
    where trained so). With data.on_corrupt=skip, every image that can be read. Every rank calls it.

    Args:
        before_batch: called as often on every rank, those with a batch less included.

    Raises DataError where an image cannot be read, or none can; and what `before_batch` raises.
    """
    mean, std = channel_statistics(config, ranks.device)
    ranks.copy_buffers(*models.values())
    for model in models.values():
        model.eval()
    images = _Counts(len(dataset.classes), ranks.device)
    outputs = {name: _Outputs(images) for name in models}
    batches = eval_batches(dataset, config, ranks, val_resize, val_crop)
    for _ in range(most_batches(len(dataset), config.evaluate.batch_size, ranks.world_size)):
        before_batch()
        if (batch := next(batches, None)) is None:
            continue
        labels = images.add(batch)
        if not len(labels):
            continue
        pixels = as_input(batch.images.to(ranks.device, non_blocking=True), mean, std, config)
        for name, model in models.items():
            outputs[name].add(logits_of(model, pixels, config.evaluate.flip), labels)
    images.add_up(ranks, len(dataset))
    return {name: of_model.evaluation(ranks) for name, of_model in outputs.items()}


def logits_of(model: nn.Module, images: Tensor, flip: bool) -> Tensor:
    """Logits (n, classes); with `flip` the mean of those and of the mirror images'. (ffcv adds them up: the same top-1
    and top-5, another loss.)
    """
    logits: Tensor = model(images)
    return (logits + model(images.flip(-1))) / 2 if flip else logits


def evaluate_grid(
    models: Mapping[str, nn.Module],
    dataset: Images,
    config: Config,
    ranks: Ranks,
    before_batch: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Entries of `evaluate.grid`, the further evaluations that are asked for, each with its figures.

    Args:
        models: by kind of weights; an entry that names none has the primary one.
        before_batch: see `evaluate`.
    """
    results = []
    for entry in config.evaluate.grid:
        weights = entry.get("weights", primary_weights(config))
        sizes = {name: entry.get(name, getattr(config.resolution, name)) for name in ("val_resize", "val_crop")}
        flip = {"flip": entry["flip"]} if "flip" in entry else {}
        here = replace(config, evaluate=replace(config.evaluate, **flip))
        found = evaluate({weights: models[weights]}, dataset, here, ranks, **sizes, before_batch=before_batch)
        results.append({"weights": weights, **sizes, **flip, **found[weights].figures()})
    return results


class _Counts:
    """The images of an evaluation, batch by batch; of this rank until they are added up."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.of_class = torch.zeros(num_classes, dtype=torch.int64, device=device)  # images of each class
        self.indices: list[Tensor] = []  # of a batch each: (n,) int64
        self.labels: list[Tensor] = []  # of a batch each: (n,) int64
        self.unreadable: list[str] = []
        self.guessed: list[str] = []

    def add(self, batch: EvalBatch) -> Tensor:
        """Labels of a batch on the device, (n,) int64; n may be 0, where none of its images can be read."""
        self.unreadable.extend(batch.unreadable)
        self.guessed.extend(batch.guessed)
        labels = batch.labels.to(self.of_class.device, non_blocking=True)
        if len(labels):
            self.indices.append(batch.indices)
            self.labels.append(batch.labels)
            self.of_class.index_add_(0, labels, torch.ones_like(labels))
        return labels

    def add_up(self, ranks: Ranks, expected: int) -> None:
        """Make `of_class` that of all ranks. Raises DataError where no image can be read."""
        ranks.sum(self.of_class)
        read = int(self.of_class.sum())
        left_out = int(ranks.sum(torch.tensor(len(self.unreadable), device=self.of_class.device)))
        if read + left_out != expected:
            raise AssertionError(f"evaluated {read} images of a data set of {expected}")
        if read == 0:
            raise DataError("none of the validation images can be read")


class _Outputs:
    """One model's outputs for this rank's images: sums, and what is predicted for each image."""

    def __init__(self, images: _Counts) -> None:
        self._images = images
        num_classes, device = len(images.of_class), images.of_class.device
        exact = torch.float32 if device.type == "mps" else torch.float64  # Apple's GPU has no float64
        self._top5 = torch.zeros((), dtype=torch.int64, device=device)
        self._hits_of_class = torch.zeros_like(images.of_class)  # top-1
        self._loss = torch.zeros((), dtype=exact, device=device)
        self._hits = [torch.empty(0, dtype=torch.uint8, device=device)]  # top-1, of a batch each: (n,)
        self._logits = [torch.empty((0, num_classes), dtype=torch.float16, device=device)]  # (n, classes)

    def add(self, output: Tensor, labels: Tensor) -> None:
        """Take in a batch.

        Args:
            output: logits, (n, classes).
            labels: (n,) int64.
        """
        hits = output.topk(min(5, output.shape[1])).indices == labels[:, None]
        self._top5 += hits.sum()
        self._hits_of_class.index_add_(0, labels, hits[:, 0].long())
        self._loss += F.cross_entropy(output, labels, reduction="none").sum(dtype=self._loss.dtype)
        self._hits.append(hits[:, 0].to(torch.uint8))
        self._logits.append(output.half())

    def evaluation(self, ranks: Ranks) -> Evaluation:
        """Evaluation over all ranks, whose images have been added up. Every rank calls it."""
        images, of_class = self._images, self._images.of_class
        number = int(of_class.sum())
        ranks.sum(self._hits_of_class)
        recall = self._hits_of_class[of_class > 0].to(self._loss.dtype) / of_class[of_class > 0]
        none = torch.empty(0, dtype=torch.int64)
        own = (
            torch.cat([none, *images.indices]),
            torch.cat([none, *images.labels]),
            torch.cat(self._hits),
            torch.cat(self._logits),
        )
        indices, labels, hits, logits = (ranks.gather_rows(part.to(of_class.device)).cpu() for part in own)
        order = indices.argsort()
        return Evaluation(
            acc1=100 * int(self._hits_of_class.sum()) / number,
            acc5=100 * int(ranks.sum(self._top5)) / number,
            balanced_acc1=100 * recall.mean().item(),
            loss=ranks.sum(self._loss).item() / number,
            indices=indices[order],
            labels=labels[order],
            correct=hits[order].bool(),
            logits=logits[order],
            unreadable=images.unreadable,
            guessed=images.guessed,
        )
