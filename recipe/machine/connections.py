"""Connections to other machines: how long one may give no sign of life, and what is known of one that is lost.

Without a limit a training whose network is gone waits: for the system's, a quarter of an hour where something was sent,
and for a collective's where nothing was. A collective may last long, as ranks wait for one that compiles or loads; but
the other machine's system answers at any time, whatever its processes do. So it is that answer which is waited for.
"""

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress

import torch.distributed as dist

PROBES = 6  # within the limit: what is lost on the way once costs nothing
# What the system says of such a connection; gloo puts the other side's address before it: "[10.0.0.2]:5137: No route …"
LOST = re.compile(
    r"(?:\[(?P<address>[0-9a-f.:]+)(?:%\w+)?\]:\d+: )?"
    "(?P<reason>Connection timed out|No route to host|Network is unreachable|Network is down)"
)


def limit(seconds: int) -> set[str]:
    """Let the system end this process's connections to other machines that give no sign of life for so long (Linux).

    Only those that it has now: to be called again when there are more. An idle connection is probed. What waits in one
    of them then gets an error: gloo, a store, NCCL's own (not tried; over InfiniBand NCCL has limits of its own).

    Returns:
        This machine's addresses in them, by which the others know it.
    """
    own: set[str] = set()
    if sys.platform != "linux":
        return own
    options = {
        socket.TCP_USER_TIMEOUT: 1000 * seconds,  # ms, of what was sent and is not acknowledged
        socket.TCP_KEEPIDLE: max(1, seconds // PROBES),
        socket.TCP_KEEPINTVL: max(1, seconds // PROBES),
        socket.TCP_KEEPCNT: PROBES,
    }
    for connection in _to_other_machines():
        with connection, suppress(OSError):  # it has ended meanwhile
            for option, value in options.items():
                connection.setsockopt(socket.IPPROTO_TCP, option, value)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            own.add(connection.getsockname()[0].removeprefix("::ffff:"))
    return own


def lost(error: BaseException) -> tuple[str, str] | None:
    """Whom an error means that does not answer any more, and the system's word; None where it means something else.

    Returns:
        The other side's address, "" where it is not told, and the reason.
    """
    found = LOST.search(str(error))
    if found is None:
        return None
    where_they_meet = os.environ.get("MASTER_ADDR", "") if isinstance(error, dist.DistNetworkError) else ""
    return found["address"] or where_they_meet, found["reason"]


def _to_other_machines() -> Iterator[socket.socket]:
    """Copies of this process's TCP connections whose other side is not on this machine, each to be closed."""
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # closed meanwhile, or nothing that is connected
            if not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            copy = socket.socket(fileno=os.dup(int(name)))
            if _reaches_another_machine(copy):
                yield copy
            else:
                copy.close()


def _reaches_another_machine(connection: socket.socket) -> bool:
    if connection.family not in (socket.AF_INET, socket.AF_INET6) or connection.type != socket.SOCK_STREAM:
        return False
    with suppress(OSError):
        return bool(connection.getpeername()[0] != connection.getsockname()[0])
    return False
