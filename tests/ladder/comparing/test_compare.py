"""Gains, intervals, costs and verdicts are those of the runs that were written."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from synthetic import LADDER, write_ladder, write_run
from synthetic import write_seeds as write

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison, Row
from recipe.ladder.comparing.statistics import detectable
from recipe.ladder.reading import predictions
from recipe.ladder.reading.collect import collect
from recipe.ladder.reading.records import RunRecord
from recipe.plan.published import NOTHING


def compared(root: Path) -> list[Comparison]:
    return compare(collect([root]))


def only(root: Path) -> Comparison:
    (comparison,) = compared(root)
    return comparison


def test_gains_are_over_shared_seeds(tmp_path: Path) -> None:
    """The seeds that only one of the two has would turn the gain around."""
    for seed, acc1 in {0: 50.0, 1: 51.0, 2: 52.0, 7: 90.0}.items():
        write_run(tmp_path, "v1", seed, acc1, predictions=False)
    for seed, acc1 in {2: 53.0, 1: 51.9, 0: 51.1, 5: 10.0}.items():
        write_run(tmp_path, "v2", seed, acc1, predictions=False)
    low, high = only(tmp_path).rows
    assert high.gain is not None
    expected = stats.ttest_rel([51.1, 51.9, 53.0], [50.0, 51.0, 52.0])
    assert high.gain.difference.n == 3
    assert high.gain.difference.mean == pytest.approx(1.0)
    assert high.gain.adjusted == high.gain.difference.p == pytest.approx(expected.pvalue)
    assert high.gain.pooled is None
    assert high.gain.means == pytest.approx(41.5 - 60.75)
    assert (low.missing, high.missing) == ([(5, None)], [(7, None)])
    assert (low.planned, high.planned) == (5, 5)


def test_holms_family_is_the_table(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, recipe in enumerate(LADDER[:5]):
        for seed in range(5):
            write_run(tmp_path, recipe, seed, 50 + 0.2 * number + rng.normal(0, 0.1), predictions=False)
    ladder = only(tmp_path)
    rows = ladder.rows[1:]
    sd, freedom = (np.median([found[at] for row in rows if row.gain and (found := row.gain.pooled)]) for at in (3, 4))
    assert ladder.detectable == pytest.approx(detectable(5, sd, tests=4, freedom=freedom), rel=1e-3)
    for kind in ("gain", "total"):
        gains = [getattr(row, kind) for row in rows]
        pooled = [gain.pooled.p for gain in gains], [gain.adjusted for gain in gains]
        paired = [gain.difference.p for gain in gains], [gain.paired_adjusted for gain in gains]
        for p_values, adjusted in (pooled, paired):
            smallest = min(range(4), key=p_values.__getitem__)
            assert adjusted[smallest] == pytest.approx(4 * p_values[smallest])
            largest = max(range(4), key=p_values.__getitem__)
            assert adjusted[largest] >= p_values[largest]
    assert rows[2].gain != rows[2].total


def test_lost_runs_are_counted(tmp_path: Path) -> None:
    write(tmp_path, "v1", 50, seeds=4)
    write_run(tmp_path, "v2", 0, 52.0)
    write_run(tmp_path, "v2", 1, finished=False)
    (write_run(tmp_path, "v2", 2) / "result.json").write_text("{")
    crashed = tmp_path / "v2" / "seed=5"
    crashed.mkdir()
    (crashed / "console.log").write_text("Error")
    write_run(tmp_path / "again", "v2", 0, 99.0)
    for seed in range(2):
        write_run(tmp_path, "r05_label_smoothing", seed, finished=False)
    v1, rung, v2 = only(tmp_path).rows
    assert {run.unit[0]: run.problem for run in v2.others} == {
        1: "not finished",
        2: "cannot read result.json (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))",
        5: "failed before it began",
    }
    assert (list(v2.runs), v2.missing, v2.planned) == ([(0, None)], [(3, None)], 5)
    assert (list(rung.runs), len(rung.others), rung.missing) == ([], 2, [(seed, None) for seed in (2, 3, 5)])
    assert math.isnan(rung.mean)
    assert rung.gain is not None
    assert rung.gain.verdict == "not compared (no shared seed)"
    assert v2.mean in (52.0, 99.0)
    assert v1.missing == [(5, None)]


def test_one_seed_is_told_apart_by_images_alone(tmp_path: Path) -> None:
    right = np.arange(200) < 100
    write_run(tmp_path, "v1", 0, 50.0, correct=right, images=200)
    write_run(tmp_path, "v2", 0, 60.0, correct=right | (np.arange(200) >= 180), images=200)
    row = only(tmp_path).rows[1]
    assert row.gain is not None
    assert row.gain.mcnemar == pytest.approx(stats.binomtest(20, 20).pvalue)
    assert row.gain.verdict == "unresolved (one seed)"
    assert row.gain.over_images is not None
    assert row.gain.over_images[0] < 10 < row.gain.over_images[1]
    assert only(tmp_path).detectable == math.inf


def test_interval_over_images_needs_the_same_images(tmp_path: Path) -> None:
    write(tmp_path, "v1", 50, images=200)
    write(tmp_path, "v2", 51, images=200)
    gain = only(tmp_path).rows[1].gain
    assert gain is not None
    assert gain.over_images is not None
    assert gain.mcnemar is None
    file = tmp_path / "v2" / "seed=1" / "predictions.npz"
    predictions._read.cache_clear()
    np.savez(file, index=np.arange(1, 201), label=np.zeros(200, int), correct=np.ones(200, bool))
    assert no_interval(tmp_path)
    file.write_bytes(b"PK\x03\x04 broken")
    assert no_interval(tmp_path)
    file.unlink()
    assert no_interval(tmp_path)


def no_interval(root: Path) -> bool:
    predictions._read.cache_clear()
    gain = only(root).rows[1].gain
    return gain is not None and gain.over_images is None


def test_no_shared_seed_is_said_and_means_are_tested(tmp_path: Path) -> None:
    for seed in range(4):
        write_run(tmp_path, "v1", seed, 50 + seed / 10)
        write_run(tmp_path, "v2", 10 + seed, 60 + seed / 10)
    gain = only(tmp_path).rows[1].gain
    assert gain is not None
    assert gain.difference.n == 0
    assert gain.unpaired == pytest.approx(2 / 70)
    assert gain.verdict == "not compared (no shared seed; permutation test of the means: p = 0.029)"
    assert gain.means == pytest.approx(10)


def test_folds_are_units_with_a_corrected_test(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for recipe, mean in (("v1", 50), ("v2", 52)):
        for fold in range(5):
            write_run(tmp_path, recipe, 0, mean + rng.normal(0, 0.5), fold=fold, folds=5)
    ladder = only(tmp_path)
    row = ladder.rows[1]
    assert ladder.shape == "ladder"
    assert list(row.runs) == [(0, fold) for fold in range(5)]
    assert row.gain is not None
    found = row.gain.difference
    error = found.sd * math.sqrt(1 / 5 + 1 / 4)
    assert found.p == pytest.approx(2 * stats.t.sf(found.mean / error, 4))
    assert row.gain.over_images is None
    assert row.published == NOTHING
    assert ladder.common["data.folds"] == "5"


def test_folds_of_one_recipe(tmp_path: Path) -> None:
    for fold in range(3):
        write_run(tmp_path, "v2", 0, 50.0 + fold, fold=fold, folds=3)
    alone = only(tmp_path)
    assert (alone.shape, alone.rows[0].acc1) == ("folds", [50.0, 51.0, 52.0])


def test_cost_and_front(tmp_path: Path) -> None:
    """Hours and top-1: the third is dearer and no better, the fourth as good as the second and as dear."""
    hours_and_acc1 = {0: (1.0, 50.0), 1: (3.0, 54.0), 2: (4.0, 53.0), 3: (3.0, 54.0)}
    for number, (hours, acc1) in hours_and_acc1.items():
        write(tmp_path, LADDER[number], acc1, device_seconds=3600 * hours, images_seen=100 * (number + 1))
    rows = only(tmp_path).rows
    assert [row.on_front for row in rows[:1]] == [True]
    assert [row.device_hours for row in rows] == [1.0, 3.0, 4.0, 3.0]
    assert not rows[2].on_front
    assert rows[1].hours_per_point == pytest.approx(2.0 / (rows[1].mean - rows[0].mean))
    assert [row.images for row in rows] == [100, 200, 300, 400]


def test_rows_as_good_for_as_much_are_both_on_the_front(tmp_path: Path) -> None:
    for recipe in ("v1", "v2"):
        write_run(tmp_path, recipe, 0, 50.0)
    assert [row.on_front for row in only(tmp_path).rows] == [True, True]


def test_shared_training_has_its_cost_and_no_best_epoch(tmp_path: Path) -> None:
    write(tmp_path, "r10_ema", 50, device_seconds=7200.0)
    write(tmp_path, "r09_fixres", 49, device_seconds=7200.0, trained_in="../../r10_ema/seed=0")
    first, second = only(tmp_path).rows
    assert (first.label, first.device_hours) == ("r09_fixres", 2.0)
    assert math.isnan(first.best_acc1)
    assert second.best_acc1 == pytest.approx(second.mean)


def in_memory(template: list[RunRecord], acc1: Mapping[tuple[str, int], float]) -> list[RunRecord]:
    """The same runs with other accuracies: no files to write."""
    return [replace(run, result={**(run.result or {}), "acc1": acc1[run.recipe, run.unit[0]]}) for run in template]


def calls(rows: list[Row]) -> list[str]:
    return [row.gain.verdict for row in rows if row.gain is not None and row.gain.verdict in ("helps", "hurts")]


@pytest.mark.parametrize(("effect", "ladders"), [(0.0, 300), (3.0, 60)])
def test_calls_are_as_rare_or_as_frequent_as_they_should_be(tmp_path: Path, effect: float, ladders: int) -> None:
    """4 rungs x 5 seeds. Without any effect, 5% of ladders have a call; a step of 3 sd of a difference is found."""
    write_ladder(tmp_path, dict.fromkeys(LADDER[:4], 0.0), seeds=5)
    template = collect([tmp_path])
    predictions._read.cache_clear()
    for file in tmp_path.glob("*/*/predictions.npz"):
        file.unlink()
    rng = np.random.default_rng(1)
    wrong = found = 0
    for _ in range(ladders):
        noise = rng.normal(0, 0.1, (4, 5))
        noise[2:] += effect * 0.1 * math.sqrt(2)  # one step, from the second rung to the third
        acc1 = {(recipe, seed): 70 + noise[n, seed] for n, recipe in enumerate(LADDER[:4]) for seed in range(5)}
        (ladder,) = compare(in_memory(template, acc1))
        _, first, second, third = ladder.rows
        wrong += bool(calls([first, third]) + (calls([second]) if effect == 0 else []))
        found += calls([second]) == ["helps"]
    assert wrong / ladders <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / ladders)
    if effect:
        assert found / ladders > 0.75
    else:
        assert wrong > 0
