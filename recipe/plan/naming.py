"""Names of run folders, and hashes: the same everywhere, whoever asks."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

NAME_LENGTH = 80  # characters


def run_name(recipe: str, differences: Mapping[str, str]) -> str:
    """The name of a run's folder: the recipe, then what differs from it. Too long a name ends with its hash."""
    if not differences:
        return recipe
    written = recipe + "~" + ",".join(f"{key}={value}" for key, value in differences.items())
    name = re.sub(r"[^A-Za-z0-9.=,_~-]", "_", written)
    if name == written and len(name) <= NAME_LENGTH:
        return name
    return f"{name[: NAME_LENGTH - 9]}-{hash_of(written)[:8]}"


def hash_of(value: Any) -> str:
    """Hash of anything that JSON can hold, 16 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).hexdigest()
