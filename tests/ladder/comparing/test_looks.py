"""Looks are planned and paid for: by hand, and held in simulated ladders of a known truth."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from recipe.ladder.comparing import looks
from recipe.ladder.comparing.statistics import holm

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "until_resolved.py"
SPEC = importlib.util.spec_from_file_location("until_resolved", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
simulation = importlib.util.module_from_spec(SPEC)
sys.modules["until_resolved"] = simulation
SPEC.loader.exec_module(simulation)

SMALLEST = 0.2
NAN = math.nan


def test_looks_are_taken_at_numbers_of_seeds_that_grow_up_to_the_most() -> None:
    assert looks.schedule(3, 20) == [3, 5, 7, 10, 14, 20]
    assert looks.schedule(1, 20) == looks.schedule(3, 20)  # two seeds tell next to nothing
    assert looks.schedule(5, 20)[0] == 5
    assert looks.schedule(4, 4) == [4]
    assert looks.schedule(1, 2) == [2]
    for given in range(1, 12):
        for most in range(max(2, given), 40):
            counts = looks.schedule(given, most)
            assert counts[-1] == most
            assert counts == sorted(set(counts))
            assert counts[0] == min(most, max(given, 3))


def test_the_looks_together_may_use_the_whole_5_percent_and_no_more() -> None:
    for given, most in ((1, 2), (3, 20), (5, 13), (4, 4)):
        planned = looks.design(given, most, SMALLEST)
        assert sum(planned.weights) == pytest.approx(1)
        assert min(planned.weights) > 0
        assert planned.of_gains + planned.of_smaller == pytest.approx(0.05)
    assert looks.design(3, 20, None).of_gains == 0.05


def test_a_gain_is_called_where_p_is_below_its_look_s_part() -> None:
    planned = looks.design(3, 20, SMALLEST)
    ones, means = np.ones((2, 3)), np.array([[0.5, -0.5, 0.1], [-0.5, 0.5, 0.1]])
    part = planned.of_gains * planned.weights[1] / 3  # of the second look, one of three comparisons
    for p, expected in ((0.99 * part, looks.HELPS), (1.01 * part, looks.OPEN)):
        seen = np.array([[1.0, 1.0, 1.0], [1.0, p, 1.0]])
        assert looks.decide(seen, ones, means, planned).tolist() == [looks.OPEN, expected, looks.OPEN]
    hurt = np.array([[1.0, planned.of_gains * planned.weights[0] / 3.01, NAN], [1.0, NAN, 1.0]])
    assert looks.decide(hurt, ones, means, planned)[1] == looks.HURTS  # by the sign of that look
    assert looks.adjusted(hurt, planned)[1] == pytest.approx(0.05 * 3 / 3.01)


def test_smaller_than_has_a_part_of_its_own() -> None:
    planned, ones, means = looks.design(3, 20, SMALLEST), np.ones((1, 2)), np.zeros((1, 2))
    part = planned.of_smaller * planned.weights[0] / 2
    small = np.array([[0.99 * part, 1.01 * part]])
    assert looks.decide(ones, small, means, planned).tolist() == [looks.SMALLER, looks.SMALLER]  # Holm's second step
    assert looks.decide(ones, small[:, ::-1] * [[1.01, 1.03]], means, planned).tolist() == [looks.OPEN, looks.OPEN]
    assert looks.decide(ones, small, means, looks.design(3, 20, None)).tolist() == [looks.OPEN, looks.OPEN]


def test_holm_takes_each_table_by_itself() -> None:
    p = np.random.default_rng(0).random((50, 7)) ** 3
    for line, adjusted in zip(p, holm(p), strict=True):
        assert adjusted == pytest.approx(holm(line.tolist()))


def test_few_ladders_without_gains_have_a_wrong_verdict() -> None:
    """At most 5.5%; the bound is two standard errors wider."""
    ended = _until("all zero", "log-sd 0.3", trials=200)
    assert ended.wrong <= 0.055 + 2 * math.sqrt(0.055 * 0.945 / 200)
    assert ended.smaller >= 0.82


@pytest.mark.slow
@pytest.mark.parametrize("gains", simulation.GAINS)
@pytest.mark.parametrize("noise", simulation.NOISE)
def test_few_ladders_have_a_wrong_verdict_whatever_the_gains(gains: str, noise: str) -> None:
    ended = _until(gains, noise, trials=1000)
    assert ended.wrong <= 0.055 + 2 * math.sqrt(0.055 * 0.945 / 1000)


@pytest.mark.slow
def test_seeds_are_saved_against_one_look_of_equal_power() -> None:
    truth = simulation.GAINS["published"]
    ended = _until("published", "equal noise", trials=400)
    longer = simulation.ladders(truth, 0.0, 400, 30, seed=1)
    fixed = simulation.fixed_of_equal_power(truth, longer, ended.called + ended.smaller, SMALLEST)
    assert ended.called + ended.smaller >= 0.97
    assert 1 - ended.seeds / fixed >= 0.25
    assert ended.seeds <= 12.5


def _until(gains: str, noise: str, trials: int) -> "simulation.Told":  # type: ignore[name-defined]
    truth = simulation.GAINS[gains]
    runs = simulation.ladders(truth, simulation.NOISE[noise], trials, 20)
    return simulation.told(simulation.until(runs, looks.design(3, 20, SMALLEST)), truth, SMALLEST)
