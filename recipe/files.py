"""Files that are whole or not there at all, whatever stops the process that writes them."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from recipe.encoding import SHOWN
from recipe.errors import RunError, unreadable

LOCK = ".lock"  # of a run folder: held while a process trains in it
CONSOLE = "console.log"  # of a run folder: what a sweep's job printed
LOCK_SECONDS = 5.0  # to wait for a process that is just being ended


def write_atomically(path: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file under a temporary name in the same folder, flush it to the disk, then rename it.

    Args:
        content: the file's bytes or text (UTF-8), or a function that writes the file at the path it is given.

    Raises OSError, naming the file; the old one is then intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode("utf-8", SHOWN) if isinstance(content, str) else content)
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """One of a run folder's files. Raises RunError."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    return content


def lock(path: Path) -> TextIO | None:
    """Hold a file until it is closed or this process ends, however it ends. None where the disk has no locks.

    Raises RunError where another process holds it. (A child process does not inherit the lock.)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    patience = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                file.close()
                return None
        else:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            return file
        if time.monotonic() > patience:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise RunError(f"{holder} is training in {path.parent}: two runs in one folder would spoil each other")
        time.sleep(0.2)


def is_locked(path: Path) -> bool:
    """Whether a process holds the file."""
    try:
        with path.open("r+", encoding="utf-8") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    return False


def cache_folder() -> Path:
    """Where this user keeps what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recipe-ladder"


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
