"""torchrun by hand on two hosts, as docs/RECIPES.md has it: they meet, and train what one host trains, bit for bit."""

import time
from collections.abc import Iterator
from pathlib import Path

import hosts
import pytest
from processes import assert_same_ending, ended, killed, metrics, started, steps_logged, when
from test_rendezvous import RUN

pytestmark = pytest.mark.slow
SHORT = (*RUN, "epochs=1", "schedule.warmup_epochs=0", "evaluate.every=1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two ranks on one host."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = ended(started(folder.parent, *SHORT, f"hydra.run.dir={folder}", processes=2))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(params=["", "127.0.1.1"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[hosts.Host, hosts.Host]]:
    """Two hosts; with a name that resolves to an address of theirs, or to a loopback, as on Debian."""
    if reason := hosts.cannot():
        pytest.skip(reason)
    with hosts.two_hosts(tmp_path, request.param or None) as both:
        yield both


@pytest.mark.parametrize("where", ["static", "recipe-head", "10.77.0.1"])
def test_two_hosts_train_what_one_does(
    two: tuple[hosts.Host, hosts.Host], whole: Path, tmp_path: Path, where: str
) -> None:
    """By name, one of them seconds late; by address; and by torchrun's static rendezvous."""
    run = tmp_path / "run"
    begun = []
    for rank, host in enumerate(two):
        meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint={where}:29500"]
        if where == "static":
            meet = [f"--node-rank={rank}", "--master-addr=recipe-head", "--master-port=29500"]
        options = ("--nnodes=2", "--nproc-per-node=1", *meet)
        begun.append(host.torchrun(*options, "train.py", *SHORT, f"hydra.run.dir={run}"))
        time.sleep(5 if where == "recipe-head" else 0)
    done = [ended(process, timeout=150) for process in begun]
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert_same_ending(whole, run)


def test_elastic_run_goes_on_on_the_host_that_is_left(tmp_path: Path) -> None:
    """--nnodes=1:2: all of a host is killed; the other one goes on from the last save, with the ranks that it has."""
    if reason := hosts.cannot():
        pytest.skip(reason)
    run = tmp_path / "run"
    meet = ("--rdzv-backend=c10d", "--rdzv-endpoint=recipe-head:29500", "--rdzv-conf=last_call_timeout=20")
    line = ("--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", *meet)
    more = ("epochs=4", "evaluate.every=4", f"hydra.run.dir={run}")
    with hosts.two_hosts(tmp_path, "127.0.1.1") as both:
        left, lost = (host.torchrun(*line, "train.py", *RUN, *more) for host in both)
        when(lambda: steps_logged(run) >= 3, left)
        killed(lost)
        done = ended(left, timeout=150)
    assert done.returncode == 0, done.stderr
    assert "16 over 2 ranks" in done.stdout
    assert "16 over 1 rank\n" in done.stdout
    assert "going on from the checkpoint" in done.stdout
    assert [row["step"] for row in metrics(run) if "train/loss" in row] == list(range(1, 17))
