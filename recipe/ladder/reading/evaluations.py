"""What `recipe evaluate` found of runs, from their evaluations.json."""

import json
from collections.abc import Mapping
from typing import Any

from recipe.data.known import KNOWN
from recipe.ladder.reading.records import RunRecord
from recipe.plan.published import CHOICES


def matching(run: RunRecord, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The evaluation of a run that an entry of `Published.evaluated` names; empty where there is none, or no such file.

    On the run's own validation images; on test images where they are as many as the source's.
    """
    try:
        entries = json.loads((run.folder / "evaluations.json").read_bytes())["evaluations"]
        found = [entry for entry in entries if _fits(entry, wanted) and _is_of_same_images(run, entry)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return found[-1] if found else {}


def _fits(entry: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all(entry.get(name) == wanted[name] for name in CHOICES if name in wanted) and (
        entry.get("split", "val") == wanted.get("split", "val")
    )


def _is_of_same_images(run: RunRecord, entry: Mapping[str, Any]) -> bool:
    split = entry.get("split", "val")
    if split in run.environment["data"]:
        return bool(entry["images"] == run.environment["data"][split])
    known = KNOWN.get(run.environment["rung"].get("on") or "")
    return known is None or entry.get("number") == known.images.get(split)
