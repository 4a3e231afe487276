"""Micro-batches from tasks: what to load and draw as numbers, to pixels and labels. No state, no randomness."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from recipe.config import Config
from recipe.data.dataset import Dataset
from recipe.data.decode import told
from recipe.data.shared_batches import empty_batches
from recipe.data.transforms import TrainDraw, apply_train, draw_train
from recipe.data.unreadable import WITHOUT_IT
from recipe.errors import DataError
from recipe.ingredients.box import around
from recipe.ingredients.policies_batched import pack
from recipe.ingredients.resizing import in_epoch

MOST_UNREADABLE = 100  # images in a row, before something else must be wrong


class Task(NamedTuple):
    """One micro-batch to load: `positions` of the epoch's order, and the images that stand there."""

    epoch: int
    step: int
    micro_batch: int
    positions: list[int]
    indices: list[int]
    share: float  # of the step's images


class MicroBatch(NamedTuple):
    """What one forward pass takes, on the host."""

    images: Tensor  # (n, 3, S, S) uint8, S: the epoch's crop
    labels: Tensor  # (n,) int64
    erase: Tensor  # (n, 4) int32: top, left, height, width
    codes: Tensor  # (n, k) int64: the policy's operations that the device does; k = 0 where the workers did them
    magnitudes: Tensor  # (n, k) float64: theirs
    step: int
    number: int  # among the step's M micro-batches, over all ranks
    share: float  # of the step's images: the weight of its mean gradient
    unreadable: tuple[str, ...] = ()  # files that other images stand in for (data.on_corrupt=skip)
    guessed: tuple[str, ...] = ()  # files the range of whose values was guessed, each with that range


class _Row(NamedTuple):
    """What belongs to an image of a micro-batch, beside its pixels."""

    draw: TrainDraw
    label: int
    unreadable: list[str]  # files that it stands in for
    guessed: str  # it itself and the range that its values were taken to have, or ""


def load_micro_batches(
    dataset: Dataset, config: Config, tasks: Sequence[Task], memory: Tensor | None = None
) -> list[MicroBatch]:
    """The micro-batches of some tasks: images decoded, drawn for and transformed; one in several places decoded once.

    Args:
        memory: bytes where the images belong; None: in fresh memory.
    """
    config = in_epoch(config, tasks[0].epoch)  # which they share
    images = empty_batches([len(task.indices) for task in tasks], config.resolution.train_crop, memory)
    rows: list[dict[int, _Row]] = [{} for _ in tasks]
    places: dict[int, list[tuple[int, int]]] = {}  # of each image: number of the task, row
    for number, task in enumerate(tasks):
        for row, index in enumerate(task.indices):
            places.setdefault(index, []).append((number, row))
    on_device = config.augment.policy_on == "device"
    for index, wanted in places.items():
        unreadable: list[str] = []
        addresses = [(tasks[number].epoch, tasks[number].positions[row]) for number, row in wanted]
        part, draws, label, guessed = _draw_and_decode(dataset, index, config, addresses, unreadable)
        for (number, row), draw in zip(wanted, draws, strict=True):
            here = draw._replace(operations=[]) if on_device else draw
            images[number][row] = apply_train(part, here, config.resolution)
            rows[number][row] = _Row(draw, label, unreadable, guessed)
    in_order = [[own[row] for row in range(len(own))] for own in rows]
    return [_micro_batch(*parts, on_device) for parts in zip(tasks, images, in_order, strict=True)]


def _micro_batch(task: Task, images: Tensor, rows: list[_Row], on_device: bool) -> MicroBatch:
    codes, magnitudes = pack([row.draw.operations if on_device else [] for row in rows])
    return MicroBatch(
        images=images,
        labels=torch.tensor([row.label for row in rows]),
        erase=torch.tensor([row.draw.erase for row in rows], dtype=torch.int32),
        codes=codes,
        magnitudes=magnitudes,
        step=task.step,
        number=task.micro_batch,
        share=task.share,
        unreadable=tuple(dict.fromkeys(name for row in rows for name in row.unreadable)),
        guessed=tuple(dict.fromkeys(row.guessed for row in rows if row.guessed)),
    )


def _draw_and_decode(
    dataset: Dataset, index: int, config: Config, addresses: list[tuple[int, int]], unreadable: list[str]
) -> tuple[Tensor, list[TrainDraw], int, str]:
    """The part of an image that some draws need, (3, h, w) uint8; the draws, their crops counted from its corner; the
    label; and what was guessed. With data.on_corrupt=skip, of the next image that can be read.

    Args:
        addresses: epoch and position of each draw.
        unreadable: gets the names of the images that could not be read.
    """
    augment, size, resize = config.augment, config.resolution.train_crop, config.resolution.train_resize
    for number in range(index, index + MOST_UNREADABLE):
        candidate = number % len(dataset)
        try:
            picture = dataset.open(candidate)
            sides = picture.height, picture.width
            draws = [draw_train(augment, size, config.seed, *address, *sides, resize) for address in addresses]
            box = around(draw.crop for draw in draws)
            draws = [draw._replace(crop=draw.crop.within(box)) for draw in draws]
            guessed = told(dataset.name(candidate), picture) if picture.guess else ""
            return picture.pixels(box), draws, int(dataset.labels[candidate]), guessed
        except DataError as error:
            if config.data.on_corrupt == "fail":
                raise DataError(f"{error}. {WITHOUT_IT}") from error
            unreadable.append(dataset.name(candidate))
    raise DataError(f"{MOST_UNREADABLE} images in a row cannot be read, from {dataset.name(index)} on")
