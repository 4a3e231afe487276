"""Two hosts of one machine: network namespaces joined by a cable, each with a name and an /etc/hosts of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from processes import children, killed

from recipe.plan.compose import PROJECT

ENTER = 'hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 && exec "$@"'


@dataclass
class Host:
    """One of them; commands are started on it as on a machine of its own."""

    name: str
    namespace: str
    hosts: Path  # its /etc/hosts
    running: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def torchrun(self, *arguments: str) -> "subprocess.Popen[str]":
        """torchrun with arguments, at the project's folder."""
        return self.python("-m", "torch.distributed.run", *arguments)

    def python(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Python with arguments, at the project's folder."""
        enter = ["ip", "netns", "exec", self.namespace, "unshare", "-u", "-m", "sh", "-c", ENTER, "sh", self.name]
        process = subprocess.Popen(
            [*enter, str(self.hosts), sys.executable, *arguments],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            start_new_session=True,
        )
        self.running.append(process)
        return process

    def link(self, state: str) -> None:
        """Plug the cable in or out: up or down."""
        ip("-n", self.namespace, "link", "set", "cable", state)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


def removed(namespace: str) -> None:
    """Take a namespace away, where there is one; what hangs is left."""
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(["ip", "netns", "del", namespace], capture_output=True, timeout=20, check=False)


def cannot() -> str:
    """Why there can be no such hosts here; "" where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not all(map(shutil.which, ("ip", "unshare"))):
        return "ip (package iproute2) or unshare (util-linux) is not installed"
    name = f"recipe-try-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "cable", "type", "veth", "peer", "name", "other")
        ip("netns", "exec", name, "unshare", "-u", "-m", "true")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.decode().strip()}"
    except subprocess.TimeoutExpired as error:
        return f"no network namespaces here: {' '.join(error.cmd)} did not end in {error.timeout:.0f} s"
    finally:
        removed(name)
    return ""


@contextmanager
def two_hosts(folder: Path, own_name_is: str | None) -> Iterator[tuple[Host, Host]]:
    """recipe-head at 10.77.0.1 and recipe-node at 10.77.0.2, which know each other by name.

    Args:
        own_name_is: the address to which each resolves its own name; None: the one that it has.
    """
    addresses = {"recipe-head": "10.77.0.1", "recipe-node": "10.77.0.2"}
    hosts = []
    for name in addresses:
        lines = [f"{own_name_is if other == name and own_name_is else at} {other}" for other, at in addresses.items()]
        file = folder / f"hosts of {name}"
        file.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        hosts.append(Host(name, f"{name}-{os.getpid()}", file))
    head, node = hosts
    try:
        for host in hosts:
            ip("netns", "add", host.namespace)
        ip("-n", head.namespace, "link", "add", "cable", "type", "veth", "peer", "cable", "netns", node.namespace)
        for host in hosts:
            ip("-n", host.namespace, "addr", "add", f"{addresses[host.name]}/24", "dev", "cable")
            ip("-n", host.namespace, "link", "set", "lo", "up")
            host.link("up")
        yield head, node
    finally:
        for host in hosts:
            for process in host.running:
                if process.poll() is None or children(process):
                    killed(process)
            removed(host.namespace)
