"""Which network interface gloo takes where a host name resolves to the machine itself, as on Debian: 127.0.1.1."""

import fcntl
import os
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

VARIABLE = "GLOO_SOCKET_IFNAME"
SIOCGIFADDR = 0x8915  # an interface's IPv4 address, of netdevice(7)
PORT = 9  # of no meaning: nothing is sent


def choose(store: Any, rank: int, world_size: int) -> str:
    """The interface that gloo is told to use, by setting $GLOO_SOCKET_IFNAME; "" where it is left to gloo.

    gloo tells the other machines the address that this machine's name resolves to. Where that is a loopback, they
    would look for this rank on themselves. The interface is the one by which this machine reaches the others: the one
    where the agents meet, or, on the machine where that is, those that came to it. Every rank calls it.

    Args:
        store: where all ranks of this attempt have met.
    """
    own = _address_towards(os.environ.get("MASTER_ADDR", ""))
    store.set(f"reached from/{rank}", own)
    if os.environ.get(VARIABLE) or not _loopback(_resolved(socket.gethostname())):
        return ""
    for other in range(world_size):
        if not _loopback(own):
            break
        peer = store.get(f"reached from/{other}").decode()
        own = own if _loopback(peer) else _address_towards(peer)
    name = "" if _loopback(own) else _interface_of(own)  # all on one machine: a loopback serves
    if name:
        os.environ[VARIABLE] = name
    return name


def unreachable(error: RuntimeError) -> bool:
    """Whether an error means that gloo cannot connect to an address that another rank has told it."""
    return "connectFullMesh" in str(error)


def advice() -> str:
    """What to say then."""
    own = f" (here {os.environ[VARIABLE]})" if os.environ.get(VARIABLE) else ""
    return (
        f"the processes of this run have met, but {socket.gethostname()} cannot connect to the address that another "
        f"one gives as its own: set {VARIABLE}{own} on each machine to the network interface by which the others reach "
        "it (`ip -brief addr` lists them), and let them through the firewall, on all ports"
    )


def _loopback(address: str) -> bool:
    return not address or address.startswith("127.")


def _resolved(name: str) -> str:
    """The IPv4 address of a name, "" where it has none: gloo then takes a loopback."""
    try:
        return socket.gethostbyname(name)
    except OSError:
        return ""


def _address_towards(host: str) -> str:
    """The IPv4 address of this machine on the way to another; "" without one. No packet is sent."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, PORT))
        return str(probe.getsockname()[0])
    return ""


def _interface_of(address: str) -> str:
    """The name of the interface that has an address; "" where that is not told (elsewhere than on Linux)."""
    if sys.platform != "linux":
        return ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # one without an IPv4 address
                answer = fcntl.ioctl(asking.fileno(), SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""
