"""What a few runs can say: differences over shared seeds, their intervals, and what they are called.

Figures are accuracies in percent; a difference is a rung's figure less that of the rung it is compared with, seed by
seed. With few runs most differences stay open, and the words say so: `unresolved`, and how many seeds would resolve it.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from recipe.ladder.comparing import floors

CONFIDENCE = 0.95
LEVEL = 1 - CONFIDENCE
POWER = 0.8  # of the smallest effect that a design could have found
BOOTSTRAP_FROM = 10  # runs: with fewer, resampling them understates what they leave open
RESAMPLES = 9999
MOST_SEEDS = 1000  # beyond which a difference is called too small for any number of seeds


Runs = Sequence[float] | np.ndarray  # one figure each


class Difference(NamedTuple):
    """A rung against another, over the seeds (or seeds and folds) that both have."""

    n: int  # shared seeds
    mean: float  # percentage points
    sd: float  # of the differences
    low: float  # the 95% interval of the mean: Student's t
    high: float
    p: float  # paired t-test, two-sided
    p_exact: float  # sign-flip test: no distribution assumed, but never below 2/2^n; NaN with folds
    better: float  # P(A > B) for a run of each, ties counting half
    bca_low: float = math.nan  # the BCa bootstrap interval; NaN below 10 runs and with folds
    bca_high: float = math.nan
    folds: int | None = None  # of cross-validation, which the t-test and its interval are corrected for
    spread: float = math.nan  # the sd that interval and p rest on: `sd`, but never less than a count can have


class Pooled(NamedTuple):
    """A difference whose error was estimated from all rungs of a table (`pooling`)."""

    low: float  # the 95% interval, points
    high: float
    p: float  # two-sided
    sd: float  # of a seed's difference
    freedom: float  # degrees of freedom of the t-test that would be as strict


def difference(new: Runs, old: Runs, folds: int | None = None, floor: float = 0.0) -> Difference:
    """Compare two rungs on shared seeds, given in the same order. NaN stands for what one run cannot say.

    Args:
        folds: of cross-validation, where the runs are of its folds. Their training sets overlap, so that the runs
            differ less than independent ones would: the variance of the mean is sd²·(1/n + 1/(folds - 1)) instead of
            sd²/n (Nadeau and Bengio, 2003).
        floor: the least standard deviation that the differences can have (`floors`), points. Where it is not known and
            the differences are all the same, the smallest gap between any two of the figures stands in for it.
    """
    a, b = np.asarray(new, dtype=float), np.asarray(old, dtype=float)
    d = a - b
    n = len(d)
    better = float(np.mean((a[:, None] > b) + 0.5 * (a[:, None] == b))) if n else math.nan
    mean = float(d.mean()) if n else math.nan
    if n < 2:
        nan = math.nan
        return Difference(n, mean, nan, nan, nan, nan, nan, better, folds=folds)
    sd = float(d.std(ddof=1))
    exact = sign_flip(d) if folds is None else math.nan
    constant = sd <= 1e-9 * max(1.0, float(np.abs(d).max()))  # the same for every seed, but for rounding
    spread = max(sd, floor, floors.of_figures([*a, *b]) if constant else 0.0)
    varied = n >= BOOTSTRAP_FROM and folds is None and spread == sd
    bootstrapped = bca(d) if varied else (math.nan, math.nan)
    if constant and not spread:  # all runs of both rungs are as accurate
        return Difference(n, mean, sd, math.nan, math.nan, 1.0, exact, better, *bootstrapped, folds, spread)
    error = spread * math.sqrt(_variance(n, folds))
    half = error * float(special.stdtrit(n - 1, 1 - LEVEL / 2))
    p = 2 * float(special.stdtr(n - 1, -abs(mean) / error))
    return Difference(n, mean, sd, mean - half, mean + half, p, exact, better, *bootstrapped, folds, spread)


def standard_error(found: Difference) -> float:
    """Of the mean difference, points, from two runs on: what its interval and p rest on."""
    return found.spread * math.sqrt(_variance(found.n, found.folds))


def _variance(n: int, folds: int | None) -> float:
    """Variance of the mean of n differences, in units of their own."""
    return 1 / n + (1 / (folds - 1) if folds is not None else 0)


def bca(values: np.ndarray) -> tuple[float, float]:
    """The bias-corrected and accelerated 95% bootstrap interval of the mean (Efron, 1987).

    At 10 runs it covers the truth in about 91% of trials, which is why Student's t stands in the tables.
    """
    n = len(values)
    if values.std() == 0:
        return float(values[0]), float(values[0])
    means = values[_resampled(n)].mean(axis=1)
    below = (np.mean(means < values.mean()) + np.mean(means <= values.mean())) / 2
    bias = special.ndtri(below)
    left_out = (values.sum() - values) / (n - 1)
    pull = left_out.mean() - left_out
    acceleration = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5)
    tails = bias + special.ndtri([LEVEL / 2, 1 - LEVEL / 2])
    low, high = np.quantile(means, special.ndtr(bias + tails / (1 - acceleration * tails)))
    return float(low), float(high)


@lru_cache(maxsize=64)
def _resampled(n: int) -> np.ndarray:
    """(RESAMPLES, n) int64: which of n runs each resample draws."""
    return np.random.default_rng(0).integers(0, n, (RESAMPLES, n))


def sign_flip(differences: np.ndarray) -> float:
    """Two-sided p of the exact test that flips the signs of paired differences; sampled for many."""
    n = len(differences)
    sums = np.abs(_signs(n) @ differences)
    seen = abs(differences.sum())
    extreme = int((sums >= seen - 1e-12 * np.abs(differences).sum()).sum())  # ties, whatever the order of summation
    return extreme / len(sums)


@lru_cache(maxsize=64)
def _signs(n: int) -> np.ndarray:
    """(2^n, n) of ±1, all of them; for many runs the true signs and a sample of the others."""
    if 2**n > RESAMPLES:
        return np.vstack([np.ones(n), np.random.default_rng(0).choice([-1.0, 1.0], (RESAMPLES, n))])
    return 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)


def permutation(new: Runs, old: Runs) -> float:
    """Two-sided p of the permutation test of two means, for runs that share no seeds."""

    def gap(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    rng = np.random.default_rng(0)
    return float(stats.permutation_test((new, old), gap, n_resamples=RESAMPLES, vectorized=True, rng=rng).pvalue)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values adjusted for being several (Holm, 1979): with `adjusted < 0.05`, 5% is the chance of any false call.

    Of (..., comparisons), each row by itself. NaN, from a single run, is no comparison and stays NaN.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, axis=-1, kind="stable")  # NaN comes last
    tested = (~np.isnan(p)).sum(-1, keepdims=True)
    steps = np.take_along_axis(p, order, -1) * (tested - np.arange(p.shape[-1]))
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(1.0, np.maximum.accumulate(steps, axis=-1)), -1)
    return adjusted


def detectable(
    n: int, sd: float = 1.0, folds: int | None = None, tests: int = 1, freedom: float | None = None
) -> float:
    """The smallest mean difference that n paired runs find with 80% power at the 5% level.

    Args:
        sd: of the differences. The result is in its unit.
        folds: as `difference` takes them.
        tests: how many differences are tested together. By Holm's method the first one called must reach 5% / tests.
        freedom: degrees of freedom of `sd`, where it was not estimated from these runs alone.
    """
    if n < 2:
        return math.inf
    return sd * math.sqrt(_variance(n, folds)) * _detectable_shift(_rounded(freedom or n - 1), tests)


def _rounded(freedom: float) -> float:
    """To halves, from 20 on to integers: what is computed for it is kept."""
    return round(freedom) if freedom >= 20 else max(1.0, round(2 * freedom) / 2)


@lru_cache(maxsize=4096)
def _detectable_shift(freedom: float, tests: int) -> float:
    """The mean, in standard errors, at which the two-sided t-test has 80% power (the noncentral t distribution)."""
    critical = float(special.stdtrit(freedom, 1 - LEVEL / tests / 2))
    errors = _errors(freedom)

    def power_over(shift: float) -> float:
        return float(special.ndtr(shift - critical * errors).mean()) - POWER  # the other tail's share is below 1e-5

    return float(optimize.brentq(power_over, 0, 4 * critical, rtol=1e-6))


@lru_cache(maxsize=4096)
def _errors(freedom: float) -> np.ndarray:
    """Estimated over true standard error: 500 equally likely values."""
    return np.sqrt(special.chdtri(freedom, 1 - (np.arange(500) + 0.5) / 500) / freedom)


def seeds_needed(mean: float, sd: float, folds: int | None = None, tests: int = 1, each: float = 1.0) -> int | None:
    """Runs that would find a difference as large as the one seen, with 80% power; None where 1,000 would not.

    Args:
        each: degrees of freedom that each further seed adds to what is known of `sd`.
    """

    def found_by(n: int) -> float:
        return detectable(n, sd, folds, tests, each * (n - 1))

    low, high = 2, MOST_SEEDS
    if not mean or found_by(high) > abs(mean):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found_by(middle) <= abs(mean) else (middle + 1, high)
    return low


def verdict(found: Difference, adjusted: float, tests: int = 1, pooled: Pooled | None = None) -> str:
    """helps, hurts, or unresolved with the number of seeds that would tell.

    Args:
        adjusted: its p-value after `holm` over all that is compared.
        tests: how many are compared.
        pooled: what p rests on, where its spread was estimated from more than these runs.
    A spread of fewer than 4 degrees of freedom, as of 4 runs alone, is hardly known: nothing below the detectable
    effect is called.
    """
    if found.n < 2:
        unit = "seed" if found.folds is None else "fold"
        return f"unresolved (one {unit})" if found.n else f"not compared (no shared {unit})"
    sd, freedom = (pooled.sd, pooled.freedom) if pooled else (found.spread, found.n - 1.0)
    enough = freedom >= 4 or abs(found.mean) >= detectable(found.n, sd, found.folds, 1, freedom)
    if adjusted < LEVEL and enough:
        return "helps" if found.mean > 0 else "hurts"
    seeds = seeds_needed(found.mean, sd, found.folds, tests, freedom / (found.n - 1))
    unit = "seeds" if found.folds is None else "runs"  # no more folds than there are
    if seeds is None:
        return f"unresolved (no difference that {unit} could show)"
    return f"unresolved (about {max(seeds, found.n + 1)} {unit} would tell)"


def over_images(new: np.ndarray, old: np.ndarray, floor: float = 0.0) -> tuple[float, float]:
    """The 95% interval of a difference in percentage points, over runs and over test images alike.

    Runs and images are two crossed random effects. Each has its interval, and half their lengths add up as squares (Zou
    and Donner, 2008); what both contain of the rest counts once. So it is never shorter than that of the runs alone.
    (Resampling both, the pigeonhole bootstrap of Owen, 2007, gives shorter ones for three runs: resamples of so few
    spread less than the runs do, and know nothing of Student's t.)

    Args:
        new, old: (runs, images) bool: whether each run is right about each image. Runs of the same seed and the same
            images stand at the same place.
        floor: the least standard deviation that the runs' differences can have, points.
    """
    gain = 100 * (new.astype(np.float64) - old)
    runs, images = gain.shape
    mean, of_runs, of_images = float(gain.mean()), gain.mean(1), gain.mean(0)
    by_images = float(of_images.var(ddof=1)) / images
    squares = 0.0
    if runs > 1:
        by_runs = max(float(of_runs.var(ddof=1)), floor**2) / runs
        rest = gain - of_runs[:, None] - of_images + mean
        by_images = max(0.0, by_images - float((rest**2).sum()) / ((runs - 1) * (images - 1)) / (runs * images))
        squares = by_runs * float(stats.t.ppf(1 - LEVEL / 2, runs - 1)) ** 2
    half = math.sqrt(squares + by_images * float(stats.t.ppf(1 - LEVEL / 2, images - 1)) ** 2)
    half = max(half, floor / math.sqrt(runs))  # networks that are right about the same images
    return mean - half, mean + half


def mcnemar(new: np.ndarray, old: np.ndarray) -> float:
    """Two-sided exact p (McNemar, 1947) that two networks, one run each, are right about as many test images.

    It speaks of these two networks: another seed of the same recipes may say the opposite.

    Args:
        new, old: (images,) bool.
    """
    won, lost = int((new & ~old).sum()), int((~new & old).sum())
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0


def rank_correlation(ours: Sequence[float], published: Sequence[float]) -> float | None:
    """Spearman's rank correlation of two figures of the same rungs; None where one of them is the same in all."""
    if len(set(ours)) == 1 or len(set(published)) == 1:
        return None
    return float(stats.spearmanr(ours, published).statistic)
