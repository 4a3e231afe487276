"""What becomes of a run whose network to another machine is gone: one message on each machine, and an end in time.

torchrun itself may not notice. With c10d, a machine where the agents do not meet asks the one where they do several
times a second, and waits for the answer (no end was seen in 220 s; the limit is the system's). Then nobody restarts,
waits for or ends the ranks. Where it has no restart left it has no use of the network any more, and is ended.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from recipe.errors import RunError, rank_local
from recipe.machine import connections, end_torchrun
from recipe.machine.signals import STOPPED

TORCHRUN_SECONDS = 60  # for torchrun to end by itself, once a rank has
SPARE_SECONDS = 3  # for a rank to notice, beyond the time between two probes, by which ranks differ
POLL_SECONDS = 0.1
known: dict[str, str] = {}  # the name of the machine that has an address, as far as the ranks have told each other
_held: socket.socket | None = None


class LostMachineError(RunError):
    """Another machine of the run gives no sign of life. The same command can go on: nothing needs to be put right."""

    code = STOPPED


def error(found: tuple[str, str], seconds: int, asked_to_stop: Callable[[], bool]) -> LostMachineError:
    """What to raise on the first rank of each machine to notice. The others end without a word, a little later.

    Args:
        found: what `connections.lost` has found.
        seconds: runtime.network_timeout.
        asked_to_stop: whether this process has had a signal: torchrun ends the others once one has ended.

    Raises SystemExit on the others.
    """
    first = _first_of_this_machine()
    # Until the others have noticed as well: they would take the end of this one for the reason.
    end_at = time.monotonic() + SPARE_SECONDS * (1 if first else 2) + seconds / connections.PROBES
    while time.monotonic() < end_at and not asked_to_stop():
        time.sleep(POLL_SECONDS)
    if not first:
        raise SystemExit(STOPPED)
    _see_to_torchrun()
    told = LostMachineError(message(*found, seconds))
    rank_local(told)
    return told


def message(address: str, reason: str, seconds: int) -> str:
    """What is said of a machine that has an address ("": not known)."""
    name = f"{known[address]} ({address})" if address in known else address or "another machine of this run"
    return (
        f"{socket.gethostname()} has had no sign of life from {name} for {seconds} s ({reason}), and the training "
        "cannot go on without it. Does that machine run, and does the network between them carry TCP (ping, cable, "
        "switch, firewall)? The same command on both goes on from the last checkpoint"
    )


def _first_of_this_machine() -> bool:
    """Whether no other rank that has the same parent has asked. Who was the first holds a name until it ends."""
    global _held
    _held = socket.socket(socket.AF_UNIX)
    try:
        _held.bind(f"\0recipe lost machine {os.getppid()} {end_torchrun.born(os.getppid())}")
    except OSError:
        return False
    return True


def _see_to_torchrun() -> None:
    """Start what ends it, if it has not ended after a while and had no restart left."""
    restarts = [os.environ.get(f"TORCHELASTIC_{which}", "0") for which in ("RESTART_COUNT", "MAX_RESTARTS")]
    if "TORCHELASTIC_RUN_ID" not in os.environ or int(restarts[0]) < int(restarts[1]):
        return
    agent = os.getppid()
    script = [sys.executable, str(Path(end_torchrun.__file__)), str(agent), end_torchrun.born(agent)]
    subprocess.Popen([*script, str(TORCHRUN_SECONDS)], stdin=subprocess.DEVNULL, start_new_session=True)
