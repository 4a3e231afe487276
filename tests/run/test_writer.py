"""What is saved beside the training is what was there when it was asked for, and no error of it is lost."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from recipe.plan.compose import PROJECT
from recipe.run.checkpoint import Writer


def test_what_is_written_is_what_was_there_when_it_was_asked_for() -> None:
    """Training goes on meanwhile, and changes the tensors in place."""
    written: list[dict[str, Any]] = []

    def slowly(state: dict[str, Any]) -> None:
        time.sleep(0.2)
        written.append(state)

    state = {"weights": {"a": torch.zeros(3)}, "momentum": [torch.zeros(3)], "epoch": 1}
    writer = Writer()
    writer.write(slowly, state)
    assert not written  # the caller does not wait
    state["weights"]["a"] += 1  # type: ignore[index]
    state["momentum"][0] += 1  # type: ignore[index]
    state["epoch"] = 2
    writer.wait()
    torch.testing.assert_close(written, [{"weights": {"a": torch.zeros(3)}, "momentum": [torch.zeros(3)], "epoch": 1}])
    assert writer.seconds >= 0.2


def test_error_of_the_writer_is_raised_once_by_the_next_call() -> None:
    def fail(state: dict[str, Any]) -> None:
        raise OSError("no space")

    writer = Writer()
    for next_call in (writer.wait, lambda: writer.write(lambda state: None, {})):
        writer.write(fail, {})
        with pytest.raises(OSError, match="no space"):
            next_call()
        writer.wait()


INTERRUPTED = """
import os, signal, sys, time
from pathlib import Path
from recipe.machine.signals import last_words
from recipe.run.checkpoint import Writer

def handler(*_):
    raise RuntimeError("a data worker has died")

def save(state):
    for _ in range(20):
        time.sleep(0.1)
    Path(sys.argv[1]).write_text("whole")

writer = Writer()
writer.write(save, {})
signal.signal(signal.SIGCHLD, handler)  # as PyTorch's
try:
    if os.fork() == 0:
        time.sleep(0.3)
        os._exit(0)
    writer.wait()
finally:
    last_words()
    if os.fork() == 0:  # another one, while Python waits for the thread
        time.sleep(0.3)
        os._exit(0)
"""


def test_wait_that_is_interrupted_leaves_the_thread_to_finish(tmp_path: Path) -> None:
    """By what a signal's handler raises: CPython 3.11 and 3.12 took the thread for ended then, and left it behind."""
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=PROJECT)
    assert done.returncode == 1
    assert "RuntimeError: a data worker has died" in done.stderr
    assert "Exception ignored" not in done.stderr
    assert (tmp_path / "file").read_text() == "whole"


def test_writer_whose_thread_cannot_be_started_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = Writer()
    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="new thread"):
        writer.write(lambda _: None, {})
    writer.wait()
