"""Intervals, p-values and verdicts hold what they promise: on simulated runs, published tables, and scipy."""

import itertools
import math
from functools import cache

import numpy as np
import pytest
from scipy import stats

from recipe.ladder.comparing.statistics import (
    bca,
    detectable,
    difference,
    holm,
    mcnemar,
    over_images,
    permutation,
    seeds_needed,
    sign_flip,
    verdict,
)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_interval_covers_the_truth_as_often_as_it_says(n: int, effect: float) -> None:
    """Two rungs of sd 0.1 each, correlated over seeds. 4 standard errors of the simulation are allowed."""
    rng, trials = np.random.default_rng(n), 2000
    covered, by_bca = 0, 0
    for _ in range(trials):
        seeds = rng.normal(0, 0.05, n)
        old, new = 76 + seeds + rng.normal(0, 0.1, n), 76 + effect + seeds + rng.normal(0, 0.1, n)
        found = difference(new, old)
        covered += found.low <= effect <= found.high
        by_bca += found.bca_low <= effect <= found.bca_high
    within = 4 * math.sqrt(0.95 * 0.05 / trials)
    assert covered / trials == pytest.approx(0.95, abs=within)
    if n == 10:  # the known price of BCa at that size, and why it is not the interval of the tables
        assert by_bca / trials == pytest.approx(0.91, abs=within)
    else:
        assert math.isnan(found.bca_low)


def test_folds_are_corrected_for_the_training_images_that_they_share() -> None:
    """Differences of 5 folds whose correlation is 1/5, for which the correction is exact."""
    rng, trials, folds = np.random.default_rng(0), 4000, 5
    covered, uncorrected = 0, 0
    for _ in range(trials):
        d = 0.2 + rng.normal(0, math.sqrt(1 / folds)) + rng.normal(0, math.sqrt(1 - 1 / folds), folds)
        found, plain = difference(d, np.zeros(folds), folds), difference(d, np.zeros(folds))
        covered += found.low <= 0.2 <= found.high
        uncorrected += plain.low <= 0.2 <= plain.high
    within = 4 * math.sqrt(0.95 * 0.05 / trials)
    assert covered / trials == pytest.approx(0.95, abs=within)
    assert uncorrected / trials < 0.9
    error = found.sd * math.sqrt(1 / 5 + 1 / 4)
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.mean) / error, 4))
    assert math.isnan(found.p_exact)
    assert detectable(5, 1.0, folds) == pytest.approx(detectable(5) * 1.5)


def test_bca_is_scipys() -> None:
    values = np.random.default_rng(3).gamma(2.0, 0.1, 12)
    rng = np.random.default_rng(0)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=9999, method="BCa", rng=rng).confidence_interval
    assert bca(values) == pytest.approx((theirs.low, theirs.high), rel=1e-3)
    assert bca(np.full(10, 0.5)) == (0.5, 0.5)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_false_positives_of_a_ladder_are_at_their_nominal_rate(n: int) -> None:
    """12 rungs that do nothing: any call at all is one too many, in at most 5% of ladders."""
    rng, ladders = np.random.default_rng(n), 300
    false, raw = 0, 0
    for _ in range(ladders):
        runs = rng.normal(76, 0.1, (13, n))
        p_values = [float(stats.ttest_rel(runs[rung], runs[rung - 1]).pvalue) for rung in range(1, 13)]
        raw += sum(p < 0.05 for p in p_values)
        false += min(holm(p_values)) < 0.05
    assert false / ladders <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / ladders)
    assert false > 0 or n == 3
    assert raw / ladders / 12 == pytest.approx(0.05, abs=0.02)


def test_three_seeds_call_nothing_below_what_they_can_detect() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        found = difference(rng.normal(0.2, 0.1, 3), rng.normal(0, 0.1, 3))
        called = verdict(found, found.p)
        if called in ("helps", "hurts"):
            assert abs(found.mean) >= detectable(3, found.sd)
            assert found.p < 0.05
    small = difference([76.2, 76.21, 76.25], [76.0, 76.05, 76.03])
    assert small.p < 0.05
    assert abs(small.mean) >= detectable(3, small.sd)
    assert verdict(small, small.p) == "helps"
    assert verdict(small, 0.2).startswith("unresolved")


