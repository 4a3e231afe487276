"""Gains on several data sets: what an ingredient is worth on data sets like these, and how sure that is.

A gain that three seeds find on one data set says nothing of another one. Data sets are therefore random, as seeds are:
of K of them, each with its gain g, the mean is g's and its 95% interval

    mean(g) ± t(K - 1) · √(max(var(g) / K, Σ e² / K²))

where var(g) is the variance between data sets (which holds the seeds' share) and e each gain's standard error over its
seeds. The first term is Student's interval over data sets; where the data sets have the same precision it is that of
Hartung and Knapp (2001, Statistics in Medicine 20:3875) for a random-effects meta-analysis. The second keeps it from
being shorter than the seeds alone allow, where gains agree by chance (Knapp and Hartung, 2003, Statistics in Medicine
22:2693). How often it covers the truth: docs/STATISTICS.md, by benchmarks/data_sets.py.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy import special, stats

from recipe.ladder.comparing import statistics
from recipe.ladder.comparing.comparison import SAME, AcrossData, Comparison, Gain, GainOnData, MeanGain, Row
from recipe.ladder.comparing.statistics import LEVEL

RESAMPLED = 2000  # of the bootstrap of the probability of improvement


class _Found(NamedTuple):
    row: Row
    over: Row
    gain: Gain


def across(comparisons: Sequence[Comparison]) -> list[AcrossData]:
    """What the same comparisons on different training images say together; nothing for a single data set.

    By their validation images, then by their test images where those were asked for.
    """
    tested = [comparison.on_test for comparison in comparisons if comparison.on_test is not None]
    return [*_of_images(comparisons), *(replace(each, on_test=True) for each in _of_images(tested))]


def _of_images(comparisons: Sequence[Comparison]) -> list[AcrossData]:
    kinds: dict[Any, dict[str, Comparison]] = {}
    for comparison in comparisons:
        if len(comparison.rows) > 1:
            further = () if _alone(comparison, comparisons) else _of(comparison)
            kind = comparison.shape, tuple(comparison.varied), *further
            kinds.setdefault(kind, {}).setdefault(comparison.trained_on, comparison)
    found = [_across(list(tables.values())) for tables in kinds.values() if len(tables) > 1]
    return [each for each in found if each.gains]


def _alone(comparison: Comparison, comparisons: Sequence[Comparison]) -> bool:
    """Whether each data set has one table of this kind: if not, those at the same scale belong together."""
    same = [
        other
        for other in comparisons
        if len(other.rows) > 1 and (other.shape, other.varied) == (comparison.shape, comparison.varied)
    ]
    return len({other.trained_on for other in same}) == len(same)


def _of(comparison: Comparison) -> tuple[str | None, Any]:
    return comparison.common.get("scale"), comparison.rows[0].key


def _across(tables: Sequence[Comparison]) -> AcrossData:
    pairs: dict[Any, list[_Found | None]] = {}
    for place, table in enumerate(tables):
        rows = {row.name: row for row in table.rows}
        for row in table.rows[1:]:
            if row.gain is not None and row.gain.difference.n and row.gain.verdict != SAME:
                over = rows[row.gain.over]
                pairs.setdefault((row.key, over.key), [None] * len(tables))[place] = _Found(row, over, row.gain)
    several = [found for found in pairs.values() if sum(each is not None for each in found) > 1]
    gains = [_mean_gain(found) for found in several]
    adjusted = statistics.holm([gain.p for gain in gains]).tolist()
    judged = [replace(gain, adjusted=p, verdict=_verdict(gain, p)) for gain, p in zip(gains, adjusted, strict=True)]
    return AcrossData(tables[0].shape, _labels(tables), judged, _ranks(tables))


def _mean_gain(found: Sequence[_Found | None]) -> MeanGain:
    known = [each for each in found if each is not None]
    by_data = [None if each is None else _on_data(each) for each in found]
    gains, errors = (np.array([getattr(each, name) for each in by_data if each]) for name in ("gain", "error"))
    mean, half, p = map(float, mean_over_data(gains, errors))
    better, low, high = improvement([(each.row.acc1, each.over.acc1) for each in known])
    first, ends = known[0], (mean - half, mean + half)
    return MeanGain(first.row.label, first.over.label, by_data, mean, *ends, p, math.nan, "", better, low, high)


def _on_data(found: _Found) -> GainOnData:
    row, over, gain = found
    difference = gain.difference
    error = math.nan
    if gain.pooled is not None:
        error = gain.pooled.sd / math.sqrt(difference.n)
    elif difference.n > 1:
        error = statistics.standard_error(difference)
    better, _, _ = improvement([(row.acc1, over.acc1)])
    return GainOnData(difference.n, difference.mean, *gain.interval, error, better, gain.verdict)


def mean_over_data(gains: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of gains over data sets, half of its 95% interval, and p that it is 0; NaN where no spread is known.

    Args:
        gains: (..., data sets), points.
        errors: of the same shape: their standard errors over seeds, points; NaN where there is one seed.
    """
    number = gains.shape[-1]
    mean, between = gains.mean(-1), gains.var(-1, ddof=1) / number
    variance = np.maximum(between, (np.nan_to_num(errors) ** 2).sum(-1) / number**2)
    error = np.sqrt(np.where(variance > 1e-18, variance, np.nan))
    half = error * special.stdtrit(number - 1, 1 - LEVEL / 2)
    return mean, half, 2 * special.stdtr(number - 1, -np.abs(mean) / error)


