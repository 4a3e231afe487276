"""What a finished run keeps: its weights, each once, without what only going on with the training needs.

Where they lie then is said by recipe.network.kept_files. Imports PyTorch only to write.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from recipe.errors import RunError
from recipe.files import write_atomically
from recipe.network.kept_files import BEST, FINAL, INDEX, LAST, RAW, files

if TYPE_CHECKING:
    from torch import Tensor

OURS = re.compile(r"(last(\.\d+)?|next|best|raw)\.pt|\..*\.tmp")  # what may be dropped: files of others stay


def write(checkpoints: Path, states: "Mapping[str, Mapping[str, Tensor]]", counts: str) -> None:
    """Write what is not there yet, then the index. After it, what `drop` takes away is missed by nobody.

    Args:
        states: the weights at the end of the training: "raw", and "ema" where there is an average.
        counts: which of them are in model.safetensors.
    """
    from recipe.run.checkpoint import load_tensors, on_host, save_tensors

    held, found = {digest(states[counts]): FINAL}, {counts: FINAL}
    for kind, state in states.items():
        found[kind] = held.setdefault(digest(state), RAW)
        if found[kind] == RAW:
            save_tensors(checkpoints / RAW, on_host({"model": state}))
    if (checkpoints / BEST).exists():
        try:
            found["best"] = held.get(digest(load_tensors(checkpoints / BEST)["model"]), BEST)
        except Exception:  # not whole: it stays, and who asks for it is told
            found["best"] = BEST
    # A run that starts from one of these by its path is called by its content: still so when it is gone.
    digests = {name: _sha256(checkpoints / name) for name in (BEST, LAST) if (checkpoints / name).exists()}
    write_atomically(checkpoints / INDEX, json.dumps({"files": found, "sha256": digests}, indent=2) + "\n")


def digest(state: "Mapping[str, Tensor]") -> str:
    """Checksum of weights, in whatever order a file holds them: 32 hexadecimal digits."""
    from recipe.run.checkpoint import checksum

    return checksum({name: state[name] for name in sorted(state)})


def drop(checkpoints: Path) -> int:
    """Bytes that were freed: deletes checkpoints, and weights that another file holds. Does nothing without an index.

    Safe to be cut off at any moment, and to be called again. Raises OSError.
    """
    found = files(checkpoints)
    if found is None or not all(path.exists() for path in found.values()):
        return 0
    freed = 0
    for path in checkpoints.iterdir():
        if OURS.fullmatch(path.name) and path not in found.values():
            with suppress(FileNotFoundError):  # by another process, meanwhile
                size = path.stat().st_size
                path.unlink()
                freed += size
    return freed


def refuse_without_result(folder: Path) -> None:
    """Raise RunError for a run that had finished and has lost its result: it would be trained again from its beginning.

    (Killed just before its result, it still has its checkpoints, and goes on from them.)
    """
    checkpoints = folder / "checkpoints"
    if files(checkpoints) is not None and not any(checkpoints.glob("last*.pt")):
        raise RunError(
            f"{folder} has the weights of a run that had finished, but no result.json: bring that back, "
            "or add resume=never to set the run aside and train it anew"
        )


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
