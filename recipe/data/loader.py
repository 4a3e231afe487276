"""Micro-batches from worker processes. What a worker is sent is a task: numbers that say what to load and draw.

Workers hold no random state, so their number, and how far they run ahead, change no pixel.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from recipe.config import Config
from recipe.data.dataset import Dataset, Images
from recipe.data.decode import told
from recipe.data.micro_batch import MicroBatch, Task, load_micro_batches
from recipe.data.order import Order, shard
from recipe.data.shared_batches import Sent, SharedBatches, empty_batches
from recipe.data.transforms import apply_eval
from recipe.data.unreadable import WITHOUT_IT
from recipe.data.waits import Waits
from recipe.data.workers import FromWorkers
from recipe.data.workers import begin as workers_begin
from recipe.errors import DataError, rank_local
from recipe.machine import limits
from recipe.machine.distributed import Ranks

AHEAD = 4  # micro-batches that each worker prepares in advance
LEAST_TASKS = 2  # with repeats, whose micro-batches are one task: while one waits to be fetched, the next is made
AHEAD_IN_EVALUATION = 2  # batches, which are larger
MOST_WORKERS = 16  # per rank, where data.workers is null
# Seconds between the ranks' talk and the start of workers. The thread that talked still drops its tensors, for which it
# makes itself known to Python; forked in that very moment, a worker of Python 3.11 can wait for ever (gh-112275).
SETTLING = 0.05


class EvalBatch(NamedTuple):
    """Images for one forward pass of an evaluation, on the host."""

    images: Tensor  # (n, 3, val_crop, val_crop) uint8
    labels: Tensor  # (n,) int64
    indices: Tensor  # (n,) int64, in the data set
    unreadable: tuple[str, ...] = ()  # files that were left out (data.on_corrupt=skip)
    guessed: tuple[str, ...] = ()  # files the range of whose values was guessed, each with that range


class TrainLoader:
    """One rank's micro-batches of a whole training, loaded ahead across epochs and evaluations.

    On a CPU their images lie in memory that is used again: valid until the next but one is asked for.
    """

    def __init__(self, dataset: Dataset, order: Order, config: Config, ranks: Ranks, start: tuple[int, int]) -> None:
        """`start`: epoch and step to begin at; both 0 for a new run."""
        self._waits = Waits(ranks.device)
        self.unreadable: set[str] = set()  # files met so far that other images stood in for
        self.guessed: set[str] = set()  # files met so far the range of whose values was guessed
        self._order, self._config, self._ranks = order, config, ranks
        self._per_step = order.micro_batches // ranks.world_size
        self._loaded: list[MicroBatch] = []  # by the last task, and not yet handed out

        def load(tasks: list[Task], memory: Tensor) -> list[MicroBatch]:
            return load_micro_batches(dataset, config, tasks, memory)

        tasks, size = self._tasks(*start), config.resolution.train_crop
        together = min(order.repetitions, self._per_step)  # micro-batches of a task: those that share images
        ahead, most = tasks_ahead(together), together * config.micro_batch_size
        self._batches = _in_workers(load, tasks, config, ranks, ahead, most, size)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[int, Iterator[MicroBatch]]]:
        """The steps of an epoch, each with this rank's micro-batches."""
        for step in range(first_step, self._steps(epoch)):
            yield step, (self._next() for _ in range(self._per_step))

    @property
    def wait_seconds(self) -> float:
        """Seconds in which the device had nothing to do, since data were waited for, in all."""
        return self._waits.seconds

    def close(self) -> None:
        """End the workers."""
        del self._batches

    def _steps(self, epoch: int) -> int:
        if self._config.max_steps is None:
            return self._order.steps
        return min(self._order.steps, self._config.max_steps - epoch * self._order.steps)

    def _next(self) -> MicroBatch:
        if not self._loaded:
            with self._waits.one():
                self._loaded = _result(next(self._batches), self._ranks.device)
        batch = self._loaded.pop(0)
        self.unreadable.update(batch.unreadable)
        self.guessed.update(batch.guessed)
        return batch

    def _tasks(self, epoch: int, first_step: int) -> Iterator[list[Task]]:
        """What is loaded at a time: a micro-batch; with repeated augmentation those that share images, see `Order`."""
        first = self._ranks.rank * self._per_step
        own = range(first, first + self._per_step)  # neighbours, as the repeats of an image are
        for epoch in range(epoch, self._config.epochs):  # noqa: B020 from the first epoch on
            if self._steps(epoch) <= 0:
                return  # max_steps
            images = self._order.images(epoch)
            for step in range(first_step, self._steps(epoch)):
                for _, numbers in groupby(own, lambda number: number // self._order.repetitions):
                    yield [self._task(images, epoch, step, number) for number in numbers]
            first_step = 0

    def _task(self, images: np.ndarray, epoch: int, step: int, number: int) -> Task:
        positions = self._order.micro_batch_positions(step, number)
        share = len(positions) / len(self._order.step_positions(step))
        return Task(epoch, step, number, list(positions), images[positions].tolist(), share)


def eval_batches(dataset: Images, config: Config, ranks: Ranks, val_resize: int, val_crop: int) -> Iterator[EvalBatch]:
    """One rank's share of a data set, each image of which is on exactly one rank. Images are valid as in training."""

    def load(indices: range, memory: Tensor) -> list[EvalBatch]:
        (images,) = empty_batches([len(indices)], val_crop, memory)
        loaded: list[int] = []
        unreadable: list[str] = []
        guessed: list[str] = []
        for index in indices:
            try:
                picture = dataset.open(index)
                image = picture.whole()
            except DataError as error:
                if config.data.on_corrupt == "fail":
                    raise DataError(f"{error}. {WITHOUT_IT}") from error
                unreadable.append(dataset.name(index))
                continue
            images[len(loaded)] = apply_eval(image, val_resize, val_crop, config.resolution.interpolation)
            loaded.append(index)
            guessed += filter(None, [told(dataset.name(index), picture)])
        labels, numbers = torch.from_numpy(dataset.labels[loaded]), torch.tensor(loaded, dtype=torch.int64)
        return [EvalBatch(images[: len(loaded)], labels, numbers, tuple(unreadable), tuple(guessed))]

    size = config.evaluate.batch_size
    tasks = shard(len(dataset), size, ranks.rank, ranks.world_size)
    ahead = AHEAD_IN_EVALUATION
    most = min(size, -(-len(dataset) // ranks.world_size))
    loader = _in_workers(load, tasks, config, ranks, ahead, most, val_crop)
    return (batch for sent in loader for batch in _result(sent, ranks.device))


def tasks_ahead(together: int) -> int:
    """Tasks that each worker prepares in advance: AHEAD micro-batches, of which so many are in a task; two at least."""
    return max(LEAST_TASKS, AHEAD // together)


def default_workers(local_world_size: int) -> int:
    """Decoding processes for each rank of a machine: its share of the cores less one for itself, and of the memory."""
    fit = limits.that_fit(limits.MEMORY_PER_WORKER) // local_world_size
    return max(1, min(MOST_WORKERS, limits.cores() // local_world_size - 1, fit))


def _in_workers(
    load: Callable[[Any, Tensor], list[Any]],
    tasks: Iterable[Any],
    config: Config,
    ranks: Ranks,
    ahead: int,
    images: int,
    size: int,
) -> Iterator[Sent[Any] | str]:
    """What `load` makes of each task, in order; or what is wrong with a file.

    Args:
        load: given a task and the memory where its images belong.
        ahead: tasks that each worker prepares in advance.
        images: of a task, at most; size: their sides in pixels.
    """
    workers = config.data.workers
    workers = default_workers(ranks.local_world_size) if workers is None else workers
    shared = SharedBatches(ahead * workers, images, size)
    if workers and ranks.world_size > 1:
        time.sleep(SETTLING)
    loader: DataLoader[Any] = DataLoader(
        _Loading(load, shared),
        batch_size=None,
        sampler=((number % shared.count, task) for number, task in enumerate(tasks)),
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=workers_begin if workers else None,
        pin_memory=ranks.device.type == "cuda",
        generator=torch.Generator(),  # of its own: the global one is not ours to advance
    )
    return FromWorkers(loader)


class _Loading(TorchDataset[Any]):
    """Calls `load` in a worker; an error in a file comes back as a value, to be raised with its own message."""

    def __init__(self, load: Callable[[Any, Tensor], list[Any]], shared: SharedBatches) -> None:
        self._load, self._shared = load, shared

    def __getitem__(self, numbered: tuple[int, Any]) -> Sent[Any] | str:
        buffer, task = numbered
        try:
            return self._shared.send(buffer, self._load(task, self._shared.buffer(buffer)))
        except DataError as error:
            return str(error)


def _result(loaded: Sent[Any] | str, device: torch.device) -> list[Any]:
    if isinstance(loaded, str):
        raise rank_local(DataError(loaded))
    return SharedBatches.received(loaded, copied=device.type != "cpu")
