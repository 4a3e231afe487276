"""How fast a run trains: by the steps of this start, without the first ones."""

import math
import time

SETTLED = 5  # steps of a process until its speed is that of the rest: workers and caches are warm


class Pace:
    """Speed of this process's steps. One does not count among the first, or as the first of its size: then
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
        """Leave out the time since the last step: it was not training."""
        self._last = time.monotonic()

    def step_done(self, images: int) -> None:
        """Take in a step of so many images, over all ranks."""
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
        """Images per second over all ranks; before that is known, of all steps so far."""
        images, seconds = (self._images, self._seconds) if self.known else (self._all_images, self._all_seconds)
        return images / seconds if seconds > 0 else math.nan
