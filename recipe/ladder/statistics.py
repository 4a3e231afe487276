"""What a few runs can say: differences over shared seeds, their intervals, and what they are called.

Figures are accuracies in percent; a difference is a rung's figure less that of the rung it is compared with, seed by
seed. With few runs most differences stay open, and the words say so: `unresolved`, and how many seeds would resolve it.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

try:
    from scipy import optimize, stats
except ImportError as error:
    from recipe.errors import RunError

    raise RunError("statistics need scipy: pip install 'recipe-ladder[report]'") from error

CONFIDENCE = 0.95
LEVEL = 1 - CONFIDENCE
POWER = 0.8  # of the smallest effect that a design could have found
BOOTSTRAP_FROM = 10  # runs: with fewer, resampling them understates what they leave open
RESAMPLES = 9999
MOST_SEEDS = 1000  # beyond which a difference is called too small for any number of seeds


Runs = Sequence[float] | np.ndarray  # one figure each


class Difference(NamedTuple):
    """A rung against another, over the seeds that both have."""

    n: int  # shared seeds
    mean: float  # percentage points
    sd: float  # of the differences
    low: float  # the 95% interval of the mean: Student's t, or BCa bootstrap from 10 runs on
    high: float
    p: float  # paired t-test, two-sided
    p_exact: float  # sign-flip test: no distribution assumed, but never below 2/2^n
    better: float  # P(A > B) for a run of each, ties counting half


def difference(new: Runs, old: Runs) -> Difference:
    """Compare two rungs on shared seeds, given in the same order. NaN stands for what one run cannot say."""
    a, b = np.asarray(new, dtype=float), np.asarray(old, dtype=float)
    d = a - b
    n = len(d)
    better = float(np.mean((a[:, None] > b) + 0.5 * (a[:, None] == b))) if n else math.nan
    mean = float(d.mean()) if n else math.nan
    if n < 2:
        return Difference(n, mean, math.nan, math.nan, math.nan, math.nan, math.nan, better)
    sd = float(d.std(ddof=1))
    if sd == 0:  # the same to the last digit for every seed
        p = 1.0 if mean == 0 else 0.0
        return Difference(n, mean, sd, mean, mean, p, sign_flip(d), better)
    test = stats.ttest_1samp(d, 0)
    interval = test.confidence_interval(CONFIDENCE) if n < BOOTSTRAP_FROM else bca(d)
    return Difference(n, mean, sd, float(interval.low), float(interval.high), float(test.pvalue), sign_flip(d), better)


def bca(values: np.ndarray) -> Any:
    """The bias-corrected and accelerated bootstrap interval of the mean (Efron, 1987)."""
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(0),
    )
    return found.confidence_interval


def sign_flip(differences: np.ndarray) -> float:
    """Two-sided p of the exact test that flips the signs of paired differences; sampled for many."""
    rng = np.random.default_rng(0)
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, vectorized=True, rng=rng
    )
    return float(test.pvalue)


def permutation(new: Runs, old: Runs) -> float:
    """Two-sided p of the permutation test of two means, for runs that share no seeds."""

    def gap(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    rng = np.random.default_rng(0)
    return float(stats.permutation_test((new, old), gap, n_resamples=RESAMPLES, vectorized=True, rng=rng).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm, 1979): with `adjusted < 0.05`, 5% is the chance of any false call.

    NaN, from a single run, is no comparison and stays NaN.
    """
    adjusted = [math.nan] * len(p_values)
    tested = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    highest = 0.0
    for rank, (p, index) in enumerate(tested):
        highest = max(highest, min(1.0, (len(tested) - rank) * p))
        adjusted[index] = highest
    return adjusted


def detectable(n: int, sd: float = 1.0) -> float:
    """The smallest mean difference that n paired runs find with 80% power at the 5% level (noncentral t).

    Args:
        sd: of the differences. The result is in its unit.
    """
    if n < 2:
        return math.inf
    critical = stats.t.ppf(1 - LEVEL / 2, n - 1)

    def power_over(effect: float) -> float:
        shift = effect * math.sqrt(n)
        power = float(stats.nct.sf(critical, n - 1, shift))  # the other tail's share is below 1e-5 here
        return (1.0 if math.isnan(power) else power) - POWER  # NaN where it is too close to 1 for scipy

    return sd * float(optimize.brentq(power_over, 1.5 / math.sqrt(n), 100 / math.sqrt(n)))


def seeds_needed(mean: float, sd: float) -> int | None:
    """Runs that would find a difference as large as the one seen, with 80% power; None where 1,000 would not."""
    low, high = 2, MOST_SEEDS
    if detectable(high, sd) > abs(mean):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if detectable(middle, sd) <= abs(mean) else (middle + 1, high)
    return low


def verdict(found: Difference, adjusted: float) -> str:
    """helps, hurts, or unresolved with the number of seeds that would tell.

    Args:
        adjusted: its p-value after `holm` over all that is compared.
    With fewer than 5 runs their own sd is hardly known: nothing below the detectable effect is called.
    """
    if found.n < 2:
        return "unresolved (one seed)" if found.n else "not compared (no shared seed)"
    certain = adjusted < LEVEL and (found.n >= 5 or abs(found.mean) >= detectable(found.n, found.sd))
    if certain:
        return "helps" if found.mean > 0 else "hurts"
    seeds = seeds_needed(found.mean, found.sd)
    if seeds is None:
        return "unresolved (no difference that seeds could show)"
    return f"unresolved (about {max(seeds, found.n + 1)} seeds would tell)"


def over_images(new: np.ndarray, old: np.ndarray, resamples: int = 2000) -> tuple[float, float]:
    """The 95% interval of a difference in percentage points, over runs and over test images alike.

    Resamples both (the pigeonhole bootstrap of Owen, 2007): the interval is for other seeds *and* other test images.

    Args:
        new, old: (runs, images) bool: whether each run is right about each image. Runs of the same seed and the same
            images stand at the same place.
    """
    gain = 100 * (new.astype(np.float32) - old.astype(np.float32))
    rng = np.random.default_rng(0)
    runs, images = gain.shape
    means = np.empty(resamples)
    for number in range(resamples):
        run_weights = rng.multinomial(runs, np.full(runs, 1 / runs)) / runs
        image_weights = rng.multinomial(images, np.full(images, 1 / images)) / images
        means[number] = run_weights @ (gain @ image_weights)
    low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def mcnemar(new: np.ndarray, old: np.ndarray) -> float:
    """Two-sided exact p (McNemar, 1947) that two networks, one run each, are right about as many test images.

    It speaks of these two networks: another seed of the same recipes may say the opposite.

    Args:
        new, old: (images,) bool.
    """
    won, lost = int((new & ~old).sum()), int((~new & old).sum())
    return float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0
