"""How fast a run trains, and how long it still takes: by the steps of this start, without the first ones."""

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recipe.run.run import Run

SETTLED = 5  # steps of a process until its speed is that of the rest: workers and caches are warm


class Pace:
    """What the steps of this process took. A step does not count among the first, or as the first of its size: then
    something is compiled or tried out. Nor does time between epochs, or between starts.
    """

    def __init__(self) -> None:
        self._sizes: set[int] = set()  # images of the steps so far
        self._steps = 0
        self._images, self._seconds = 0, 0.0  # of those that count
        self._all_images, self._all_seconds = 0, 0.0
        self._last = time.monotonic()

    @property
    def known(self) -> bool:
        """Whether there was a step that counts."""
        return self._images > 0

    def start_epoch(self) -> None:
        """The time since the last step was not training."""
        self._last = time.monotonic()

    def step_done(self, images: int) -> None:
        """A step of so many images, over all ranks."""
        now = time.monotonic()
        if self._steps >= SETTLED and images in self._sizes:
            self._images += images
            self._seconds += now - self._last
        self._all_images += images
        self._all_seconds += now - self._last
        self._sizes.add(images)
        self._steps += 1
        self._last = now

    def images_per_second(self) -> float:
        """Over all ranks; before it is known, of all steps so far."""
        images, seconds = (self._images, self._seconds) if self.known else (self._all_images, self._all_seconds)
        return images / seconds if seconds > 0 else math.nan


def seconds_left(run: "Run", epoch: int) -> float | None:
    """What a run still takes after an epoch (from 0), evaluations included; None before its pace is known."""
    pace = run.training.meter.pace
    if not pace.known:
        return None
    done = min((epoch + 1) * run.order.steps, run.steps)
    images = run.order.images_seen(run.steps) - run.order.images_seen(done)
    ahead = range(epoch + 1, run.epochs)
    evaluations = sum(evaluates(run, later) for later in ahead) + (not ahead) + len(run.config.evaluate.grid)
    # Before the first one: as if its images were trained on.
    each = run.evaluation_seconds
    each = len(run.val_set) / pace.images_per_second() if math.isnan(each) else each
    return images / pace.images_per_second() + evaluations * each


def evaluates(run: "Run", epoch: int) -> bool:
    """Whether an epoch (from 0) ends with an evaluation."""
    return (epoch + 1) % run.config.evaluate.every == 0 or epoch + 1 == run.epochs
