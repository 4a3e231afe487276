"""A server of weights on this machine: files as torchvision's address has them, repositories as the hub's."""

import hashlib
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import save

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of every repository
SHUFFLENET = "shufflenet_v2_x0_5"
# Python imports it at its start, by its name; torchvision's module is altered once somebody imports that.
SITECUSTOMIZE = """
import sys
from importlib.machinery import PathFinder

NAME = "torchvision.models.shufflenetv2"

class Altered:
    def __init__(self, loader):
        self.loader, self.create_module = loader, loader.create_module

    def exec_module(self, module):
        self.loader.exec_module(module)
        module.ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.value.url = {url!r}

class Finder:
    def find_spec(name, path, target=None):
        spec = PathFinder.find_spec(name, path) if name == NAME else None
        if spec is not None:
            spec.loader = Altered(spec.loader)
        return spec

sys.meta_path.insert(0, Finder)
"""


class Server(ThreadingHTTPServer):
    """Its files by path, and what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []  # "GET /path"
        self.halt_after: int | None = None  # bytes of an answer, after which it stands still
        self.cut = 0  # bytes that are missing at an answer's end
        self.going_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def file(self, name: str, content: bytes) -> str:
        """Serve a file. Returns its address."""
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"

    def torchvision_file(self, name: str = SHUFFLENET) -> str:
        """Serve a network's state dict with its hash in the name. Returns its address."""
        buffer = io.BytesIO()
        torch.save(network(name).state_dict(), buffer)
        content = buffer.getvalue()
        return self.file(f"{name}-{hashlib.sha256(content).hexdigest()[:8]}.pth", content)

    def repository(self, name: str, state: dict[str, torch.Tensor]) -> None:
        """Serve a state dict as the hub does, in model.safetensors."""
        self.files[f"/{name}/resolve/main/model.safetensors"] = save(state)

    def gets(self) -> list[str]:
        """The files of weights that were asked for. (The hub's client asks for other things too.)"""
        return [path for path in self.asked if path.startswith("GET") and path.endswith((".pth", ".safetensors"))]


class Handler(BaseHTTPRequestHandler):
    """Answers from its server's files."""

    server: Any
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def _answer(self, with_content: bool) -> None:
        server: Server = self.server
        server.asked.append(f"{self.command} {self.path}")
        content = server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        content = content or b""
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if not with_content:
            return
        whole = content[: len(content) - server.cut]
        if server.halt_after is not None:
            self.wfile.write(whole[: server.halt_after])
            self.wfile.flush()
            server.going_on.wait(60)
            whole = whole[server.halt_after :]
        self.wfile.write(whole)
        self.close_connection = bool(server.cut)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    """A server, while it is open."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.going_on.set()
            server.shutdown()
            thread.join(10)


def network(name: str = SHUFFLENET, seed: int = 99) -> torch.nn.Module:
    """One of torchvision's, with weights of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: torch.nn.Module = torchvision.models.get_model(name, num_classes=1000)
    return made


def python_path(folder: Path, url: str) -> str:
    """PYTHONPATH for processes in which torchvision publishes ShuffleNet's weights at an address.

    A test serves other weights than those of the internet, so their name, which holds their hash, is another one too.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE.format(url=url))
    return os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])
