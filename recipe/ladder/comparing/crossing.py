"""Where a gain turns from hurting to helping, or back, as budgets grow: from gains at a few budgets, with intervals.

Between two budgets that were tried, the gain is taken to be linear in the logarithm of the budget. A budget belongs to
the 95% set of where the gain is 0 if the interval of the gain there holds 0: the test of "no gain here", inverted (as
Fieller (1954) does it for a ratio). Where the gain crosses 0 once, that set covers the crossing in 95% of trials.
"""

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

FINE = 400  # points between two budgets


class At(NamedTuple):
    """A gain at one budget."""

    budget: float  # above 0
    mean: float  # percentage points
    low: float  # the 95% interval
    high: float


class Piece(NamedTuple):
    """Neighbouring budgets at which the gain is called the same."""

    sign: int  # 1: above 0, -1: below 0, 0: either
    first: float  # budget
    last: float


def pieces(gains: Sequence[At]) -> list[Piece]:
    """What the gain is from the smallest to the largest budget, in as few pieces as possible.

    Args:
        gains: at two budgets or more, which grow.
    """
    budgets, mean, half = _between(gains)
    signs = np.where(np.abs(mean) > half, np.sign(mean), 0).astype(int)
    found, start = [], 0
    for sign, same in groupby(signs.tolist()):
        stop = start + len(list(same))
        found.append(Piece(sign, float(budgets[start]), float(budgets[stop - 1])))
        start = stop
    return found


def zero(gains: Sequence[At]) -> float | None:
    """The budget at which the mean gain is 0; None where it never is, or more than once."""
    budgets, mean, _ = _between(gains)
    turns = np.flatnonzero((mean[1:] > 0) != (mean[:-1] > 0))
    return float(budgets[turns[0]]) if len(turns) == 1 else None


def _between(gains: Sequence[At]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Budgets from the first to the last; the gain there, and half of its interval. (points,) each."""
    x = np.log([each.budget for each in gains])
    fine = np.concatenate([np.linspace(a, b, FINE, endpoint=False) for a, b in pairwise(x)])
    fine = np.append(fine, x[-1])
    left = np.clip(np.searchsorted(x, fine, side="right") - 1, 0, len(x) - 2)
    share = (fine - x[left]) / (x[left + 1] - x[left])
    mean = np.array([each.mean for each in gains])
    half = np.array([(each.high - each.low) / 2 for each in gains])
    # Errors at two budgets come from different trainings: independent, they add up in quadrature.
    width = np.hypot((1 - share) * half[left], share * half[left + 1])
    return np.exp(fine), (1 - share) * mean[left] + share * mean[left + 1], width
