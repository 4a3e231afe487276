"""What runs are right about, image by image, from their predictions.npz; the logits in it are never read."""

import zipfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipe.ladder.comparing.comparison import Comparison, Row, Run, Unit


class Predictions(NamedTuple):
    """The final evaluation of a run, sorted by image."""

    images: np.ndarray  # (n,) int64: their numbers in the validation set
    correct: np.ndarray  # (n,) bool


class ClassGain(NamedTuple):
    """What a class gains from one setting to another."""

    name: str
    images: int
    before: float  # recall, percent, mean over the runs
    after: float
    gain: float  # percentage points


class Flip(NamedTuple):
    """An image that one setting is right about more often than another."""

    image: int  # its number in the validation set
    name: str  # of its class
    before: float  # share of the runs that are right about it
    after: float


class Shared(NamedTuple):
    """Two settings on the same images, over the units that both have: (images,) each."""

    images: np.ndarray
    labels: np.ndarray
    old: np.ndarray  # share of the runs that are right
    new: np.ndarray


def of_run(run: Run) -> Predictions | None:
    """A run's predictions; None where they are missing or broken."""
    return _read(run.folder / "predictions.npz")


@lru_cache(maxsize=4096)
def _read(path: Path) -> Predictions | None:
    found = _arrays(path, "index", "correct")
    if found is None or (found[0].dtype, found[1].dtype) != (np.int64, bool):
        return None
    images, right = found
    if not (images[1:] > images[:-1]).all():
        order = np.argsort(images, kind="stable")
        images, right = images[order], right[order]
    return Predictions(_kept_once(images.tobytes()), right)


@lru_cache(maxsize=16)
def _kept_once(numbers: bytes) -> np.ndarray:
    """int64 from their bytes: the same array for all runs on the same images, which are most of what is read."""
    return np.frombuffer(numbers, dtype=np.int64)


def _arrays(path: Path, *names: str) -> list[np.ndarray] | None:
    """Some arrays of one length from an npz file; None where they cannot be read."""
    try:
        with np.load(path) as file:
            found = [file[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    lengths = {array.shape for array in found}
    return found if len(lengths) == 1 and found[0].ndim == 1 and len(found[0]) else None


def correct(new: Sequence[Run], old: Sequence[Run]) -> tuple[np.ndarray, np.ndarray] | None:
    """Which images two lists of runs are right about, (runs, images) bool each; None unless all saw the same ones."""
    found = [of_run(run) for run in (*new, *old)]
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return None
    if any(not np.array_equal(each.images, known[0].images) for each in known[1:]):
        return None
    rows = np.stack([each.correct for each in known])
    return rows[: len(new)], rows[len(new) :]


def class_gains(row: Row, over: Row, classes: Sequence[str]) -> list[ClassGain]:
    """What each class gains from one row to another, over the units that both have; the largest gain first.

    Empty where a run has no predictions, or where they are of other images, as with folds.
    """
    shared = _shared(row, over)
    if shared is None:
        return []
    images = np.bincount(shared.labels)
    before, after = (100 * np.bincount(shared.labels, right) / images.clip(1) for right in (shared.old, shared.new))
    gain = after - before
    found = [
        ClassGain(
            _name(classes, label), int(images[label]), float(before[label]), float(after[label]), float(gain[label])
        )
        for label in np.flatnonzero(images).tolist()
    ]
    return sorted(found, key=lambda each: -each.gain)


def compared_rows(comparison: Comparison) -> list[tuple[Row, Row]]:
    """The pairs of rows whose classes and images a report compares: each with its parent, a ladder's last and first."""
    by_name = {row.name: row for row in comparison.rows}
    pairs = [(row, by_name[row.gain.over]) for row in comparison.rows if row.gain and row.gain.over in by_name]
    if comparison.shape == "ladder" and len(pairs) > 1:
        pairs.insert(0, (comparison.rows[-1], comparison.rows[0]))
    return pairs


def flips(row: Row, over: Row, classes: Sequence[str], most: int = 20) -> list[Flip]:
    """The images that changed most between two rows, over the units that both have: the largest change first.

    Gains and losses alike; empty as for `class_gains`.
    """
    shared = _shared(row, over)
    if shared is None:
        return []
    change = np.abs(shared.new - shared.old)
    found = []
    for place in np.argsort(-change, kind="stable")[:most].tolist():
        if change[place]:
            name = _name(classes, int(shared.labels[place]))
            found.append(Flip(int(shared.images[place]), name, float(shared.old[place]), float(shared.new[place])))
    return found


def shared_units(row: dict[Unit, Run], over: dict[Unit, Run]) -> list[Unit]:
    """The units that both have finished, in order."""
    return [unit for unit in row if unit in over]


def images_of(runs: Iterable[Run]) -> int:
    """Validation images of the first run that has predictions; 0 where none has."""
    return next((len(found.images) for run in runs if (found := of_run(run)) is not None), 0)


def _shared(row: Row, over: Row) -> Shared | None:
    units = shared_units(row.runs, over.runs)
    found = correct([row.runs[unit] for unit in units], [over.runs[unit] for unit in units])
    if found is None:
        return None
    both = _arrays(row.runs[units[0]].folder / "predictions.npz", "index", "label")
    if both is None:
        return None
    order = np.argsort(both[0], kind="stable")
    return Shared(both[0][order], both[1][order], found[1].mean(axis=0), found[0].mean(axis=0))


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)
