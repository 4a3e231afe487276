"""The processes that this one has started, and those that they have: data workers, compilers."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

CHILD_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
SECONDS = 0.5  # to wait for them at most; one that the system holds ends when it is let go


def end_descendants() -> None:
    """Kill them all. (Elsewhere than on Linux only the data workers; the others notice that they are alone.)

    For a process that is about to end without leaving its interpreter in order, where each of them would be asked.
    """
    for process in multiprocessing.active_children():
        process.kill()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(CHILD_SUBREAPER, 1)  # a killed one's children become this process's own
    deadline = time.monotonic() + SECONDS
    while (children := _children()) and time.monotonic() < deadline:
        for child in children:
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, os.WNOHANG)
        time.sleep(0.005)


def _children() -> list[int]:
    """The ids of the children of this process, those of all of its threads."""
    found = []
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended
            found += [int(child) for child in file.read_text().split()]
    return found
