"""Checkpoints: everything a run needs to go on, in files that are whole or not there."""

from pathlib import Path
from typing import Any

import torch

from recipe.errors import RunError
from recipe.files import write_atomically

FORMAT = 2  # of the files; raised when older ones can no longer be read


def save_checkpoint(folder: Path, state: dict[str, Any], keep: int) -> None:
    """Write last.pt; the one before becomes last.1.pt, and so on, up to `keep` files."""
    folder.mkdir(parents=True, exist_ok=True)
    newest = folder / "next.pt"
    write_atomically(newest, lambda path: torch.save(state, path))  # whole on the disk before the older ones move
    for number in range(keep - 1, 0, -1):
        older = _path(folder, number - 1)
        if older.exists():
            older.replace(_path(folder, number))
    newest.replace(_path(folder, 0))


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint's state on the CPU, or None where there is none. Raises RunError."""
    files = [path for number in range(100) if (path := _path(folder, number)).exists()]
    if not files:
        return None
    try:
        state: dict[str, Any] = torch.load(files[0], map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(
            f"cannot read the checkpoint {files[0]} ({type(error).__name__}); remove it to go on from the one before"
        ) from error
    if state.get("format") != FORMAT:
        raise RunError(f"{files[0]} has format {state.get('format')}, and this version reads format {FORMAT}")
    return state


def save_weights(path: Path, state: dict[str, Any]) -> None:
    """One file of tensors and plain values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def _path(folder: Path, number: int) -> Path:
    return folder / ("last.pt" if number == 0 else f"last.{number}.pt")
