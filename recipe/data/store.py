"""What a folder says of itself where it is a store: training images re-encoded, which pixels a run trained on.

Stores are made in `data/prepare/store.py`. While one is made, its folder holds a marker; store.json is written last.
"""

import json
from pathlib import Path
from typing import Any

from recipe.errors import DataError

STORE = "store.json"
MARKER = "store.unfinished.json"
RECORDED = ("source", "max_side", "quality")  # what a run says of its store


def store_of(root: str | None) -> dict[str, Any] | None:
    """What a run says of the store it trains on; None where its data is none. Raises DataError."""
    facts = read_own(Path(root) / STORE) if root is not None else None
    return None if facts is None else {name: facts.get(name) for name in RECORDED}


def refuse_unfinished(root: Path) -> None:
    """Raise DataError where the folder is a store that is not finished."""
    if marker := read_own(root / MARKER):
        raise DataError(f"{root} is a store that is not finished. To finish it: {marker.get('command')}")


def read_own(path: Path) -> dict[str, Any] | None:
    """The content of STORE or MARKER; None where it is not there, or is another program's. Raises DataError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return content if isinstance(content, dict) and "max_side" in content else None
