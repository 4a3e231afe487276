"""Nothing is certain: however equal the runs, no interval has no width and no p is 0."""

import json
from pathlib import Path

import numpy as np
import pytest
from synthetic import LADDER, write_run

from recipe.ladder.comparing import floors
from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.statistics import difference, over_images, verdict
from recipe.ladder.reading.collect import collect


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("rungs", [2, 4])
@pytest.mark.parametrize("images", [10, 72])
def test_runs_that_agree_to_the_last_image_call_nothing(tmp_path: Path, seeds: int, rungs: int, images: int) -> None:
    """Two photos more in every seed, and nothing else: 2.78 points of 72."""
    for number, recipe in enumerate(LADDER[:rungs]):
        right = np.arange(images) < images // 2 + (2 if number == 1 else 0)
        for seed in range(seeds):
            acc1 = 100 * float(right.mean())
            write_run(tmp_path, recipe, seed, acc1, images=images, correct=right)
    (ladder,) = compare(collect([tmp_path]))
    step = 100 / images
    for row in ladder.rows[1:]:
        for gain in (row.gain, row.total):
            assert gain is not None
            assert gain.verdict.startswith("unresolved")
            assert gain.adjusted > 0.01
            for low, high in (gain.interval, gain.over_images or (0, 0), gain.difference[3:5]):
                assert high - low > step
    assert ladder.detectable > step


def test_two_rungs_of_equal_differences_are_unresolved_without_predictions(tmp_path: Path) -> None:
    for seed in range(2):
        write_run(tmp_path, "v1", seed, 50.0 + seed, predictions=False)
        write_run(tmp_path, "v2", seed, 52.78 + seed, predictions=False)
    (ladder,) = compare(collect([tmp_path]))
    gain = ladder.rows[1].gain
    assert gain is not None
    assert gain.verdict.startswith("unresolved")
    assert gain.interval[0] < 0 < gain.interval[1]


@pytest.mark.parametrize("equal", [1, 4])
@pytest.mark.parametrize("counted", [True, False])
def test_a_rung_of_equal_runs_leaves_a_ladder_its_intervals(tmp_path: Path, equal: int, counted: bool) -> None:
    """Where no predictions were kept: one rung's runs are equal to the last image, or those of all rungs are."""
    for number, recipe in enumerate(LADDER[:4]):
        for seed in range(2):
            acc1 = 50.0 + number + 0.3 * seed * (number >= equal)
            folder = write_run(tmp_path, recipe, seed, acc1, predictions=False)
            if counted:
                environment = json.loads((folder / "environment.json").read_text())
                (folder / "environment.json").write_text(json.dumps({**environment, "images": {"val": 3925}}))
    (ladder,) = compare(collect([tmp_path]))
    for row in ladder.rows[1:]:
        for gain in (row.gain, row.total):
            assert gain is not None
            assert gain.interval[0] < gain.difference.mean < gain.interval[1]
            assert 0 < gain.difference.p <= 1
            assert 0 < gain.adjusted <= 1


def test_floor_is_that_of_the_count_or_of_the_images_on_which_runs_disagree() -> None:
    assert floors.of_run(50_000) == pytest.approx(0.002)
    assert floors.of_difference(72) == pytest.approx(100 / 72 * 2**0.5)
    assert floors.of_run(0) == floors.of_difference(0) == 0
    rng = np.random.default_rng(0)
    rate = rng.uniform(0.2, 0.8, 4000)
    correct = rng.random((3, 4000)) < rate
    assert floors.of_run(4000, correct) == pytest.approx(100 * np.sqrt((rate * (1 - rate)).sum()) / 4000, rel=0.05)
    assert floors.of_run(4000, correct[:1]) == pytest.approx(100 / 4000)


def test_equal_differences_rest_on_what_their_figures_show() -> None:
    found = difference([52.78, 52.78, 52.78], [50.0, 50.0, 50.0])
    assert found.sd == pytest.approx(0)
    assert found.p > 0.05
    assert verdict(found, found.p).startswith("unresolved")
    again = difference([52.78, 51.78], [50.0, 49.0])  # but for rounding, the same
    assert again.p > 0.05
    same = difference([50.0, 50.0], [50.0, 50.0])
    assert same.p == 1
    assert np.isnan(same.low)
    assert verdict(same, same.p) == "unresolved (no difference that seeds could show)"


def test_floor_leaves_runs_alone_that_differ_by_more() -> None:
    new, old = [76.9, 76.7, 76.8], [76.1, 76.5, 76.2]
    assert difference(new, old, floor=0.002)[:7] == difference(new, old)[:7]


def test_interval_over_images_has_a_width_where_networks_agree() -> None:
    right = np.ones((2, 50), dtype=bool)
    low, high = over_images(right, right, floors.of_difference(50))
    assert low < -1 < 1 < high