@pytest.mark.parametrize(("n", "expected"), [(3, 3.27), (5, 1.68), (10, 1.00), (20, 0.66)])
def test_detectable_effect_is_that_of_the_tables(n: int, expected: float) -> None:
    assert detectable(n) == pytest.approx(expected, abs=0.01)
    assert detectable(n, 0.1) == pytest.approx(0.1 * detectable(n))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_detectable_effect_is_found_in_80_percent_of_trials(n: int) -> None:
    rng, trials = np.random.default_rng(n), 4000
    runs = rng.normal(detectable(n), 1, (trials, n))
    found = (stats.ttest_1samp(runs, 0, axis=1).pvalue < 0.05).mean()
    assert found == pytest.approx(0.8, abs=4 * math.sqrt(0.8 * 0.2 / trials))


@pytest.mark.parametrize(("n", "tests"), [(3, 12), (5, 12), (10, 3)])
def test_detectable_effect_of_several_is_found_at_holms_first_step(n: int, tests: int) -> None:
    rng, trials = np.random.default_rng(n), 4000
    runs = rng.normal(detectable(n, tests=tests), 1, (trials, n))
    found = (stats.ttest_1samp(runs, 0, axis=1).pvalue < 0.05 / tests).mean()
    assert found == pytest.approx(0.8, abs=4 * math.sqrt(0.8 * 0.2 / trials))


def test_detectable_effect_is_that_of_the_noncentral_t() -> None:
    for n in (2, 4, 8, 30):
        shift = detectable(n) * math.sqrt(n)
        assert stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, shift) == pytest.approx(0.8, abs=2e-3)


def test_seeds_needed_are_those_that_detect_it() -> None:
    for effect in (0.05, 0.1, 0.3):
        needed = seeds_needed(-effect, 0.1)
        assert needed is not None
        assert detectable(needed, 0.1) <= effect < detectable(needed - 1, 0.1)
    assert seeds_needed(0.001, 0.1) is None


