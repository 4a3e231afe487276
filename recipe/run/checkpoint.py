"""Checkpoints: everything a run needs to go on, in files that are whole or not there.

A file holds tensors and plain values alone, is read with `weights_only=True`, and carries a checksum of them.
"""

import hashlib
import io
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recipe.errors import RunError
from recipe.files import write_atomically
from recipe.network.states import with_metadata

FORMAT = 3  # of the files; raised when older ones can no longer be read
MOST_KEPT = 100


class Loaded(NamedTuple):
    """The newest checkpoint that is whole, and the newer ones that are not: a line for each."""

    state: dict[str, Any] | None
    refused: list[str]


def save_checkpoint(folder: Path, state: dict[str, Any], keep: int) -> None:
    """Write last.pt; the one before becomes last.1.pt, and so on, up to `keep` files. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    newest = folder / "next.pt"
    save_tensors(newest, {**state, "format": FORMAT})  # whole on the disk before the older ones move
    for number in range(keep - 1, 0, -1):
        older = _path(folder, number - 1)
        if older.exists():
            older.replace(_path(folder, number))
    newest.replace(_path(folder, 0))
    for number in range(keep, MOST_KEPT):  # of a run that was begun with a larger `keep`
        _path(folder, number).unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> Loaded:
    """The newest checkpoint that is whole, on the CPU. Raises RunError where there are checkpoints but none is."""
    refused = []
    names = [folder / "next.pt", *(_path(folder, number) for number in range(MOST_KEPT))]  # next: killed in between
    for path in names:
        if not path.exists():
            continue
        try:
            state = load_tensors(path)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0][:100]
            refused.append(f"{path} is not whole ({type(error).__name__}: {reason})")
            continue
        if state.get("format") != FORMAT:
            raise RunError(f"{path} has format {state.get('format')}, and this version reads format {FORMAT}")
        return Loaded(state, refused)
    if refused:
        raise RunError(f"{'; '.join(refused)}; no other is left. resume=never sets this run aside and trains anew")
    return Loaded(None, [])


def save_tensors(path: Path, state: dict[str, Any]) -> None:
    """Write one file of tensors and plain values, with their checksum. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**state, "checksum": checksum(state)}

    def write(temporary: Path) -> None:
        with _File(temporary, "wb") as file:
            try:
                torch.save(content, file)
            except RuntimeError as error:
                raise file.error or error from error

    write_atomically(path, write)


def load_tensors(path: Path) -> dict[str, Any]:
    """Content of a file of `save_tensors`, on the CPU. Raises ValueError where it is not what was written, and what
    torch.load raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a damaged file, PyTorch may ask to report its pickle protocol
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state.pop("checksum", None) != checksum(state):
        raise ValueError("the checksum differs")
    return state


def checksum(value: Any) -> str:
    """Checksum of tensors and plain values in dicts, lists and tuples: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)

    def take(item: Any) -> None:
        if isinstance(item, Tensor):
            digest.update(f"{item.dtype}{tuple(item.shape)}".encode())
            digest.update(item.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        elif isinstance(item, dict):
            digest.update(f"dict {len(item)}".encode())
            for key, part in item.items():
                digest.update(repr(key).encode())
                take(part)
        elif isinstance(item, list | tuple):
            digest.update(f"list {len(item)}".encode())
            for part in item:
                take(part)
        else:
            digest.update(repr(item).encode())

    take(value)
    return digest.hexdigest()


def on_host(value: Any) -> Any:
    """Copy of nested dicts, lists and tuples, its tensors in the host's memory, where training does not change them."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        copy = {key: on_host(item) for key, item in value.items()}
        return with_metadata(copy, value._metadata) if hasattr(value, "_metadata") else copy
    if isinstance(value, list | tuple):
        return type(value)(on_host(item) for item in value)
    return value


class _File(io.FileIO):
    """Keeps what the disk said: PyTorch only says that something failed."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


class Writer:
    """Writes one file after another in a thread, beside the training. What goes wrong is raised by the next call."""

    def __init__(self) -> None:
        self.seconds = 0.0  # that the last job took, its copying included
        self.jobs, self.held, self.busy = 0, 0.0, 0.0  # so far; seconds of the caller's, and CPU seconds of the jobs
        self._thread: threading.Thread | None = None
        self._written = threading.Event()  # by the thread
        self._error: BaseException | None = None

    def write(self, save: Callable[[dict[str, Any]], None], state: dict[str, Any]) -> None:
        """Copy a state to the host's memory, and let the thread save it."""
        called = time.monotonic()
        self.wait()
        begin = time.monotonic()
        copy = on_host(state)

        def job() -> None:
            try:
                save(copy)
            except BaseException as error:
                self._error = error
            self.seconds = time.monotonic() - begin
            self.busy += time.thread_time()
            self._written.set()

        self._written.clear()
        self._thread = threading.Thread(target=job, name="checkpoint", daemon=False)
        self._thread.start()
        self.jobs += 1
        self.held += time.monotonic() - called

    def wait(self) -> None:
        """Until the last file is on the disk. Raises what its job raised.

        Never by the thread's join(): where a signal's handler raises in it, CPython 3.11 and 3.12 take the thread for
        ended, and at the exit tear the interpreter down below a running torch.save.
        """
        if self._thread is not None:
            while not self._written.wait(1.0) and self._thread in threading.enumerate():  # it may not have come to life
                pass
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error


def _path(folder: Path, number: int) -> Path:
    return folder / ("last.pt" if number == 0 else f"last.{number}.pt")
