"""The looks that a sweep with `hydra.launcher.until=resolved` has taken: SWEEP/.sweep/looks/ID.json, as it is written.

Design and figures of each look, and no verdicts: those follow from them (`comparing.sequential`), for the sweep, when
it goes on, and for a report alike.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from recipe.errors import RunError
from recipe.files import read_json, write_atomically
from recipe.ladder.reading.records import RunRecord

FOLDER = Path(".sweep") / "looks"  # of a sweep's folder


@dataclass(frozen=True)
class Design:
    """The looks that are planned, and what each may use of a table's 5%. Planned once: before the first look."""

    given: int  # seeds that are trained in any case
    counts: tuple[int, ...]  # seeds at each look
    weights: tuple[float, ...]  # of the looks, together 1
    smallest: float | None  # gain worth knowing of, points; None: no comparison ends as smaller than that
    of_gains: float  # chance of any wrong helps or hurts in a table
    of_smaller: float  # and of any wrong "smaller than"


@dataclass(frozen=True)
class Seen:
    """One comparison at one look."""

    table: str  # what tells the tables of a sweep apart
    name: str  # of the setting
    over: str  # of that which it is compared with
    n: int  # shared seeds
    mean: float  # points
    p: float  # two-sided, of this look alone: that the gain is 0
    p_smaller: float  # likewise: that it is the smallest gain or more, up or down; 1 without a smallest gain


@dataclass(frozen=True)
class LooksTaken:
    """What one of these files says."""

    path: Path
    design: Design
    looks: tuple[tuple[Seen, ...], ...] = ()  # of those comparisons that were open until then
    folders: frozenset[str] = field(default_factory=frozenset)  # of the runs, as seen from the sweep's folder
    seconds: float = 0.0  # that the sweep has been at work

    def with_look(self, seen: Iterable[Seen], folders: Iterable[Path]) -> "LooksTaken":
        """The same after one more look."""
        new = {os.path.relpath(os.path.realpath(folder), os.path.realpath(self.sweep)) for folder in folders}
        return replace(self, looks=(*self.looks, tuple(seen)), folders=self.folders | new)

    @property
    def sweep(self) -> Path:
        """The sweep's folder."""
        return self.path.parents[len(FOLDER.parts)]

    def holds(self, folder: Path) -> bool:
        """Whether a run folder is one of those that were looked at."""
        return os.path.relpath(os.path.realpath(folder), os.path.realpath(self.sweep)) in self.folders

    def write(self) -> None:
        """Write the file, whole or not at all."""
        content = {
            "design": asdict(self.design),
            "seconds": round(self.seconds, 1),
            "looks": [[_finite(asdict(seen)) for seen in look] for look in self.looks],
            "folders": sorted(self.folders),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(content, indent=1))


def read(path: Path) -> LooksTaken:
    """What a file says. Raises RunError where it cannot be read or used."""
    content = read_json(path, "design", "looks", "folders")
    try:
        about = content["design"]
        counts, weights = tuple(map(int, about["counts"])), tuple(map(float, about["weights"]))
        design = Design(**{**about, "counts": counts, "weights": weights})
        looks = tuple(tuple(Seen(**_known(seen)) for seen in look) for look in content["looks"])
        if not len(looks) <= len(counts) == len(weights):
            raise ValueError(f"{len(looks)} looks of {len(counts)}")
        return LooksTaken(path, design, looks, frozenset(map(str, content["folders"])), float(content["seconds"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path} is no file of looks ({error}): without it the sweep looks anew") from error


def below(roots: Iterable[Path], runs: Iterable[RunRecord]) -> Iterator[LooksTaken]:
    """The files of all sweeps whose runs these are, the newest first. Those that cannot be read are left out."""
    roots = list(roots)
    folders = dict.fromkeys(parent for run in runs for parent in run.folder.parents)
    inside = [folder for folder in folders if any(root == folder or root in folder.parents for root in roots)]
    paths = [path for folder in dict.fromkeys([*roots, *inside]) for path in (folder / FOLDER).glob("*.json")]
    for path in sorted(paths, key=lambda path: -path.stat().st_mtime):
        with suppress(RunError):
            yield read(path)


def _finite(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in figures.items()}


def _known(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in figures.items()}
