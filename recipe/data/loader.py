"""Micro-batches from worker processes. What a worker is sent is a task: numbers that say what to load and draw.

Workers hold no random state, so their number, and how far they run ahead, change no pixel.
"""

import atexit
import ctypes
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from recipe.box import around
from recipe.config import Config
from recipe.data.dataset import Dataset
from recipe.data.order import Order, shard
from recipe.data.transforms import TrainDraw, apply_eval, apply_train, draw_train
from recipe.distributed import Ranks, cores
from recipe.errors import DataError, rank_local
from recipe.ingredients.policies_batched import pack
from recipe.signals import outlive_the_last_step

AHEAD = 4  # micro-batches that each worker prepares in advance
MOST_UNREADABLE = 100  # images in a row, before something else must be wrong
M_MMAP_THRESHOLD, RETURNED_FROM = -3, 1 << 20  # of mallopt(3), bytes
MOST_WORKERS = 16  # per rank, where data.workers is null


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

    images: Tensor  # (n, 3, train_crop, train_crop) uint8
    labels: Tensor  # (n,) int64
    erase: Tensor  # (n, 4) int32: top, left, height, width
    codes: Tensor  # (n, k) int64: the policy's operations that the device does; k = 0 where the workers did them
    magnitudes: Tensor  # (n, k) float64: theirs
    step: int
    number: int  # among the step's M micro-batches, over all ranks
    share: float  # of the step's images: the weight of its mean gradient
    unreadable: tuple[str, ...] = ()  # files that other images stand in for (data.on_corrupt=skip)


class EvalBatch(NamedTuple):
    """Images for one forward pass of an evaluation, on the host."""

    images: Tensor  # (n, 3, val_crop, val_crop) uint8
    labels: Tensor  # (n,) int64
    indices: Tensor  # (n,) int64, in the data set
    unreadable: tuple[str, ...] = ()  # files that were left out (data.on_corrupt=skip)


class TrainLoader:
    """One rank's micro-batches of a whole training, loaded ahead across epochs and evaluations."""

    def __init__(self, dataset: Dataset, order: Order, config: Config, ranks: Ranks, start: tuple[int, int]) -> None:
        """`start`: epoch and step to begin at; both 0 for a new run."""
        self.wait_seconds = 0.0  # spent waiting for data, in all
        self.unreadable: set[str] = set()  # files met so far that other images stood in for
        self._order, self._config, self._ranks = order, config, ranks
        self._per_step = order.micro_batches // ranks.world_size
        self._loaded: list[MicroBatch] = []  # by the last task, and not yet handed out

        def load(tasks: list[Task]) -> list[MicroBatch]:
            return load_micro_batches(dataset, config, tasks)

        tasks = self._tasks(*start)
        ahead = tasks_ahead(order.repetitions, self._per_step)
        self._batches: Iterator[list[MicroBatch]] = iter(_in_workers(load, tasks, config, ranks, ahead))

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[int, Iterator[MicroBatch]]]:
        """The steps of an epoch, each with this rank's micro-batches."""
        for step in range(first_step, self._steps(epoch)):
            yield step, (self._next() for _ in range(self._per_step))

    def close(self) -> None:
        """End the workers."""
        del self._batches

    def _steps(self, epoch: int) -> int:
        if self._config.max_steps is None:
            return self._order.steps
        return min(self._order.steps, self._config.max_steps - epoch * self._order.steps)

    def _next(self) -> MicroBatch:
        begin = time.perf_counter()
        if not self._loaded:
            self._loaded = _result(next(self._batches))
        batch = self._loaded.pop(0)
        self.wait_seconds += time.perf_counter() - begin
        self.unreadable.update(batch.unreadable)
        return batch

    def _tasks(self, epoch: int, first_step: int) -> Iterator[list[Task]]:
        """What is loaded at a time: a micro-batch; with repeated augmentation those that share images, see `Order`."""
        for epoch in range(epoch, self._config.epochs):  # noqa: B020 from the first epoch on
            if self._steps(epoch) <= 0:
                return  # max_steps
            images = self._order.images(epoch)
            for step in range(first_step, self._steps(epoch)):
                first = self._ranks.rank * self._per_step  # neighbours, since repeats of an image stand in neighbours
                for _, numbers in groupby(
                    range(first, first + self._per_step), lambda number: number // self._order.repetitions
                ):
                    yield [self._task(images, epoch, step, number) for number in numbers]
            first_step = 0

    def _task(self, images: np.ndarray, epoch: int, step: int, number: int) -> Task:
        positions = self._order.micro_batch_positions(step, number)
        share = len(positions) / len(self._order.step_positions(step))
        return Task(epoch, step, number, list(positions), images[positions].tolist(), share)


class _Row(NamedTuple):
    """What belongs to an image of a micro-batch, beside its pixels."""

    draw: TrainDraw
    label: int
    unreadable: list[str]  # files that it stands in for


def load_micro_batches(dataset: Dataset, config: Config, tasks: Sequence[Task]) -> list[MicroBatch]:
    """Decode, draw and transform the images of some tasks. An image that stands in several places is decoded once."""
    images = [_empty_images(len(task.indices), config.resolution.train_crop) for task in tasks]
    rows: list[dict[int, _Row]] = [{} for _ in tasks]
    places: dict[int, list[tuple[int, int]]] = {}  # of each image: number of the task, row
    for number, task in enumerate(tasks):
        for row, index in enumerate(task.indices):
            places.setdefault(index, []).append((number, row))
    on_device = config.augment.policy_on == "device"
    for index, wanted in places.items():
        unreadable: list[str] = []
        addresses = [(tasks[number].epoch, tasks[number].positions[row]) for number, row in wanted]
        part, draws, label = _draw_and_decode(dataset, index, config, addresses, unreadable)
        for (number, row), draw in zip(wanted, draws, strict=True):
            here = draw._replace(operations=[]) if on_device else draw
            images[number][row] = apply_train(part, here, config.resolution)
            rows[number][row] = _Row(draw, label, unreadable)
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
    )


