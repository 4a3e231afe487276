"""Where gains cross 0: on curves of known truth, and by simulation."""

import numpy as np
import pytest
from scipy import stats

from recipe.ladder.comparing.crossing import At, pieces, zero


def line(*gains: tuple[float, float, float]) -> list[At]:
    return [At(budget, mean, mean - half, mean + half) for budget, mean, half in gains]


def test_a_gain_that_turns_has_an_interval_around_the_crossing() -> None:
    gains = line((10, -4.0, 1.0), (100, 0.0, 1.0), (1000, 4.0, 1.0))
    hurts, either, helps = pieces(gains)
    assert [hurts.sign, either.sign, helps.sign] == [-1, 0, 1]
    assert zero(gains) == pytest.approx(100, rel=0.01)
    # The band at a share s towards 100: |−4 (1 − s)| against hypot(1 − s, s), which are equal at s = 1/(1 + 1/√15).
    edge = 1 / (1 + 1 / np.sqrt(15))
    assert either.first == pytest.approx(10 ** (1 + edge), rel=0.02)
    assert either.last == pytest.approx(10 ** (3 - edge), rel=0.02)


@pytest.mark.parametrize(
    ("gains", "signs"),
    [
        (line((1, 2, 1), (2, 3, 1)), [1]),
        (line((1, -2, 1), (2, -3, 1)), [-1]),
        (line((1, 0.5, 1), (2, -0.5, 1)), [0]),
        (line((1, -3, 1), (2, 0.5, 1)), [-1, 0]),
        (line((1, 0.5, 1), (2, 3, 1)), [0, 1]),
        (line((1, 3, 1), (2, -3, 1)), [1, 0, -1]),
        (line((1, 3, 1), (2, -3, 1), (4, 3, 1)), [1, 0, -1, 0, 1]),
    ],
    ids=str,
)
def test_what_is_said_of_each_stretch(gains: list[At], signs: list[int]) -> None:
    found = pieces(gains)
    assert [piece.sign for piece in found] == signs
    assert found[0].first == pytest.approx(gains[0].budget)
    assert found[-1].last == pytest.approx(gains[-1].budget)


def test_a_mean_that_never_crosses_or_crosses_twice_has_no_crossing() -> None:
    assert zero(line((1, 1, 9), (2, 3, 9))) is None
    assert zero(line((1, 1, 9), (2, -3, 9), (4, 1, 9))) is None


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_the_crossing_as_often_as_it_says(seeds: int) -> None:
    """A gain of -2, +0.5 and +2 points at three budgets, with differences of sd 1."""
    truth, rng, trials = np.array([-2.0, 0.5, 2.0]), np.random.default_rng(0), 1500
    runs = truth + rng.normal(0, 1, (trials, seeds, 3))
    mean, error = runs.mean(axis=1), runs.std(axis=1, ddof=1) / np.sqrt(seeds)
    half = stats.t.ppf(0.975, seeds - 1) * error
    crossing, covered = 10**0.8, 0  # of the true curve: at 80% of the first step
    for means, halves in zip(mean, half, strict=True):
        found = pieces(line(*zip((1.0, 10.0, 100.0), means.tolist(), halves.tolist(), strict=True)))
        open_there = [piece for piece in found if piece.sign == 0]
        covered += any(piece.first <= 1.01 * crossing and crossing <= 1.01 * piece.last for piece in open_there)
    assert covered / trials > 0.95 - 2 * np.sqrt(0.95 * 0.05 / trials)
