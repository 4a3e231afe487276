"""torchrun by hand, two agents on this machine: the static rendezvous, a node that does not come, a port in use."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import assert_same_ending, ended, started
from test_rendezvous import RUN

from recipe.plan.compose import PROJECT

pytestmark = pytest.mark.slow
SHORT = (*RUN, "epochs=1", "schedule.warmup_epochs=0", "evaluate.every=1")


def agent(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", *arguments],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_static_rendezvous_of_two_agents_trains_what_one_does(tmp_path: Path) -> None:
    whole, run, port = tmp_path / "whole", tmp_path / "run", free_port()
    done = ended(started(tmp_path, *SHORT, f"hydra.run.dir={whole}", processes=2))
    assert done.returncode == 0, done.stderr
    where = ("--master-addr=127.0.0.1", f"--master-port={port}")
    both = [agent(f"--node-rank={rank}", *where, "train.py", *SHORT, f"hydra.run.dir={run}") for rank in range(2)]
    ends = [ended(each, timeout=150) for each in both]
    assert [end.returncode for end in ends] == [0, 0], [end.stderr for end in ends]
    assert_same_ending(whole, run)


def test_a_node_that_never_joins_ends_the_other_in_time(tmp_path: Path) -> None:
    """join_timeout is 600 seconds where nobody says another."""
    endpoint = f"--rdzv-endpoint=127.0.0.1:{free_port()}"
    asked = time.monotonic()
    one = agent("--rdzv-backend=c10d", endpoint, "--rdzv-conf=join_timeout=5", "train.py", f"hydra.run.dir={tmp_path}")
    done = ended(one, timeout=100)
    assert time.monotonic() - asked < 60
    assert done.returncode == 1
    assert "RendezvousTimeoutError" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_port_in_use_is_said_at_once(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        where = ("--node-rank=0", "--master-addr=127.0.0.1", f"--master-port={other.getsockname()[1]}")
        done = ended(agent(*where, "train.py", f"hydra.run.dir={tmp_path}"), timeout=60)
    assert done.returncode == 1
    assert "EADDRINUSE" in done.stderr


def test_a_port_that_a_silent_stranger_holds_ends_c10d_too_where_the_host_is_named(tmp_path: Path) -> None:
    """Without is_host torchrun takes what listens there for the other machine's agent, and waits for its answer."""
    with socket.socket() as stranger:
        stranger.bind(("0.0.0.0", 0))
        stranger.listen()
        where = ("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{stranger.getsockname()[1]}")
        done = ended(agent(*where, "--rdzv-conf=is_host=true", "train.py", f"hydra.run.dir={tmp_path}"), timeout=100)
    assert done.returncode == 1
    assert "EADDRINUSE" in done.stderr
    assert "RendezvousConnectionError" in done.stderr
