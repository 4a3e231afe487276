"""Signals that ask a run to stop: it finishes its step, saves, and ends with exit code 75.

A second Ctrl-C does not wait for that.
"""

import ctypes
import os
import signal
import sys
from types import FrameType

STOPPED = 75  # the exit code: "temporary failure" in sysexits.h; the same command goes on
ASKS_TO_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
WORKER_GRACE = 60  # seconds that a data worker outlives a SIGTERM sent to all processes, for the run's last step


class Stopped(BaseException):
    """A run that was asked to stop, and has saved. Not an Exception: a sweep must not go on with its other jobs."""


class StopSignal:
    """While it is open, the signals above are noted instead of ending the process. `name` is None until one arrives."""

    def __init__(self) -> None:
        self.name: str | None = None

    def __enter__(self) -> "StopSignal":
        self._before = {number: signal.signal(number, self._note) for number in ASKS_TO_STOP}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.name is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGINT and os.environ.get("RANK", "0") == "0":
            os.write(2, b"\nStopping after this step or evaluation. Ctrl-C again does not wait.\n")  # print may not
        self.name = signal.Signals(number).name


def end_with_parent() -> None:
    """Be asked to stop when the process that started this one ends, even by SIGKILL. (Linux has this.)

    Else the ranks of a torchrun that was killed, or the jobs of a sweep, would go on unseen and keep their folders.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)


def outlive_the_last_step(_worker: int = 0) -> None:
    """In a data worker: what stops all processes of a machine at once must not take the run's last step from it."""
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKER_GRACE) and None)
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
