"""A folder that is made whole or not at all: built beside its place under another name, and renamed at the end.

Its dataset.json says what it was made of and how, so that the same command again has nothing to do.
"""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from recipe.errors import DataError
from recipe.files import lock, write_atomically

FACTS = "dataset.json"
SETTINGS = "settings.json"  # of a folder that is being made
FORMAT = 1

Counts = dict[str, dict[str, int]]  # images by part and class


def make_folder(target: Path, settings: dict[str, Any], fill: Callable[[Path], Counts]) -> tuple[Counts, bool]:
    """Images by part and class in `target`, which is made unless it is there, and whether it was there already.

    Args:
        settings: what the folder is a function of. JSON values alone.
        fill: puts everything into the folder that it is given, where a stopped call may have left some of it.

    Raises DataError where the target is something else, or what `fill` raises: what it has done then stays for the next
    call. RunError where another process is at it.
    """
    settings = json.loads(json.dumps({"format": FORMAT, **settings}))
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        return _counts_of(target, settings), True
    building = target.with_name(f".{target.name}.unfinished")
    with lock(target.with_name(f".{target.name}.lock")) or nullcontext():
        if _read(building / SETTINGS) != settings:
            shutil.rmtree(building, ignore_errors=True)  # begun with other settings
        building.mkdir(parents=True, exist_ok=True)
        write_atomically(building / SETTINGS, json.dumps(settings, indent=2) + "\n")
        counts = fill(building)
        if _lost(building, counts):
            shutil.rmtree(building)
            raise DataError(f"{building} held files of something else, and is deleted: the same command begins anew")
        write_atomically(building / FACTS, json.dumps({**settings, "images": counts}, indent=2) + "\n")
        (building / SETTINGS).unlink()
        building.rename(target)
        target.with_name(f".{target.name}.lock").unlink(missing_ok=True)
    return counts, False


def made_of(target: Path) -> str | None:
    """The fingerprint of the folder that a finished target was made of; None where there is no such target."""
    source = (facts_of(target) or {}).get("source")
    return source if isinstance(source, str) else None


def facts_of(folder: Path) -> dict[str, Any] | None:
    """What dataset.json says of a finished folder; None where there is none, or another program's."""
    facts = _read(folder / FACTS)
    return facts if facts is not None and "format" in facts and isinstance(facts.get("images"), dict) else None


def refuse_inside(target: Path, source: Path) -> None:
    """Raise DataError where the target lies in the source: its files would be taken for originals."""
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{target} lies in {source}: name a folder outside of it")


def put(target: Path, content: Path | bytes, copy: bool = False) -> None:
    """A file with the bytes of another one, as a link where the disk has any, or with bytes that are given.

    What is there already, in the right size, stays: it is of a call that was stopped.
    """
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if target.exists() and target.stat().st_size == size:
        return
    target.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        target.write_bytes(content)
        return
    try:
        if copy:
            raise OSError
        os.link(os.path.realpath(content), target)
    except OSError:  # another disk, one without links, or a file that is not ours
        shutil.copyfile(content, target)


def table(counts: Counts) -> str:
    """Images by class and part, as text."""
    parts, classes = list(counts), sorted({name for part in counts.values() for name in part if name})
    shown = classes if len(classes) <= 30 else [*classes[:10], "…"]
    rows = [["class", *parts]]
    rows += [[name, *("…" if name == "…" else f"{counts[part].get(name, 0):,}" for part in parts)] for name in shown]
    rows.append([f"{len(classes)} classes", *(f"{sum(counts[part].values()):,}" for part in parts)])
    width = max(len(row[0]) for row in rows)
    return "\n".join(row[0].ljust(width) + "".join(f"{cell:>11}" for cell in row[1:]) for row in rows)


def _counts_of(target: Path, settings: dict[str, Any]) -> Counts:
    """Of a folder that is there. Raises DataError where it is not what these settings make, or not whole any more."""
    facts = facts_of(target)
    if facts is None:
        raise DataError(f"{target} is there already, and this command did not make it: name another folder")
    counts: Counts = facts.pop("images")
    changed = [
        f"{name} {facts.get(name)} there, {settings.get(name)} here"
        for name in sorted({*facts, *settings})
        if facts.get(name) != settings.get(name)
    ]
    if changed:
        raise DataError(f"{target} was made otherwise ({'; '.join(changed)}): name another folder, or delete this one")
    if lost := _lost(target, counts):
        raise DataError(f"{lost}: delete {target}, and the same command makes it again")
    return counts


def _lost(folder: Path, counts: Counts) -> str | None:
    """What part has other files than were put there, and how many."""
    for part, classes in counts.items():
        there = sum(not file.startswith(".") for _, _, files in os.walk(folder / part) for file in files)
        if there != sum(classes.values()):
            return f"{folder / part} has {there:,} files, and got {sum(classes.values()):,}"
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
