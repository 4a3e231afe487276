"""Pooled tests keep what docs/STATISTICS.md promises, on ladders of a known truth, fewer than stand there."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic import LADDER, write_run

from recipe.ladder.comparing import pooling
from recipe.ladder.comparing.borrowing import spreads_differ, table
from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.reading.collect import collect

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "ladder_statistics.py"
SPEC = importlib.util.spec_from_file_location("ladder_statistics", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
simulated = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(simulated)

CALM = (
    "equal",
    "log-sd 0.15",
    "log-sd 0.3",
    "short",
    "t(4)",
    "evaluations .8",
    "evaluations .95",
    "blocks .5",
    "blocks .8",
    "missing",
)
STORMY = ("log-sd 0.6", "wild")
COVERED, COVERED_BY_EACH = 0.935, 0.90


def holds(case: str, seeds: int, trials: int, rungs: int = 13) -> None:
    """The bounds of the table, widened by two standard errors of so many trials."""

    def error(share: float, of: int = trials) -> float:
        return 2 * math.sqrt(share * (1 - share) / of)

    ladders = simulated.ladders(case, trials, rungs, seeds)
    alone, pooled = simulated.measured(ladders, False), simulated.measured(ladders, True)
    most = 0.055 if case in CALM else 0.085 if seeds <= 3 else 0.065
    assert pooled.false <= most + error(most)
    assert pooled.false_totals <= most + error(most)
    least = COVERED_BY_EACH if rungs == 13 else 0.89
    for cover in (pooled.cover, pooled.cover_totals):
        assert cover.min() >= least - error(least)
    average = COVERED if rungs == 13 or case in CALM else 0.925
    assert pooled.cover.mean() >= average - error(average)
    if seeds > 2:
        lost = pooled.power - alone.power  # on the same ladders
        assert lost.min() >= -error(0.5)
    if case == "equal" and rungs == 13 and seeds in (3, 5):
        needed = {3: 0.35, 5: 0.60}[seeds]
        assert pooled.power.mean() >= needed - error(needed)
        assert alone.power.mean() < needed - 0.2


@pytest.mark.parametrize("case", [*CALM, *STORMY])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_bounds_hold_on_few_ladders(case: str, seeds: int) -> None:
    holds(case, seeds, 500)


@pytest.mark.parametrize("rungs", [3, 4, 6])
@pytest.mark.parametrize("case", ["equal", "log-sd 0.3", "short", *STORMY])
def test_bounds_hold_in_small_ladders(case: str, rungs: int) -> None:
    for seeds in (2, 3, 5):
        holds(case, seeds, 500, rungs)


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CALM, *STORMY])
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_bounds_hold(case: str, seeds: int) -> None:
    holds(case, seeds, 10_000)


def test_spread_of_balanced_runs_is_theirs_where_seeds_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    runs = rng.normal(0, 1, (200, 8, 5))
    found = pooling.spreads(runs, np.arange(8))
    assert found.variance.mean() == pytest.approx(1, abs=0.05)
    assert (found.freedom <= 4 + 1e-9).all()
    assert (found.freedom >= 4 * (1 - 1 / 8) - 1e-9).all()


def test_what_seeds_have_in_common_is_no_spread() -> None:
    rng = np.random.default_rng(0)
    runs = rng.normal(0, 1, (200, 8, 5)) + 10 * rng.normal(0, 1, (200, 1, 5))
    assert pooling.spreads(runs, np.arange(8)).variance.mean() == pytest.approx(1, abs=0.05)
    runs[:, 2, 3] = runs[:, 5, :2] = np.nan
    assert pooling.spreads(runs, np.arange(8)).variance.mean() == pytest.approx(1, abs=0.05)


def test_rung_that_stands_out_keeps_its_spread() -> None:
    variance = np.array([1.0, 1.2, 0.8, 1.1, 0.9, 1.0, 1.05, 400.0])
    spreads = pooling.Spreads(variance, np.full(8, 2.0))
    pool = pooling.pool(spreads, np.arange(8), np.zeros(8, int), pooling.guesses(np.full(8, 3), 8))
    assert pool.chance[-1] > 0.99
    assert pool.own[-1] == pytest.approx(400, rel=0.05)
    assert pool.common[0] == pytest.approx(1.0, rel=0.05)
    assert pool.chance[:-1].max() < 0.9


def test_lengths_whose_spreads_differ_have_one_each() -> None:
    lengths, guesses = np.array([0] * 4 + [1] * 8), pooling.guesses(np.full(12, 5), 12)
    apart = pooling.Spreads(np.array([25.0] * 4 + [1.0] * 8), np.full(12, 4.0))
    alike = apart._replace(variance=np.array([1.1] * 4 + [1.0] * 8))
    found = pooling.pool(apart, np.arange(12), lengths, guesses)
    assert found.common == pytest.approx(apart.variance)
    assert len(set(found.estimate.tolist())) == 2
    together = pooling.pool(alike, np.arange(12), lengths, guesses)
    assert len(set(together.common.tolist())) == 1


def test_half_width_is_the_difference_whose_p_is_the_level() -> None:
    errors = pooling.Error(np.array([[1.0], [4.0]]), np.array([[20.0], [2.0]]), np.array([[0.7], [0.3]]))
    half = pooling.half_widths(errors, 0.05)
    assert pooling.p_values(half, errors) == pytest.approx([0.05], abs=1e-6)
    certain = errors._replace(chance=np.array([[1.0], [0.0]]))
    assert pooling.half_widths(certain, 0.05) == pytest.approx([stats.t.ppf(0.975, 20)])


def test_bartlett_is_scipys() -> None:
    groups = np.random.default_rng(0).normal(0, 1, (4, 6)) * np.array([[1], [1], [2], [1]])
    found = pooling.bartlett(groups.var(axis=1, ddof=1), np.full(4, 5.0))
    assert found == pytest.approx(stats.bartlett(*groups).pvalue)


def only(root: Path) -> Comparison:
    (comparison,) = compare(collect([root]))
    return comparison


def test_report_pools_from_three_trainings_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, recipe in enumerate(LADDER[:3]):
        for seed in range(3):
            write_run(tmp_path, recipe, seed, 50 + number + rng.normal(0, 0.2), predictions=False)
    ladder = only(tmp_path)
    assert [row.gain.pooled is not None for row in ladder.rows if row.gain] == [True, True]
    assert math.isfinite(ladder.spreads_p)
    low, high = ladder.rows[1].gain.interval if ladder.rows[1].gain else (math.nan, math.nan)
    assert low < high


def test_evaluations_of_one_training_stay_paired(tmp_path: Path) -> None:
    """Six rungs, two of them evaluations of one training: these are five trainings, and one paired test."""
    rng = np.random.default_rng(0)
    for number, recipe in enumerate(LADDER[6:12]):
        for seed in range(3):
            shared = f"../../{LADDER[9]}/seed={seed}" if recipe == LADDER[10] else None
            acc1 = 50 + number + rng.normal(0, 0.2)
            write_run(tmp_path, recipe, seed, acc1, predictions=False, trained_in=shared)
    rows = only(tmp_path).rows
    found = table(rows)
    assert found is not None
    assert found.trainings.tolist() == [0, 1, 2, 3, 3, 5]
    assert 0 < spreads_differ(found) <= 1
    assert [row.gain.pooled is None for row in rows if row.gain] == [False, False, False, True, False]


def test_trainings_of_other_lengths_are_told_apart(tmp_path: Path) -> None:
    for number, recipe in enumerate(LADDER[:5]):
        for seed in range(2):
            length = 1000 if number < 3 else 7000 + number
            write_run(tmp_path, recipe, seed, 50.0 + seed + number, images_seen=length, predictions=False)
    found = table(only(tmp_path).rows)
    assert found is not None
    assert found.lengths.tolist() == [0, 0, 0, 1, 1]
