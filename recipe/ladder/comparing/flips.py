"""What one setting wins and loses against another, class by class and image by image."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recipe.ladder.comparing.comparison import Comparison, Row
from recipe.ladder.reading import predictions


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


def most_changed(row: Row, over: Row, classes: Sequence[str], most: int = 20) -> list[Flip]:
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


def _shared(row: Row, over: Row) -> Shared | None:
    units = predictions.shared_units(row.runs, over.runs)
    found = predictions.correct([row.runs[unit] for unit in units], [over.runs[unit] for unit in units])
    if found is None:
        return None
    both = predictions.arrays(row.runs[units[0]].folder / "predictions.npz", "index", "label")
    if both is None:
        return None
    order = np.argsort(both[0], kind="stable")
    return Shared(both[0][order], both[1][order], found[1].mean(axis=0), found[0].mean(axis=0))


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)