def improvement(runs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> tuple[float, float, float]:
    """The probability of improvement (Agarwal et al., 2021, arXiv 2108.13264) and its 95% bootstrap interval.

    That a run of the one setting is more accurate than one of the other, ties counting half, averaged over the data
    sets. The interval resamples the runs within each data set and setting: it speaks of these data sets alone. NaN
    where a setting has one run, or no resample differs: that all pairs are won does not say that all would be.

    Args:
        runs: for each data set the accuracies of the one and of the other setting.
    """
    rng = np.random.default_rng(0)
    seen, resampled = 0.0, np.zeros(RESAMPLED)
    for new, old in runs:
        a, b = np.asarray(new, dtype=float), np.asarray(old, dtype=float)
        wins = (a[:, None] > b) + 0.5 * (a[:, None] == b)
        drawn, drawn_old = (rng.multinomial(len(x), np.full(len(x), 1 / len(x)), RESAMPLED) / len(x) for x in (a, b))
        seen += float(wins.mean()) / len(runs)
        resampled += np.einsum("ri,ij,rj->r", drawn, wins, drawn_old) / len(runs)
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2])
    few = min(min(len(new), len(old)) for new, old in runs) < 2
    return seen, *((math.nan, math.nan) if few or low == high else (float(low), float(high)))


def _verdict(gain: MeanGain, adjusted: float) -> str:
    if adjusted < LEVEL:
        return "helps" if gain.mean > 0 else "hurts"
    return "unresolved"


def _ranks(tables: Sequence[Comparison]) -> dict[str, float]:
    """Mean rank by label, of the settings that have runs on all data sets."""
    means = [{row.key: row.mean for row in table.rows if row.runs} for table in tables]
    shared = [row for row in tables[0].rows if all(row.key in found for found in means)]
    if not shared:
        return {}
    ranks = [stats.rankdata([-found[row.key] for row in shared]) for found in means]
    return {row.label: float(rank) for row, rank in zip(shared, np.mean(ranks, axis=0), strict=True)}


def _labels(tables: Sequence[Comparison]) -> list[str]:
    """What to call each data set: its option, its folder, or both with its fingerprint, whatever tells them apart."""
    options = [table.common["data"] for table in tables]
    folders = [table.data_folder or option for table, option in zip(tables, options, strict=True)]
    for labels in (options, folders):
        if len(set(labels)) == len(labels):
            return labels
    return [f"{folder} {table.trained_on[:8]}" for folder, table in zip(folders, tables, strict=True)]
