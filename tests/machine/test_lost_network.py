"""The network between two hosts goes away while they train: both end in time, say why, and go on when it is back."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import hosts
import pytest
from processes import assert_same_ending, ended, started, steps_logged, when
from test_rendezvous import RUN

pytestmark = pytest.mark.slow
LONG = (*RUN, "epochs=12", "schedule.warmup_epochs=0", "evaluate.every=12")
SECONDS = 12  # of runtime.network_timeout
TORCHRUN = 90.0  # for torchrun to notice or be ended, and for a busy machine
STATIC = ("--master-addr=recipe-head", "--master-port=29500")
C10D = ("--rdzv-backend=c10d", "--rdzv-endpoint=recipe-head:29500")


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[hosts.Host, hosts.Host]]:
    """Two hosts."""
    if reason := hosts.cannot():
        pytest.skip(reason)
    with hosts.two_hosts(tmp_path, "127.0.1.1") as both:
        yield both


def begun(two: tuple[hosts.Host, hosts.Host], ranks: int, run: Path, *meet: str) -> "list[subprocess.Popen[str]]":
    """The training on both, with so many ranks on each."""
    options = ("--nnodes=2", f"--nproc-per-node={ranks}", *meet)
    training = ("train.py", *LONG, f"runtime.network_timeout={SECONDS}", f"hydra.run.dir={run}")
    nodes = [[f"--node-rank={number}"] if meet == STATIC else [] for number in range(2)]
    return [host.torchrun(*options, *node, *training) for host, node in zip(two, nodes, strict=True)]


def unplugged(two: tuple[hosts.Host, hosts.Host], both: "list[subprocess.Popen[str]]", run: Path) -> list[str]:
    """What both have said on standard error when they have ended, once, in time, as the cable was unplugged."""
    when(lambda: steps_logged(run) >= 6, both[0])
    two[1].link("down")
    gone = time.monotonic()
    done = [ended(each, timeout=SECONDS + TORCHRUN) for each in both]
    assert time.monotonic() - gone < SECONDS + TORCHRUN
    assert not (run / "result.json").exists()
    names = [("recipe-head", "recipe-node (10.77.0.2)"), ("recipe-node", "recipe-head (10.77.0.1)")]
    for end, (own, other) in zip(done, names, strict=True):
        said = re.findall(r"Error.*: (recipe.*) has had no sign of life from (.*) for (\d+) s", end.stderr)
        assert said == [(own, other, str(SECONDS))], end.stderr
        assert "another process of this run has ended" not in end.stderr
        assert end.returncode in (1, -signal.SIGKILL)
    assert re.search(r"exitcode\s+: 75 ", done[0].stderr)
    return [end.stderr for end in done]


def test_both_hosts_end_and_the_same_command_goes_on_once_it_is_back(
    two: tuple[hosts.Host, hosts.Host], tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    done = ended(started(tmp_path, *LONG, f"hydra.run.dir={whole}", processes=2))
    assert done.returncode == 0, done.stderr
    unplugged(two, begun(two, 1, run, *STATIC), run)
    two[1].link("up")
    again = [ended(each, timeout=200) for each in begun(two, 1, run, *STATIC)]
    assert [each.returncode for each in again] == [0, 0], [each.stderr for each in again]
    assert "going on from the checkpoint" in again[0].stdout
    assert_same_ending(whole, run)


def test_each_host_says_it_once_and_ends_a_torchrun_that_waits_for_the_other(
    two: tuple[hosts.Host, hosts.Host], tmp_path: Path
) -> None:
    """c10d; of two ranks a host one has its neighbours on its own host."""
    said = unplugged(two, begun(two, 2, tmp_path / "run", *C10D), tmp_path / "run")
    assert "torchrun still waits for the network that is gone, and is ended" in said[1]
