"""What a report knows of a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe.plan.published import NOTHING, Published

Unit = tuple[int, int | None]  # a seed, and the fold that is held out (None without folds): what runs are paired by


@dataclass(frozen=True)
class RunRecord:
    """What one run folder says."""

    folder: Path
    name: str  # of the setting: the same for all seeds
    recipe: str
    unit: Unit
    environment: dict[str, Any]  # environment.json
    result: dict[str, Any] | None  # result.json; None: not finished
    problem: str | None = None  # why its figures cannot be used: "not finished", "cannot read result.json (…)"
    published: Published = NOTHING  # of its recipe
    predictions: Path | None = None  # of which images it is right about; None: the folder's predictions.npz
