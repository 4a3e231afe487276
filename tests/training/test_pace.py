"""A run's speed is that of its settled steps: not of the first ones, nor of time between epochs."""

import math
from types import SimpleNamespace

import pytest

from recipe.training import pace
from recipe.training.pace import SETTLED, Pace


def test_first_steps_and_the_first_of_a_size_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now))
    measured = Pace()
    assert math.isnan(measured.images_per_second())

    def steps(count: int, images: int, seconds: float) -> None:
        nonlocal now
        for _ in range(count):
            now += seconds
            measured.step_done(images)

    steps(1, 64, 300)  # compiles
    steps(SETTLED - 1, 64, 2)
    assert not measured.known
    assert measured.images_per_second() == pytest.approx(64 * SETTLED / 308)  # of what there is
    steps(10, 64, 1)
    steps(1, 32, 200)  # a short last step compiles once more
    now += 1000
    measured.start_epoch()  # after an evaluation
    steps(10, 64, 1)
    steps(1, 32, 0.5)
    assert measured.images_per_second() == pytest.approx(64)
