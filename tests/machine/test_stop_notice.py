"""Before the first step a rank that is asked to stop ends, and the others with it, wherever they stand."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recipe.machine.signals import STOPPED
from recipe.plan.compose import PROJECT

BEGIN = """
import ctypes, os, signal, sys, time
from pathlib import Path
from recipe.config import RuntimeConfig
from recipe.machine import distributed
from recipe.machine.signals import StopSignal
from recipe.machine.stop_notice import end_together

def deaf():
    Path(sys.argv[1], os.environ["RANK"]).touch()
    mutex = ctypes.create_string_buffer(64)
    for _ in range(2):
        ctypes.CDLL(None).pthread_mutex_lock(mutex)  # for ever, and Python runs no handler

def awake():
    Path(sys.argv[1], os.environ["RANK"]).touch()
    time.sleep(60)

with StopSignal(at_once=True) as stop:
    ranks = distributed.start(RuntimeConfig(device="cpu"))
    end_together(ranks, stop)
"""


def ranks_of(script: str, folder: Path) -> list["subprocess.Popen[str]"]:
    """Two ranks, started without torchrun, once both of them wait."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN + script, str(folder)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    deadline = time.monotonic() + 120
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline
        assert [rank.poll() for rank in ranks] == [None, None], [rank.communicate() for rank in ranks]
        time.sleep(0.05)
    return ranks


@pytest.mark.parametrize("asked", [0, 1])
@pytest.mark.parametrize(
    "script",
    [
        pytest.param("    awake()", id="before the training"),
        pytest.param("    stop.in_step = True; deaf()", id="in the first step"),
        # Rank 0 has done its first step, and waits in the second for rank 1, which is at its first.
        pytest.param("    stop.in_step, stop.at_once = True, ranks.rank == 1; deaf()", id="in the second"),
    ],
)
def test_one_that_is_asked_ends_both(tmp_path: Path, script: str, asked: int) -> None:
    if "ranks.rank" in script and asked == 0:
        pytest.skip("a rank that has something to save does not end")
    ranks = ranks_of(script, tmp_path)
    begin = time.monotonic()
    ranks[asked].terminate()
    said = [rank.communicate(timeout=30)[1] for rank in ranks]
    assert time.monotonic() - begin < 5
    nothing = "Stopped before its first step: nothing was trained yet. The same command begins again.\n"
    told = 1 - asked
    assert (ranks[told].returncode, said[told]) == (STOPPED, "" if told else nothing)
    if "deaf" in script:
        assert (ranks[asked].returncode, said[asked]) == (STOPPED, "" if asked else nothing)
    else:  # raised, for train.py to say it
        assert said[asked].endswith("recipe.machine.signals.Stopped: " + nothing)
