"""Which connections get a limit, and which errors mean that a machine is lost; test_lost_network.py loses one."""

import socket
import sys

import pytest
import torch.distributed as dist

from recipe.machine import connections, lost_machine
from recipe.sweep.slurm.node import KILLED

GLOO = (
    "[/__w/pytorch/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error {}:51378: {}. This is typically "
    "caused by a remote worker hanging or bugs in the application."
)


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone lists a process's connections")
@pytest.mark.parametrize(("other", "limited"), [("127.0.0.2", True), ("127.0.0.1", False)])
def test_connections_to_other_addresses_alone_are_limited(other: str, limited: bool) -> None:
    with socket.create_server((other, 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        own = connections.limit(30)
        assert ("127.0.0.1" in own) is limited
        assert bool(client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) is limited
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000 * limited
        if limited:
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        client.sendall(b"still open")


@pytest.mark.parametrize("reason", ["Connection timed out", "No route to host"])
def test_a_machine_that_is_lost_is_told_by_the_system_s_word(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    assert connections.lost(RuntimeError(GLOO.format("[10.77.0.2]", reason))) == ("10.77.0.2", reason)
    assert connections.lost(RuntimeError(GLOO.format("[fe80::1%eth0]", reason))) == ("fe80::1", reason)
    monkeypatch.setenv("MASTER_ADDR", "recipe-head")
    assert connections.lost(dist.DistNetworkError(f"recvValue failed on SocketImpl(): {reason}")) == (
        "recipe-head",
        reason,
    )


@pytest.mark.parametrize("reason", ["Connection closed by peer [10.77.0.2]:7", "Connection reset by peer"])
def test_a_process_that_has_ended_is_no_lost_machine(reason: str) -> None:
    assert connections.lost(RuntimeError(GLOO.format("[10.77.0.2]", reason))) is None
    assert connections.lost(RuntimeError("Timed out waiting 1800000ms for recv operation to complete")) is None


def test_what_is_said_names_the_machine_and_slurm_s_launcher_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(lost_machine.known, "10.77.0.2", "recipe-node")
    told = lost_machine.message("10.77.0.2", "No route to host", 120)
    assert "has had no sign of life from recipe-node (10.77.0.2) for 120 s (No route to host)" in told
    assert KILLED.search(told)
    assert "another machine of this run" in lost_machine.message("", "Connection timed out", 120)
