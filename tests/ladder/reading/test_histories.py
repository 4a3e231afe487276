"""Curves hold what metrics.jsonl says, whatever else stands in it, of the weights that count."""

import json
from pathlib import Path

import pytest
from synthetic import write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading import histories
from recipe.ladder.reading.collect import collect


def report_of(root: Path) -> Report:
    runs = collect([root])
    return Report([root], compare(runs), runs)


def only(root: Path) -> Comparison:
    (comparison,) = report_of(root).comparisons
    return comparison


def test_curve_of_the_weights_that_count(tmp_path: Path) -> None:
    """Those averaged, where the recipe averages them."""
    folder = write_run(tmp_path, "v2", 0, 60.0, ema=True)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if "val/acc1" in line:
            line["val/acc1"] = 1.0
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert histories.validation(only(tmp_path).rows[0].runs.values()).mean == pytest.approx([20, 40, 60])


def test_broken_lines_of_metrics_are_left_out(tmp_path: Path) -> None:
    whole = [{"step": 10, "epoch": 0, "val/acc1": 5.0}, {"step": 20, "epoch": 1, "val/acc1": None}]
    others = ['{"step": 30, "epoch": 2, "val/ac', '["val/acc1"]', '{"val/acc1": 7}', "\xff\xfe", ""]
    last = '{"step": 40, "epoch": 3, "val/acc1": 9, "val/loss": 1.5}'
    (tmp_path / "metrics.jsonl").write_text("\n".join([*map(json.dumps, whole), *others, last]), encoding="latin-1")
    assert histories.read(tmp_path, "val/acc1") == {"val/acc1": {10: 5.0, 40: 9.0}}
    assert histories.read(tmp_path) == {"val/acc1": {10: 5.0, 40: 9.0}, "val/loss": {40: 1.5}}
    assert histories.read(tmp_path / "nowhere") == {}


def test_mean_curve_has_the_steps_that_all_seeds_have(tmp_path: Path) -> None:
    band = histories.band([{1: 1.0, 2: 2.0, 3: 3.0}, {2: 4.0, 3: 5.0, 4: 9.0}])
    assert band.steps.tolist() == [2, 3]
    assert band.mean.tolist() == [3, 4]
    assert len(histories.band([]).steps) == len(histories.band([{1: 1.0}, {}]).steps) == 0
