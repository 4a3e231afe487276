"""Files that are whole or not there at all, whatever stops the process that writes them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recipe.errors import unreadable


def write_atomically(path: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file under a temporary name in the same folder, flush it to the disk, then rename it.

    Args:
        content: the file's bytes or text, or a function that writes the file at the path it is given.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """One of a run folder's files. Raises RunError."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from error
    return content


def cache_folder() -> Path:
    """Where this user keeps what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recipe-ladder"


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
