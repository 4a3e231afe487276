"""The time that a device has nothing to do because the next data are not there."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Waits:
    """On a CPU the host's waits. On a GPU, whose host may wait while the work that it has queued is still done, only
    what is left of them once that is done: between two marks in the device's queue, one before and one after a wait.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds = 0.0
        self._marks: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()  # that the device may not have reached

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around a wait of the host's."""
        if self._device.type == "cuda":
            before = self._mark()
            yield
            self._marks.append((before, self._mark()))
        else:
            begin = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - begin

    @property
    def seconds(self) -> float:
        """Of all waits so far, those left out that end where a GPU has not come yet. Does not wait for it."""
        while self._marks and self._marks[0][1].query():
            before, after = self._marks.popleft()
            self._seconds += before.elapsed_time(after) / 1000
        return self._seconds

    def _mark(self) -> torch.cuda.Event:
        mark = torch.cuda.Event(enable_timing=True)
        mark.record(torch.cuda.current_stream(self._device))
        return mark
