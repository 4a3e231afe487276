"""How the processes that torchrun has started find each other, at the first attempt and after a restart."""

import os
import socket
import sys
import time
import uuid
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from recipe.errors import RunError, rank_local
from recipe.machine.end_torchrun import born
from recipe.machine.restarts import COMMAND

POLL_SECONDS = 0.05  # between two looks whether the others are there
QUIET_SECONDS = 60.0  # of waiting, until it is said for whom


def agents_store(world_size: int, timeout: timedelta) -> Any:
    """The store of torchrun's agents, one for all machines, which lives as long as torchrun; None without."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.PrefixStore("recipe", dist.TCPStore(address, port, world_size, is_master=False, timeout=timeout))


def own_store(rank: int, world_size: int, timeout: timedelta) -> Any:
    """The store that the ranks make themselves where no agent has one, at $MASTER_ADDR and $MASTER_PORT of rank 0's."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.PrefixStore("ranks", dist.TCPStore(address, port, world_size, is_master=rank == 0, timeout=timeout))


def command(store: Any) -> str:
    """What names the command that this process belongs to: still the same after torchrun has restarted it."""
    if COMMAND in os.environ:
        return os.environ[COMMAND]
    own = uuid.uuid4().hex
    if store is not None:
        named: bytes = store.compare_set("command", "", own)
        return named.decode()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return f"{socket.gethostname()} {os.getppid()} {born(os.getppid())}"
    return own


def meet(store: Any, rank: int, world_size: int, timeout: timedelta) -> Any:
    """A store of this attempt's own. Without, it would meet the addresses that the attempts before left in the agents'.

    An attempt has no name that all of its processes know: each machine's agent counts the restarts for itself, and some
    miss those that others count. So each process writes under its rank who it is, and rank 0 answers each by that with
    the attempt's name, until all have taken it. What processes of earlier attempts wrote is answered in vain.

    Raises RunError after `timeout`.
    """
    deadline, say_at = time.monotonic() + timeout.total_seconds(), time.monotonic() + QUIET_SECONDS
    own = uuid.uuid4().hex
    if rank == 0:
        missing = set(range(1, world_size))
        while missing:
            for other in list(missing):
                if store.check([f"{own}/{other}"]):
                    missing.remove(other)
                elif store.check([f"rank {other}"]):
                    store.set(store.get(f"rank {other}").decode(), own)
            if missing and time.monotonic() > min(say_at, deadline):
                say_at = deadline
                _waiting_for([f"rank {other}" for other in sorted(missing)], time.monotonic() > deadline)
            time.sleep(POLL_SECONDS if missing else 0)
        return dist.PrefixStore(own, store)
    store.set(f"rank {rank}", own)
    while not store.check([own]):
        if time.monotonic() > deadline:
            _waiting_for(["rank 0"], ended=True)
        time.sleep(POLL_SECONDS)
    attempt = store.get(own).decode()
    store.set(f"{attempt}/{rank}", "here")
    return dist.PrefixStore(attempt, store)


def _waiting_for(ranks: list[str], ended: bool) -> None:
    if ended:
        what = f"{', '.join(ranks)} of this run did not begin: torchrun must be started on every machine"
        raise rank_local(RunError(what))
    print(f"Waiting for {', '.join(ranks)} …", file=sys.stderr, flush=True)
