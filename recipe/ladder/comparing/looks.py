"""Several looks at the same comparisons, paid for: how the 5% of a table is spent on looks, and what each look decides.

A sweep that goes on until its comparisons are resolved looks at them several times, and each look is a further chance
of a false call. So the looks are planned beforehand, and the table's 5% is divided among them, whatever the figures of
one look have to do with those of another (Bonferroni): a spending function says how much the looks up to a number of
seeds may use (Kim and DeMets, 1987). What is left is a p over all looks, which Holm's correction takes as it takes
any other. docs/STATISTICS.md has what that gives and costs, by simulation (benchmarks/until_resolved.py).

Everything is computed for any number of tables at once (the leading dimensions, `...`), so that the simulation runs the
code of the sweep and of the report.
"""

import math
from dataclasses import dataclass

import numpy as np

from recipe.ladder.comparing.statistics import holm
from recipe.ladder.reading.looks_taken import Design, Seen

LEVEL = 0.05  # the chance of any wrong verdict in a table, over all looks
OF_SMALLER = 0.01  # the part of it that is for "smaller than", where that is looked for
LEAST_SEEDS = 3  # of the first look: two hardly ever tell anything
RATIO = 1.4  # of the seeds of a look to those of the look before
SPENDING = 2.0  # with a share t of the most seeds, t to this power of the 5% is spent: little on early looks
OPEN, HELPS, HURTS, SMALLER = range(4)


@dataclass(frozen=True)
class Standing:
    """What the looks at one comparison have come to."""

    last: Seen  # at the last look that was taken of it
    looks: int  # how many were taken of it
    decided: int  # OPEN, HELPS, HURTS, SMALLER
    adjusted: float  # p for all looks and all comparisons: below 0.05 it helps or hurts
    at_end: bool  # whether all looks that were planned are taken

    @property
    def is_open(self) -> bool:
        """Whether further seeds could resolve it."""
        return self.decided == OPEN and not self.at_end


def design(given: int, most: int, smallest: float | None) -> Design:
    """The looks that are planned.

    Args:
        given: seeds that are trained in any case.
        most: seeds of a setting at which its comparisons end, resolved or not; at least `given`.
        smallest: gain worth knowing of, points; None: "smaller than" is never said.
    """
    counts = schedule(given, most)
    spent = (np.array(counts) / counts[-1]) ** SPENDING
    weights = tuple(np.diff(spent, prepend=0.0).tolist())
    of_smaller = 0.0 if smallest is None else OF_SMALLER
    return Design(given, tuple(counts), weights, smallest, LEVEL - of_smaller, of_smaller)


def schedule(given: int, most: int) -> list[int]:
    """The numbers of seeds at which is looked, rising to `most` by about RATIO from one to the next."""
    counts = [min(most, max(given, LEAST_SEEDS))]
    while counts[-1] < most:
        following = math.ceil(RATIO * counts[-1] - 1e-9)
        counts.append(following if following * RATIO**0.5 < most else most)
    return counts


def over_looks(p: np.ndarray, planned: Design) -> np.ndarray:
    """(..., comparisons): p over all looks so far, below x with a chance of at most x where its hypothesis is true.

    Args:
        p: (..., looks, comparisons) of the looks that were taken; NaN where a comparison was not looked at.
        planned: all looks, taken or not.
    """
    paid = p / np.array(planned.weights)[: p.shape[-2], None]
    return np.minimum(1.0, np.where(np.isnan(paid), 1.0, paid).min(-2))


def adjusted(p: np.ndarray, planned: Design) -> np.ndarray:
    """(..., comparisons): p for all looks, comparisons and the part of 5% that is for gains: below 0.05 it is one.

    Args:
        p: as for `over_looks`: two-sided, that a gain is 0.
        planned: all looks.
    """
    return np.minimum(1.0, holm(over_looks(p, planned)) * (LEVEL / planned.of_gains))


def decide(p: np.ndarray, p_smaller: np.ndarray, means: np.ndarray, planned: Design) -> np.ndarray:
    """(..., comparisons) of OPEN, HELPS, HURTS, SMALLER: what the looks so far have come to.

    What is called at a look stays called at later ones. A gain that helps may be smaller than the smallest as well;
    then it is said to help.

    Args:
        p: (..., looks, comparisons), two-sided: that a gain is 0; NaN where a comparison was not looked at.
        p_smaller: likewise, that it is the smallest gain or more, up or down.
        means: likewise, the gains seen, points. The sign is that of the look whose p counts.
        planned: all looks, taken or not.
    """
    paid = np.where(np.isnan(p), np.inf, p / np.array(planned.weights)[: p.shape[-2], None])
    counts = paid.argmin(-2)[..., None, :]
    up = np.take_along_axis(means, counts, -2)[..., 0, :] > 0
    decided = np.where(adjusted(p, planned) < LEVEL, np.where(up, HELPS, HURTS), OPEN)
    if planned.smallest is None:
        return decided
    small = holm(over_looks(p_smaller, planned)) < planned.of_smaller
    return np.where((decided == OPEN) & small, SMALLER, decided)
