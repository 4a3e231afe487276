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


def of_test_images(run: RunRecord) -> dict[str, dict[str, Any]]:
    """A run's evaluations on test images as it ended, its weights at its own sizes, by the images' fingerprint."""
    config, result = run.environment["config"], run.result or {}
    own = {
        "split": "test",
        "weights": result.get("weights"),
        "val_resize": config.get("resolution.val_resize"),
        "val_crop": config.get("resolution.val_crop"),
    }
    return {
        str(entry["images"]): entry
        for entry in _entries(run)
        if all(entry.get(name) == value for name, value in own.items())
        and all(isinstance(entry.get(name), int | float) for name in ("acc1", "acc5"))
    }


def _entries(run: RunRecord) -> list[dict[str, Any]]:
    """All that the file holds; nothing where there is none, or it is broken."""
    try:
        entries = json.loads((run.folder / "evaluations.json").read_bytes())["evaluations"]
        return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("images"), str)]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


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
