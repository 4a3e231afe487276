"""Where the weights of a finished run lie: `weights.json` in its checkpoints names the file of each kind.

Without one, as in runs of before it and those with `checkpoint.keep_after_training=true`, the last checkpoints are
there. What writes it is recipe.run.kept. Knows no torch.
"""

import json
from pathlib import Path
from typing import Any

INDEX = "weights.json"
FINAL, RAW, BEST, LAST = "model.safetensors", "raw.pt", "best.pt", "last.pt"


def files(checkpoints: Path) -> dict[str, Path] | None:
    """The file of each kind of weights, of "raw", "ema" and "best"; None where the checkpoints themselves are kept."""
    index = _index(checkpoints)
    return None if index is None else {kind: checkpoints / name for kind, name in index["files"].items()}


def in_its_place(path: Path) -> tuple[Path, str | None] | None:
    """For a dropped file of a finished run, by its old path: the file that holds its weights, and its own SHA-256."""
    index = _index(path.parent)
    if index is None or path.exists() or path.name not in (BEST, LAST):
        return None
    held = path.parent / (FINAL if path.name == LAST else index["files"].get("best", FINAL))  # of LAST, the average
    return (held, index["sha256"].get(path.name)) if held.is_file() else None


def _index(checkpoints: Path) -> dict[str, Any] | None:
    try:
        index = json.loads((checkpoints / INDEX).read_bytes())
        whole = all(isinstance(index[name], dict) for name in ("files", "sha256"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return index if whole else None