@pytest.mark.parametrize(("n", "smallest"), [(3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_sign_flip_has_its_exact_smallest_p(n: int, smallest: float) -> None:
    assert sign_flip(np.arange(1.0, n + 1)) == pytest.approx(smallest)
    mixed = np.array([0.3, -0.1, 0.2, 0.5, -0.05, 0.4][:n])
    sums = [abs(np.dot(signs, mixed)) for signs in itertools.product((1, -1), repeat=n)]
    by_hand = np.mean([total >= abs(mixed.sum()) - 1e-12 for total in sums])
    assert sign_flip(mixed) == pytest.approx(float(by_hand))


@pytest.mark.parametrize(("n", "smallest"), [(3, 0.1), (4, 0.029), (5, 0.008)])
def test_permutation_has_its_exact_smallest_p(n: int, smallest: float) -> None:
    assert permutation(np.arange(10.0, 10 + n), np.arange(0.0, n)) == pytest.approx(smallest, abs=5e-4)


def test_holm_is_the_step_down_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []
    some = holm([0.01, math.nan, 0.04])
    assert some[0] == pytest.approx(0.02)
    assert math.isnan(some[1])


def test_difference_says_what_scipy_says() -> None:
    new, old = [76.9, 76.7, 76.8, 77.0], [76.1, 76.5, 76.2, 76.3]
    found = difference(new, old)
    test = stats.ttest_rel(new, old)
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert (found.n, found.mean) == (4, pytest.approx(0.575))
    assert found.better == 1.0
    assert found.better == pytest.approx(stats.mannwhitneyu(new, old).statistic / 16)
    same = difference([1, 2, 3], [1, 2, 3])
    assert (same.n, same.mean, same.sd, same.p) == (3, 0.0, 0.0, 1.0)
    assert same.low == -same.high < 0
    assert difference([1, 2], [2, 1]).better == 0.5


def test_one_run_says_what_it_can() -> None:
    found = difference([77.0], [76.5])
    assert (found.n, found.mean) == (1, 0.5)
    assert math.isnan(found.p)
    assert verdict(found, math.nan) == "unresolved (one seed)"
    assert verdict(difference([], []), math.nan) == "not compared (no shared seed)"


def test_verdicts_in_words() -> None:
    rng = np.random.default_rng(0)
    clear = difference(rng.normal(1, 0.1, 5), rng.normal(0, 0.1, 5))
    assert verdict(clear, 0.01) == "helps"
    worse = difference(rng.normal(0, 0.1, 5), rng.normal(1, 0.1, 5))
    assert verdict(worse, 0.01) == "hurts"
    open_ = difference([76.1, 76.5, 76.2], [76.2, 76.1, 76.3])
    seeds = int(verdict(open_, 1.0).split("about ")[1].split()[0])
    assert seeds == seeds_needed(open_.mean, open_.sd)
    assert int(verdict(open_, 1.0, tests=5).split("about ")[1].split()[0]) > seeds
    folds = difference([76.1, 76.5, 76.2], [75.2, 75.9, 75.6], folds=3)
    assert "runs would tell" in verdict(folds, 1.0)
    assert "no difference" in verdict(difference([1.0, 2.0, 3.0], [1.1, 1.9, 3.0]), 1.0)


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize(("of_runs", "of_images"), [(0.0, 0.0), (0.06, 0.0), (0.02, 0.3), (0.06, 0.3)])
def test_interval_over_seeds_and_images_covers_the_truth(n: int, of_runs: float, of_images: float) -> None:
    """Each run has a gain of its own and each image too, around 4 points; 300 images are seen of all that there are."""
    rng, trials, covered = np.random.default_rng(n), 500, 0
    for _ in range(trials):
        image, run = rng.normal(0, of_images, 300), rng.normal(0, of_runs, (n, 1))
        chance = np.clip(0.5 + 0.04 + image + run, 0, 1)
        old, new = rng.random((n, 300)) < 0.5, rng.random((n, 300)) < chance
        low, high = over_images(new, old)
        truth = 100 * (0.04 + _clipped_mean(0.54, math.hypot(of_images, of_runs)) - 0.54)
        covered += int(low <= truth <= high)
    share = covered / trials
    allowed = 4 * math.sqrt(0.95 * 0.05 / trials)
    assert share >= 0.95 - allowed  # with no spread of one kind it is wider than it need be
    if of_runs == 0.06 and of_images:
        assert share <= 0.95 + allowed


@cache
def _clipped_mean(mean: float, sd: float) -> float:
    return float(np.clip(np.random.default_rng(0).normal(mean, sd, 1_000_000), 0, 1).mean())


@pytest.mark.parametrize("n", [2, 3, 5])
def test_interval_over_images_is_never_shorter_than_that_of_the_seeds_alone(n: int) -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        new = rng.random((n, 500)) < 0.6 + rng.normal(0, 0.05, (n, 1)) + rng.normal(0, 0.1, 500)
        old = rng.random((n, 500)) < 0.55
        low, high = over_images(new, old)
        alone = difference(100 * new.mean(1), 100 * old.mean(1))
        assert low <= alone.low + 1e-9
        assert high >= alone.high - 1e-9


def test_interval_of_one_run_is_that_of_its_images() -> None:
    rng = np.random.default_rng(1)
    new, old = rng.random((1, 4000)) < 0.75, rng.random((1, 4000)) < 0.70
    low, high = over_images(new, old)
    gain = 100 * (new.astype(float) - old)
    half = 1.96 * gain.std() / math.sqrt(4000)
    assert (low, high) == pytest.approx((gain.mean() - half, gain.mean() + half), abs=0.01)


def test_mcnemar_is_the_binomial_test_of_the_images_they_differ_on() -> None:
    old = np.array([True] * 50 + [False] * 50)
    new = old.copy()
    new[50:60] = True
    new[:2] = False
    assert mcnemar(new, old) == pytest.approx(stats.binomtest(10, 12).pvalue)
    assert mcnemar(new, old) == mcnemar(old, new)
    assert mcnemar(old, old) == 1.0
