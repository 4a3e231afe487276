"""torchrun by hand on two hosts, as docs/RECIPES.md has it: they meet, and train what one host trains, bit for bit."""

import time
from collections.abc import Iterator
from pathlib import Path

import hosts
import pytest
from processes import assert_same_ending, ended, started
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


@pytest.fixture(params=["", "127.0.1.1"], ids=["own address", "127.0.1.1"])
def own_name(request: pytest.FixtureRequest) -> str:
    """To what each host resolves its own name: to the address that it has, or to a loopback, as on Debian."""
    return str(request.param)


@pytest.fixture
def two(own_name: str, tmp_path: Path) -> Iterator[tuple[hosts.Host, hosts.Host]]:
    """Two hosts."""
    if reason := hosts.cannot():
        pytest.skip(reason)
    with hosts.two_hosts(tmp_path, own_name or None) as both:
        yield both


@pytest.mark.parametrize("where", ["static", "recipe-head", "10.77.0.1"])
def test_two_hosts_train_what_one_does(
    two: tuple[hosts.Host, hosts.Host], own_name: str, whole: Path, tmp_path: Path, where: str
) -> None:
    """By name, one of them seconds late; by address; and by torchrun's static rendezvous."""
    run = tmp_path / "run"
    begun = []
    for rank, host in enumerate(two):
        meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint={where}:29500"]
        if where == "static":
            meet = [f"--node-rank={rank}", "--master-addr=recipe-head", "--master-port=29500"]
        if own_name and where == "10.77.0.1":  # its agent finds its address by its name: not this one
            meet.append(f"--rdzv-conf=is_host={rank == 0}")
        options = ("--nnodes=2", "--nproc-per-node=1", *meet)
        begun.append(host.torchrun(*options, "train.py", *SHORT, f"hydra.run.dir={run}"))
        time.sleep(5 if where == "recipe-head" else 0)
    done = [ended(process, timeout=150) for process in begun]
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert_same_ending(whole, run)


def test_ranks_that_a_scheduler_has_started_without_torchrun_do_so_too(
    two: tuple[hosts.Host, hosts.Host], whole: Path, tmp_path: Path
) -> None:
    """They have no agents' store, and make one."""
    run = tmp_path / "run"
    where = {"MASTER_ADDR": "recipe-head", "MASTER_PORT": "29500", "WORLD_SIZE": "2"}
    arguments = ("train.py", *SHORT, f"hydra.run.dir={run}")
    begun = [host.python(*arguments, **where, RANK=str(rank)) for rank, host in enumerate(two)]
    done = [ended(process, timeout=150) for process in begun]
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert_same_ending(whole, run)


def test_an_interface_by_which_the_others_do_not_reach_a_host_is_told(tmp_path: Path) -> None:
    if reason := hosts.cannot():
        pytest.skip(reason)
    where = {"MASTER_ADDR": "recipe-head", "MASTER_PORT": "29500", "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    arguments = ("train.py", *SHORT, f"hydra.run.dir={tmp_path / 'run'}")
    with hosts.two_hosts(tmp_path, None) as two:
        begun = [host.python(*arguments, **where, RANK=str(rank)) for rank, host in enumerate(two)]
        done = ended(begun[1], timeout=150)
    assert done.returncode == 2
    assert "Error (rank 1): the processes of this run have met, but recipe-node cannot connect" in done.stderr
    assert "set GLOO_SOCKET_IFNAME (here lo)" in done.stderr
