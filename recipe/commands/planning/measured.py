"""What finished runs say that a plan needs: how far apart runs are. By the report's own reading."""

import math
from pathlib import Path
from typing import NamedTuple

from recipe.errors import RunError
from recipe.ladder.reading.collect import collect


class MeasuredSpreads(NamedTuple):
    """How far apart runs were."""

    sd: float  # points: of the runs of one setting, over all that have several
    settings: int  # with several runs
    freedom: int  # degrees of freedom of `sd`
    of_differences: dict[tuple[str, str], float]  # sd of a seed's difference, points, by (recipe, the one below)


def spreads(folder: Path) -> MeasuredSpreads:
    """The spreads of the runs below a folder. Raises RunError where there are none, and without scipy.

    A difference counts where both settings are recipes as they stand (whatever the sweep's scale and data), with the
    spread that the report's verdict on it rests on: pooled where the report pools.
    """
    runs = collect([folder])

    from recipe.ladder.comparing.compare import compare  # scipy

    squares: dict[str, float] = {}
    freedom: dict[str, int] = {}
    differences: dict[tuple[str, str], float] = {}
    counted: set[str] = set()  # trainings: r09, r10 and r11 evaluate one, whose spread counts once
    for comparison in compare(runs):
        recipe_of = {row.name: next(iter(row.runs.values())).recipe for row in comparison.rows if row.runs}
        for row in comparison.rows:
            trained = {str((run.result or {}).get("training_hash") or run.folder) for run in row.runs.values()}
            if len(row.runs) > 1 and comparison.shape != "folds" and not trained & counted:
                counted |= trained
                squares[row.name], freedom[row.name] = row.sd**2 * (len(row.runs) - 1), len(row.runs) - 1
            if comparison.shape == "ladder" and row.gain is not None and row.gain.difference.n > 1:
                pair = recipe_of[row.name], recipe_of[row.gain.over]
                sd = row.gain.pooled.sd if row.gain.pooled else row.gain.difference.spread
                if math.isfinite(sd) and sd > 0:
                    differences[pair] = sd
    total = sum(freedom.values())
    sd = math.sqrt(sum(squares.values()) / total) if total else math.nan
    if not sd > 0:
        raise RunError(f"{folder}: no setting has several finished runs that differ: give their spread with --sd")
    return MeasuredSpreads(sd, len(freedom), total, differences)
