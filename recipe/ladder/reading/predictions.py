"""What runs are right about, image by image, from their predictions.npz; the logits in it are never read."""

import zipfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipe.ladder.reading.records import RunRecord, Unit


class Predictions(NamedTuple):
    """The final evaluation of a run, sorted by image."""

    images: np.ndarray  # (n,) int64: their numbers in the validation set
    correct: np.ndarray  # (n,) bool


def of_run(run: RunRecord) -> Predictions | None:
    """A run's predictions; None where they are missing or broken."""
    return _read(run.predictions or run.folder / "predictions.npz")


@lru_cache(maxsize=4096)
def _read(path: Path) -> Predictions | None:
    found = arrays(path, "index", "correct")
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


def arrays(path: Path, *names: str) -> list[np.ndarray] | None:
    """Some arrays of one length from an npz file; None where they cannot be read."""
    try:
        with np.load(path) as file:
            found = [file[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    lengths = {array.shape for array in found}
    return found if len(lengths) == 1 and found[0].ndim == 1 and len(found[0]) else None


def correct(new: Sequence[RunRecord], old: Sequence[RunRecord]) -> tuple[np.ndarray, np.ndarray] | None:
    """Which images two lists of runs are right about, (runs, images) bool each; None unless all saw the same ones."""
    found = [of_run(run) for run in (*new, *old)]
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return None
    if any(not np.array_equal(each.images, known[0].images) for each in known[1:]):
        return None
    rows = np.stack([each.correct for each in known])
    return rows[: len(new)], rows[len(new) :]


def shared_units(row: dict[Unit, RunRecord], over: dict[Unit, RunRecord]) -> list[Unit]:
    """The units that both have finished, in order."""
    return [unit for unit in row if unit in over]


def images_of(runs: Iterable[RunRecord]) -> int:
    """Validation images: of the first run that has predictions or has kept their number; 0 where none has."""
    for run in runs:
        if (found := of_run(run)) is not None:
            return len(found.images)
        if (number := run.environment.get("images", {}).get("val")) is not None:
            return int(number)
    return 0
