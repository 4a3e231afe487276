"""Micro-batches from worker processes. What a worker is sent is a task: numbers that say what to load and draw.

Workers hold no random state, so their number, and how far they run ahead, change no pixel.
"""

import atexit
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from recipe.config import Config, DataConfig
from recipe.data.dataset import Dataset
from recipe.data.order import Order, shard
from recipe.data.transforms import apply_eval, apply_train, draw_train
from recipe.distributed import Ranks, cores
from recipe.errors import DataError, rank_local
from recipe.signals import outlive_the_last_step

AHEAD = 4  # micro-batches that each worker prepares in advance
MOST_UNREADABLE = 100  # images in a row, before something else must be wrong
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

        def load(task: Task) -> MicroBatch:
            return load_micro_batch(dataset, config, task)

        self._batches: Iterator[MicroBatch] = iter(_in_workers(load, self._tasks(*start), config, ranks))

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
        batch = _result(next(self._batches))
        self.wait_seconds += time.perf_counter() - begin
        self.unreadable.update(batch.unreadable)
        return batch

    def _tasks(self, epoch: int, first_step: int) -> Iterator[Task]:
        for epoch in range(epoch, self._config.epochs):  # noqa: B020 from the first epoch on
            if self._steps(epoch) <= 0:
                return  # max_steps
            images = self._order.images(epoch)
            for step in range(first_step, self._steps(epoch)):
                size = len(self._order.step_positions(step))
                for number in range(self._ranks.rank, self._order.micro_batches, self._ranks.world_size):
                    positions = self._order.micro_batch_positions(step, number)
                    yield Task(epoch, step, number, list(positions), images[positions].tolist(), len(positions) / size)
            first_step = 0


def load_micro_batch(dataset: Dataset, config: Config, task: Task) -> MicroBatch:
    """Decode, draw and transform the images of one task."""
    size = config.resolution.train_crop
    images = torch.empty((len(task.indices), 3, size, size), dtype=torch.uint8)
    erase = torch.zeros((len(task.indices), 4), dtype=torch.int32)
    labels = torch.empty(len(task.indices), dtype=torch.int64)
    unreadable: list[str] = []
    for row, (index, position) in enumerate(zip(task.indices, task.positions, strict=True)):
        image, labels[row] = _read_or_next(dataset, index, config.data, unreadable)
        draw = draw_train(config.augment, size, config.seed, task.epoch, position, *image.shape[1:])
        images[row] = apply_train(image, draw, config.resolution)
        erase[row] = torch.tensor(draw.erase)
    return MicroBatch(images, labels, erase, task.step, task.micro_batch, task.share, tuple(unreadable))


def _read_or_next(dataset: Dataset, index: int, config: DataConfig, unreadable: list[str]) -> tuple[Tensor, int]:
    """An image and its label; with data.on_corrupt=skip, those of the next image that can be read."""
    for number in range(index, index + MOST_UNREADABLE):
        candidate = number % len(dataset)
        try:
            return dataset.read(candidate), int(dataset.labels[candidate])
        except DataError:
            if config.on_corrupt == "fail":
                raise
            unreadable.append(dataset.name(candidate))
    raise DataError(f"{MOST_UNREADABLE} images in a row cannot be read, from {dataset.name(index)} on")


def eval_batches(dataset: Dataset, config: Config, ranks: Ranks, val_resize: int, val_crop: int) -> Iterator[EvalBatch]:
    """One rank's share of a data set, each image of which is on exactly one rank."""

    def load(indices: range) -> EvalBatch:
        images = torch.empty((len(indices), 3, val_crop, val_crop), dtype=torch.uint8)
        loaded: list[int] = []
        unreadable: list[str] = []
        for index in indices:
            try:
                image = dataset.read(index)
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
    return (_result(batch) for batch in _in_workers(load, tasks, config, ranks))


def default_workers(local_world_size: int) -> int:
    """Decoding processes for each rank of a machine: its share of the cores, less one for the rank itself."""
    return max(1, min(MOST_WORKERS, cores() // local_world_size - 1))


def _in_workers(load: Callable[[Any], Any], tasks: Iterable[Any], config: Config, ranks: Ranks) -> Iterable[Any]:
    workers = config.data.workers
    workers = default_workers(ranks.local_world_size) if workers is None else workers
    return DataLoader(
        _Loading(load),
        batch_size=None,
        sampler=tasks,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=outlive_the_last_step if workers else None,
        pin_memory=ranks.device.type == "cuda",
        generator=torch.Generator(),  # of its own: the global one is not ours to advance
    )


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
