"""Which image stands where: the order of an epoch, its steps, their micro-batches. Arithmetic, no data."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from recipe.config import Config
from recipe.errors import ConfigError
from recipe.randomness import generator_at

ROUND_TO = 256  # the published repeated augmentation cuts an epoch to a multiple of this many images


@dataclass(frozen=True)
class Order:
    """The order of every epoch of a run, a pure function of the seed and the epoch."""

    num_images: int
    batch_size: int
    micro_batches: int  # M, to a step
    repetitions: int
    seed: int
    labels: np.ndarray | None = field(default=None, compare=False)  # (num_images,), where classes are drawn evenly

    @property
    def positions(self) -> int:
        """Images that an epoch's order holds, repeats counted, before a short last step is dropped."""
        if self.repetitions == 1:
            return self.num_images
        whole = self.num_images // ROUND_TO * ROUND_TO or self.num_images
        return whole // self.micro_batches * self.micro_batches

    @property
    def dropped(self) -> int:
        """Positions of a last step with fewer than two images to a micro-batch: too few for batch norm."""
        last = self.positions % self.batch_size
        return last if last < 2 * self.micro_batches else 0

    @property
    def steps(self) -> int:
        """Optimizer steps in an epoch."""
        return -(-(self.positions - self.dropped) // self.batch_size)

    def images(self, epoch: int) -> np.ndarray:
        """The epoch's images in order, (positions − dropped,) int64.

        Repeats are neighbours, so that striding over the micro-batches puts them in different ones.
        """
        generator = generator_at(self.seed, "order", epoch)
        if self.labels is None:
            order = torch.randperm(self.num_images, generator=generator).numpy()
        else:
            order = _evenly_by_class(self.labels, generator)
        return np.repeat(order, self.repetitions)[: self.positions - self.dropped]

    def step_positions(self, step: int) -> range:
        """The positions in the epoch's order that one step takes."""
        return range(step * self.batch_size, min((step + 1) * self.batch_size, self.positions - self.dropped))

    def micro_batch_positions(self, step: int, micro_batch: int) -> range:
        """The positions of one micro-batch: every M-th of the step's, as ranks took them in the published runs."""
        return self.step_positions(step)[micro_batch :: self.micro_batches]

    def images_seen(self, steps: int) -> int:
        """How many images, repeats counted, the first `steps` optimizer steps of a run take."""
        epochs, rest = divmod(steps, self.steps)
        return epochs * (self.positions - self.dropped) + rest * self.batch_size

    def unique_images(self, steps: int) -> int:
        """How many different images the first `steps` optimizer steps of a run take."""
        seen = np.zeros(self.num_images, dtype=bool)
        for first in range(0, steps, self.steps):
            taken = self.images_seen(min(steps - first, self.steps))
            seen[self.images(first // self.steps)[:taken]] = True
            if seen.all():
                break
        return int(seen.sum())


def _evenly_by_class(labels: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """As many images as there are, (images,) int64, with replacement: P(i) = 1/(C·n_c), n_c the images of i's class.

    First the class, then the image in it: there is no limit to how many images there are, as torch.multinomial has one.
    """
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    starts, counts = (counts.cumsum() - counts)[counts > 0], counts[counts > 0]
    classes, places = torch.rand(2, len(labels), generator=generator, dtype=torch.float64).numpy()
    chosen = (classes * len(counts)).astype(np.int64)
    return by_class[starts[chosen] + (places * counts[chosen]).astype(np.int64)]


def make_order(config: Config, num_images: int, labels: np.ndarray | None = None) -> Order:
    """The order for a training set. Raises ConfigError where the set is too small for a step.

    `labels`: (num_images,) int64, by which sampler.draw=balanced draws; without them only lengths can be asked for.
    """
    micro_batches = config.batch_size // config.micro_batch_size
    order = Order(num_images, config.batch_size, micro_batches, config.sampler.repetitions, config.seed)
    if config.sampler.draw == "balanced":
        order = replace(order, labels=labels)
    if order.steps == 0:
        raise ConfigError(
            f"the training set has {num_images} images, fewer than two for each of the {micro_batches} micro-batches "
            f"of a step (batch_size {config.batch_size} / micro_batch_size {config.micro_batch_size}): "
            "lower batch_size, or raise micro_batch_size"
        )
    return order


def shard(num_images: int, batch_size: int, rank: int, world_size: int) -> Iterator[range]:
    """One rank's batches of an evaluation: every image on exactly one rank, none twice, none padded."""
    own = range(rank, num_images, world_size)
    for start in range(0, len(own), batch_size):
        yield own[start : start + batch_size]


def most_batches(num_images: int, batch_size: int, world_size: int) -> int:
    """How many batches of an evaluation the first rank has: as many as any, and at most one more."""
    return -(-num_images // (world_size * batch_size))
