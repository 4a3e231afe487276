"""A data worker that dies is named whenever it dies, and what the caller's program started itself is left alone."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing import reduction
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from recipe.data.workers import FromWorkers, begin
from recipe.machine.signals import ASKS_TO_STOP

A_CHILD_OF_THE_CALLERS = """
import atexit, multiprocessing, signal
child = multiprocessing.get_context("fork").Process(target=signal.pause)
child.start()
atexit.register(lambda: (child.terminate(), child.join(), print(child.exitcode)))  # called last
import recipe.data.loader
"""


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DiesHandingOver(Dataset[Any]):
    """Its batches are tensors, which the rank fetches from the worker: the worker is killed in that moment."""

    def __getitem__(self, index: int) -> torch.Tensor:
        reduction.send_handle = killed  # type: ignore[assignment]  # in the worker alone
        return torch.arange(3)


def test_worker_killed_while_it_hands_over_a_batch_is_named() -> None:
    loader = DataLoader(DiesHandingOver(), None, sampler=range(3), num_workers=2, timeout=20)
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid.* \d+\) "):
        next(FromWorkers(loader))


class Numbers(Dataset[Any]):
    def __getitem__(self, index: int) -> int:
        return index


def slow_to_begin(worker: int) -> None:
    time.sleep(0.5)
    begin(worker)


def test_signal_to_all_processes_spares_a_worker_that_has_just_started() -> None:
    """As when a run begins to evaluate on a busy machine, and is preempted in that moment."""
    loader = DataLoader(Numbers(), None, sampler=range(3), num_workers=1, timeout=20, worker_init_fn=slow_to_begin)
    before = multiprocessing.active_children()
    batches = FromWorkers(loader)
    (worker,) = [process for process in multiprocessing.active_children() if process not in before]
    assert worker.pid is not None
    for number in ASKS_TO_STOP:
        os.kill(worker.pid, number)
    assert list(batches) == [0, 1, 2]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []).isdisjoint(ASKS_TO_STOP)


def test_exit_leaves_the_callers_own_processes_alone() -> None:
    done = subprocess.run([sys.executable, "-c", A_CHILD_OF_THE_CALLERS], capture_output=True, text=True, timeout=120)
    assert done.stdout == f"{-signal.SIGTERM}\n", done.stderr
