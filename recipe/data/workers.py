"""The processes that load data: known from their start, named when one dies, ended when Python exits."""

import atexit
import gc
import multiprocessing
import signal
import sys
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakSet

from torch.utils.data import DataLoader

from recipe.machine.signals import ASKS_TO_STOP, outlive_the_last_step

NOTICED_IN = 1.0  # seconds after its connections broke, within which a process that was killed is seen to have ended

_started: WeakSet[BaseProcess] = WeakSet()


class FromWorkers(Iterator[Any]):
    """What a DataLoader yields. Its workers start at once.

    A worker that is killed while it hands over a batch breaks a connection before PyTorch knows of its death. Raises
    RuntimeError then too, in the form of PyTorch's own: "DataLoader worker (pid …) …".
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        before = multiprocessing.active_children()
        # A signal to all processes would end a worker that has not come to `begin` yet: PyTorch lets it die of SIGTERM.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ASKS_TO_STOP)
        try:
            self._batches = iter(loader)
        finally:  # those that were started before another could not be are ended at the exit, too
            self._workers = [process for process in multiprocessing.active_children() if process not in before]
            _started.update(self._workers)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def __next__(self) -> Any:
        try:
            return next(self._batches)
        except (OSError, EOFError) as error:
            for worker in self._workers:
                worker.join(NOTICED_IN / len(self._workers))
            dead = [worker for worker in self._workers if not worker.is_alive()]
            if not dead:
                raise
            raise RuntimeError(f"DataLoader worker (pid {dead[0].pid}) died while it handed over a batch") from error


def begin(worker: int) -> None:
    """What each worker does first, given its number."""
    outlive_the_last_step(worker)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKS_TO_STOP)
    gc.freeze()  # what the rank has made is not searched for garbage again and again
    # Called only by the thread that hands over batches, where it has no descriptors left. The rank meets the broken
    # connection and says what helps: a traceback of the worker's would stand beside or below that.
    sys.excepthook = lambda *_: None


@atexit.register
def _end_workers() -> None:
    """Before Python itself asks them to end and waits: they outlive a SIGTERM, see `recipe.machine.signals`."""
    for worker in _started:
        if worker.is_alive():
            worker.kill()
