"""Which interface gloo is told, as far as one host goes; tests/machine/test_two_hosts.py has the two."""

import os
import sys

import pytest
import torch.distributed as dist

from recipe.machine import interfaces

THERE = [("127.0.1.1", "10.77.0.2", "eth7"), ("10.77.0.1", "127.0.0.1", ""), ("", "10.77.0.2", "eth7")]


@pytest.mark.parametrize(("own_name", "peer", "told"), THERE)
def test_only_a_name_without_an_address_that_others_reach_is_mended(
    monkeypatch: pytest.MonkeyPatch, own_name: str, peer: str, told: str
) -> None:
    """On the machine where the agents meet, which sees itself by a loopback; the other one came to it."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv(interfaces.VARIABLE, "")
    monkeypatch.setattr(interfaces, "_resolved", lambda _: own_name)
    towards = {"127.0.0.1": "127.0.0.1", peer: "10.77.0.1"}
    monkeypatch.setattr(interfaces, "_address_towards", towards.__getitem__)
    monkeypatch.setattr(interfaces, "_interface_of", {"10.77.0.1": "eth7"}.__getitem__)
    store = dist.HashStore()
    store.set("reached from/1", peer)
    assert interfaces.choose(store, 0, 2) == told
    assert os.environ[interfaces.VARIABLE] == told


def test_what_the_user_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv(interfaces.VARIABLE, "ib0")
    assert interfaces.choose(dist.HashStore(), 0, 1) == ""
    assert os.environ[interfaces.VARIABLE] == "ib0"


@pytest.mark.skipif(sys.platform != "linux", reason="interfaces are asked for their addresses on Linux alone")
def test_interfaces_are_known_by_their_addresses() -> None:
    assert interfaces._address_towards("127.0.0.1") == "127.0.0.1"
    assert interfaces._interface_of("127.0.0.1").startswith("lo")
    assert interfaces._interface_of("192.0.2.1") == ""  # nobody's
    assert interfaces._address_towards("no host has this name.invalid") == ""
