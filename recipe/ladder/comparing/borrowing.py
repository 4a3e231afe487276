"""A table's gains with the spread that all its rungs' runs tell of, in place of each difference's own."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from recipe.ladder.comparing import floors, pooling
from recipe.ladder.comparing.comparison import Gain, Row
from recipe.ladder.comparing.statistics import LEVEL, Pooled
from recipe.ladder.reading import predictions
from recipe.ladder.reading.settings import unit_order

ALIKE = 1.5  # trainings that see at most so many times the images of the next shorter ones are as long
MOST_FREEDOM = 1000.0
NOTHING = 1e-6  # points: where all runs of a table are equal, and all gains 0


class TableRuns(NamedTuple):
    """The runs of a table's rows, as `pooling` takes them."""

    runs: np.ndarray  # (rows, units) top-1 in percent, NaN where missing
    counts: np.ndarray  # (rows,): of finished runs
    trainings: np.ndarray  # (rows,): the same number for evaluations of one training
    lengths: np.ndarray  # (rows,): the same number for trainings that are as long
    floors: np.ndarray  # (rows,): the least variance of a row's runs, points squared


def table(rows: Sequence[Row]) -> TableRuns | None:
    """The runs of some rows; None where there are too few to pool. Rows without runs are in it, and lend nothing."""
    units = sorted({unit for row in rows for unit in row.runs}, key=unit_order)
    found = np.full((len(rows), len(units)), np.nan)
    for place, row in enumerate(rows):
        for unit, acc1 in zip(row.runs, row.acc1, strict=True):
            found[place, units.index(unit)] = acc1
    counts = (~np.isnan(found)).sum(-1)
    trainings = _trainings(rows)
    several = {number for number, count in zip(trainings.tolist(), counts.tolist(), strict=True) if count > 1}
    if len(several) < pooling.TRAININGS:
        return None
    return TableRuns(found, counts, trainings, _lengths(rows), _floors(rows, found) ** 2)


def pooled(these: TableRuns, rows: Sequence[Row], gains: Sequence[Gain], total: bool) -> list[Pooled | None]:
    """Each gain with the spread of the whole table; None for evaluations of one training, which stay paired.

    And for those without two shared seeds.

    Args:
        rows: all of the table; the gains are of all but the first.
        total: whether the gains are over the first row.
    """
    errors, means = _errors(these, rows, gains, total)
    seeds = np.array([gain.difference.n for gain in gains])
    of, over = np.arange(1, len(rows)), _overs(rows, gains)
    p, half = pooling.p_values(means, errors), pooling.half_widths(errors, LEVEL)
    error = np.sqrt((errors.chance * errors.variance).sum(0))
    tests = max(1, int((seeds > 1).sum()))
    freedom = _freedom(pooling.half_widths(errors, LEVEL / tests) / error, LEVEL / tests)
    apart = these.trainings[of] != these.trainings[over]
    return [
        Pooled(
            float(means[at] - half[at]),
            float(means[at] + half[at]),
            float(p[at]),
            float(error[at] * math.sqrt(seeds[at])),
            float(freedom[at]),
        )
        if apart[at] and seeds[at] > 1
        else None
        for at in range(len(gains))
    ]


def beyond(these: TableRuns, rows: Sequence[Row], gains: Sequence[Gain], smallest: float) -> list[float]:
    """Of each gain over what it is compared with, the one-sided p that it is `smallest` points or more, up or down."""
    errors, means = _errors(these, rows, gains, total=False)
    return [float(p) for p in pooling.p_beyond(means, errors, smallest)]


def _errors(
    these: TableRuns, rows: Sequence[Row], gains: Sequence[Gain], total: bool
) -> tuple[pooling.Error, np.ndarray]:
    """What the error of each gain may be, and the gains, points."""
    number = len(set(these.trainings[these.counts > 1].tolist()))
    guess = pooling.OWN_OF_TOTALS if total else pooling.guesses(these.counts, number)
    found = pooling.pool(floored(these), these.trainings, these.lengths, guess)
    found = found._replace(common=np.maximum(found.common, these.floors), own=np.maximum(found.own, these.floors))
    seeds = np.array([gain.difference.n for gain in gains])
    errors = pooling.error(found, np.arange(1, len(rows)), _overs(rows, gains), np.maximum(seeds, 1))
    return errors, np.array([gain.difference.mean for gain in gains])


def _overs(rows: Sequence[Row], gains: Sequence[Gain]) -> np.ndarray:
    """The places of the rows that gains are over."""
    names = [row.name for row in rows]
    return np.array([names.index(gain.over) for gain in gains], dtype=int)


def floored(these: TableRuns) -> pooling.Spreads:
    """The spread of each row, no smaller than a count of images can have."""
    found = pooling.spreads(these.runs, these.trainings)
    return found._replace(variance=np.maximum(found.variance, these.floors))


def spreads_differ(these: TableRuns) -> float:
    """Bartlett's p that the rows' runs are equally far apart; of evaluations of one training the first counts."""
    found = floored(these)
    first = [at for at, one in enumerate(these.trainings.tolist()) if one not in these.trainings[:at]]
    known = [at for at in first if found.freedom[at] > 0 and found.variance[at] > 0]
    if len(known) < pooling.TRAININGS:
        return math.nan
    return float(pooling.bartlett(found.variance[known], found.freedom[known]))


def _freedom(quantile: np.ndarray, level: float) -> np.ndarray:
    """The degrees of freedom at which Student's t has this two-sided quantile. By bisection."""
    low, high = np.ones(quantile.shape), np.full(quantile.shape, MOST_FREEDOM)
    for _ in range(40):
        middle = np.sqrt(low * high)
        above = -special.stdtrit(middle, level / 2) > quantile
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.sqrt(low * high)


def _trainings(rows: Sequence[Row]) -> np.ndarray:
    """Numbers of the rows, the same for rows that evaluate the networks of one training: their hashes tell."""
    hashes = [
        {unit: run.result.get("training_hash") for unit, run in row.runs.items() if run.result is not None}
        for row in rows
    ]
    numbers = list(range(len(rows)))
    for place, mine in enumerate(hashes):
        for before, theirs in enumerate(hashes[:place]):
            if any(value is not None and theirs.get(unit) == value for unit, value in mine.items()):
                numbers[place] = numbers[before]
                break
    return np.array(numbers)


def _lengths(rows: Sequence[Row]) -> np.ndarray:
    """Numbers of the rows, the same for trainings that see about as many images."""
    images = np.array([row.images for row in rows])
    order = np.argsort(images)  # NaN, of rows without runs, is the last
    with np.errstate(invalid="ignore", divide="ignore"):
        jumps = images[order][1:] > ALIKE * images[order][:-1]
    numbers = np.empty(len(rows), dtype=int)
    numbers[order] = np.concatenate([[0], np.cumsum(jumps)])
    return numbers


def _floors(rows: Sequence[Row], runs: np.ndarray) -> np.ndarray:
    """The least standard deviation of each row's runs, points, (rows,); above 0, however equal the runs are."""
    of_any = floors.of_figures(runs[~np.isnan(runs)]) / math.sqrt(2)  # where the images were not counted
    return np.array([max(_floor(row) or of_any, NOTHING) for row in rows])


def _floor(row: Row) -> float:
    runs = list(row.runs.values())
    found = predictions.correct(runs, [])
    return floors.of_run(predictions.images_of(runs), found[0] if found is not None else None)
