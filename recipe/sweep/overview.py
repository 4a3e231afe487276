"""What a sweep shows while it runs: a line for each thing that happens, and below them where every job stands."""

import heapq
import shutil
import sys
import time
from collections.abc import Container, Sequence
from datetime import timedelta

from recipe.output import say
from recipe.sweep.jobs import Job

LINES = 20  # of the block, at most
QUIET_SECONDS = 60.0  # without a terminal: between two looks at where the sweep stands


class Screen:
    """Lines that stay, and below them a block that is drawn anew; without a terminal its first line, now and then."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()
        self._drawn = 0  # lines of the block
        self._told = time.monotonic()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._clear()
        say(line)

    def draw(self, lines: Sequence[str], most: int = LINES) -> None:
        """Draw the block of at most so many lines, in place of the one before."""
        if self._live:
            self._clear()
            width, height = shutil.get_terminal_size()
            shown = lines[: min(most, height - 1)]
            for line in shown:
                print(line[: width - 1])
            sys.stdout.flush()
            self._drawn = len(shown)
        elif lines and time.monotonic() - self._told > QUIET_SECONDS:
            self._told = time.monotonic()
            say(lines[0])

    def keep(self) -> None:
        """Leave the block: something else has been printed below it."""
        self._drawn = 0

    def _clear(self) -> None:
        if self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[J", end="")  # up to the block's first line, and erase from there
            self._drawn = 0


class Clock:
    """How long the rest will take, from what has been done since the sweep was started."""

    def __init__(self, jobs: Sequence[Job], at_once: int) -> None:
        """Begin to measure; `at_once`: how many of the jobs run at a time, in their order."""
        self._jobs, self._at_once = jobs, at_once
        self._before = self._done()

    def left(self, busy: float, ended: Container[Job]) -> float | None:
        """Seconds that are left; None before anything is known.

        Args:
            busy: seconds that jobs have run since the start, added up over those side by side.
            ended: jobs from which no more is to come, whether they finished, stopped early or failed.
        """
        done = self._done()
        if done <= self._before:
            return None
        seconds = busy / (done - self._before)  # of one job, for a unit of work
        free = [0.0] * self._at_once  # when each place will be free
        for job in self._jobs:
            if job not in ended:
                heapq.heapreplace(free, free[0] + seconds * job.work * (1 - job.progress()[0]))
        return max(free)

    def _done(self) -> float:
        return sum(job.work * job.progress()[0] for job in self._jobs)


def running_line(job: Job, began: float) -> str:
    """Where a running job stands: the epoch, its accuracy or until there is one its loss, and for how long it runs."""
    _, figures = job.progress()
    accuracy = figures.get("ema/acc1", figures.get("val/acc1"))
    parts = [job.title, f"epoch {int(figures.get('epoch', 0)) + 1}/{job.plan.config.epochs}"]
    if accuracy is not None:
        parts.append(f"top-1 {accuracy:.2f}")
    elif "train/loss" in figures:
        parts.append(f"loss {figures['train/loss']:.3f}")
    return "  ".join(["", *parts, duration(time.monotonic() - began)])


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds, 0:03:12."""
    return str(timedelta(seconds=round(seconds)))