def _empty_images(count: int, size: int) -> Tensor:
    """Room for a batch, in a worker in the memory that it shares with its rank, so that nothing is copied to go there.

    In channels_last: as decoding and resizing leave their pixels, and as networks on a GPU take them.
    """
    bytes_ = count * size * size * 3
    in_worker = get_worker_info() is not None
    storage = torch.UntypedStorage._new_shared(bytes_) if in_worker else torch.UntypedStorage(bytes_)
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(count, size, size, 3).permute(0, 3, 1, 2)


def _draw_and_decode(
    dataset: Dataset, index: int, config: Config, addresses: list[tuple[int, int]], unreadable: list[str]
) -> tuple[Tensor, list[TrainDraw], int]:
    """The part of an image that some draws need, (3, h, w) uint8; the draws, their crops counted from its corner; and
    the label. With data.on_corrupt=skip, of the next image that can be read.

    Args:
        addresses: epoch and position of each draw.
        unreadable: gets the names of the images that could not be read.
    """
    augment, size = config.augment, config.resolution.train_crop
    for number in range(index, index + MOST_UNREADABLE):
        candidate = number % len(dataset)
        try:
            picture = dataset.open(candidate)
            sides = picture.height, picture.width
            draws = [draw_train(augment, size, config.seed, *address, *sides) for address in addresses]
            box = around(draw.crop for draw in draws)
            draws = [draw._replace(crop=draw.crop.within(box)) for draw in draws]
            return picture.pixels(box), draws, int(dataset.labels[candidate])
        except DataError:
            if config.data.on_corrupt == "fail":
                raise
            unreadable.append(dataset.name(candidate))
    raise DataError(f"{MOST_UNREADABLE} images in a row cannot be read, from {dataset.name(index)} on")


def eval_batches(dataset: Dataset, config: Config, ranks: Ranks, val_resize: int, val_crop: int) -> Iterator[EvalBatch]:
    """One rank's share of a data set, each image of which is on exactly one rank."""

    def load(indices: range) -> EvalBatch:
        images = _empty_images(len(indices), val_crop)
        loaded: list[int] = []
        unreadable: list[str] = []
        for index in indices:
            try:
                image = dataset.open(index).whole()
            except DataError:
                if config.data.on_corrupt == "fail":
                    raise
                unreadable.append(dataset.name(index))
                continue
            images[len(loaded)] = apply_eval(image, val_resize, val_crop, config.resolution.interpolation)
            loaded.append(index)
        labels = torch.from_numpy(dataset.labels[loaded])
        return EvalBatch(images[: len(loaded)], labels, torch.tensor(loaded, dtype=torch.int64), tuple(unreadable))

    tasks = shard(len(dataset), config.evaluate.batch_size, ranks.rank, ranks.world_size)
    return (_result(batch) for batch in _in_workers(load, tasks, config, ranks, AHEAD))


def tasks_ahead(repetitions: int, micro_batches: int) -> int:
    """Tasks that each worker prepares in advance: AHEAD micro-batches; a task holds those that share images.

    Args:
        micro_batches: of a rank in a step.
    """
    return max(1, AHEAD // min(repetitions, micro_batches))


def default_workers(local_world_size: int) -> int:
    """Decoding processes for each rank of a machine: its share of the cores, less one for the rank itself."""
    return max(1, min(MOST_WORKERS, cores() // local_world_size - 1))


def _in_workers(
    load: Callable[[Any], Any], tasks: Iterable[Any], config: Config, ranks: Ranks, ahead: int
) -> Iterable[Any]:
    workers = config.data.workers
    workers = default_workers(ranks.local_world_size) if workers is None else workers
    return DataLoader(
        _Loading(load),
        batch_size=None,
        sampler=tasks,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=_start_worker if workers else None,
        pin_memory=ranks.device.type == "cuda",
        generator=torch.Generator(),  # of its own: the global one is not ours to advance
    )


def _start_worker(_number: int) -> None:
    outlive_the_last_step()
    # Blocks of a batch's size go back to the system when they are free. glibc would learn to keep them on its heap,
    # which then grows several-fold with the gaps between them.
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "mallopt"):
        c_library.mallopt(M_MMAP_THRESHOLD, RETURNED_FROM)


@atexit.register
def _end_workers() -> None:
    """Before Python itself asks them to end and waits: they outlive a SIGTERM by a while, see `recipe.signals`."""
    for worker in multiprocessing.active_children():
        worker.kill()


class _Loading(TorchDataset[Any]):
    """Calls `load` in a worker; an error in a file comes back as a value, to be raised with its own message."""

    def __init__(self, load: Callable[[Any], Any]) -> None:
        self._load = load

    def __getitem__(self, task: Any) -> Any:
        try:
            return self._load(task)
        except DataError as error:
            return str(error)


def _result(loaded: Any) -> Any:
    if isinstance(loaded, str):
        raise rank_local(DataError(loaded))
    return loaded
