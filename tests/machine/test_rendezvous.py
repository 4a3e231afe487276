"""The processes of a run find each other, after restarts too, and who waits for the others can be asked to stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
from processes import children, ended, killed, rank_of, steps_logged, when

from recipe.errors import RunError
from recipe.machine import rendezvous
from recipe.machine.signals import PATIENCE, STOPPED
from recipe.plan.compose import PROJECT

RUN = (
    *("+recipe=v1", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data=synthetic"),
    *("data.size=256", "batch_size=64", "micro_batch_size=16", "data.workers=0", "log.images=false"),
    *("log.every_steps=1", "runtime.device=cpu", "checkpoint.every_minutes=0.00001"),
)
SOON = timedelta(seconds=30)


@pytest.fixture
def agents() -> dist.TCPStore:
    """The store of torchrun's agents."""
    return dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=SOON)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def client(agents: dist.TCPStore) -> dist.TCPStore:
    return dist.TCPStore("127.0.0.1", agents.port, is_master=False, timeout=SOON)


def test_each_attempt_has_a_store_that_all_of_its_processes_agree_on(
    agents: dist.TCPStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some were counted as restarted and some not; one came and was killed before the others were there."""
    given = set()
    for attempt in range(3):
        stores = [client(agents) for _ in range(3)]
        if attempt == 1:
            stores[0].set("rank 2", "killed")
        with ThreadPoolExecutor(3) as pool:
            meeting = [pool.submit(rendezvous.meet, store, rank, 3, SOON) for rank, store in enumerate(stores)]
            met = [each.result() for each in meeting]
        for rank, store in enumerate(met):
            assert not store.check(["address"])
            store.set(f"address of {rank}", str(attempt))
        assert all(store.get(f"address of {rank}") == str(attempt).encode() for store in met for rank in range(3))
        met[0].set("address", "")
        given.add(met[0].get("address of 0"))
    assert len(given) == 3


def test_ranks_that_do_not_come_are_named(agents: dist.TCPStore) -> None:
    with pytest.raises(RunError, match="rank 1, rank 2 of this run did not begin"):
        rendezvous.meet(client(agents), 0, 3, timedelta(seconds=0.2))
    with pytest.raises(RunError, match="rank 0 of this run did not begin"):
        rendezvous.meet(client(agents), 1, 3, timedelta(seconds=0.2))


def test_command_keeps_its_name_over_restarts(agents: dist.TCPStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECIPE_COMMAND", raising=False)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert rendezvous.command(client(agents)) == rendezvous.command(client(agents))
    assert rendezvous.command(None) != rendezvous.command(None)  # python train.py
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert rendezvous.command(None) == rendezvous.command(None) != rendezvous.command(client(agents))


@pytest.mark.parametrize("agents_store", [True, False])
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_who_waits_for_the_others_stops_when_asked(
    agents: dist.TCPStore, free_port: int, tmp_path: Path, number: int, agents_store: bool
) -> None:
    """In Python, and where there is no store yet in C++, where Python runs no handler."""
    environment = {
        **{"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"},
        **{"MASTER_PORT": str(agents.port if agents_store else free_port), "TORCHELASTIC_RUN_ID": "none"},
        **{"TORCHELASTIC_USE_AGENT_STORE": str(agents_store), "OMP_NUM_THREADS": "1"},
    }
    process = subprocess.Popen(
        [sys.executable, "train.py", *RUN, f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=PROJECT,
        env={**os.environ, **environment},
    )
    try:
        when_it_waits(process)
        process.send_signal(number)
        assert process.wait(PATIENCE + 10) == STOPPED
    finally:
        process.kill()


def when_it_waits(process: "subprocess.Popen[bytes]") -> None:
    """Its thread for signals has started, and then it has done nothing for a while."""
    deadline, before, still = time.monotonic() + 120, -1.0, 0
    while still < 4:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.5)
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        used = float(fields[11]) + float(fields[12])  # ticks of a hundredth of a second
        still = still + 1 if used - before < 6 and used > 100 else 0
        before = used


@pytest.fixture
def nodes(free_port: int, tmp_path: Path) -> Iterator[list["subprocess.Popen[str]"]]:
    """Two agents of torchrun, as on two machines."""
    where = ("--nnodes=2", "--max-restarts=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port}")
    arguments = ("train.py", *RUN, "epochs=4", "evaluate.every=4", f"hydra.run.dir={tmp_path / 'run'}")
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *where, "--nproc_per_node=1", *arguments],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        for _ in range(2)
    ]
    yield both
    for process in both:
        if process.poll() is None:
            killed(process)


@pytest.mark.slow
def test_two_nodes_go_on_when_a_rank_is_killed(nodes: list["subprocess.Popen[str]"], tmp_path: Path) -> None:
    """The other one does not notice (it is held), and is restarted by its agent, which does not count that."""
    when(lambda: steps_logged(tmp_path / "run") >= 3, nodes[0])
    ranks = {rank_of(pid): pid for node in nodes for pid in children(node) if rank_of(pid) is not None}
    os.kill(ranks[0], signal.SIGSTOP)
    os.kill(ranks[1], signal.SIGKILL)
    done = [ended(node, timeout=150) for node in nodes]
    assert [node.returncode for node in done] == [0, 0], done
    assert sum("going on from the checkpoint" in node.stdout for node in done) == 1
    assert not any("Traceback" in node.stderr for node in done)  # at the second attempt
    with suppress(ProcessLookupError):
        os.kill(ranks[0], signal.SIGKILL)
