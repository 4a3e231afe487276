"""The report on an evaluation fits a terminal, and its files hold every class."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipe.finished.evaluation import report as reports
from recipe.finished.evaluation.measures import Measures, describe

SETTING = {"split": "val", "weights": "ema", "val_resize": 232, "val_crop": 224}


def described(num_classes: int, per_class: int = 10) -> Measures:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(num_classes), per_class)
    logits = random.normal(0, 1, (len(labels), num_classes)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += random.normal(3, 2, len(labels))
    correct = logits.argmax(1) == labels
    names = [f"a class with quite a long name {number}" for number in range(num_classes)]
    figures = {"acc1": 100 * float(correct.mean()), "acc5": 90.0, "balanced_acc1": 50.0, "loss": 1.5}
    order = random.permutation(len(labels))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    return describe(
        "v2~something, seed 0", SETTING, names, figures, (logits.astype(np.float16), labels, correct), halves
    )


@pytest.mark.parametrize("num_classes", [2, 14, 100, 1000])
def test_lines_fit_a_terminal(num_classes: int) -> None:
    lines = list(reports.lines(described(num_classes)))
    assert max(map(len, lines)) <= 80
    assert sum("a class" in line for line in lines) == min(num_classes, reports.WORST)


def test_worst_classes_come_first() -> None:
    report = described(100)
    recalls = [score.recall for score in reports.worst(report.scores)]
    assert recalls == sorted(score.recall for score in report.scores)[:20]


@pytest.mark.parametrize("num_classes", [6, 14, pytest.param(100, marks=pytest.mark.slow), 1000])
def test_files_hold_every_class(num_classes: int, tmp_path: Path) -> None:
    report = described(num_classes)
    assert reports.write(report, tmp_path) == []
    with (tmp_path / "classes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == report.classes
    assert sum(int(row["hits"]) for row in rows) == round(report.figures["acc1"] / 100 * report.images)
    with (tmp_path / "confusion.csv").open() as file:
        (_, *header), *body = csv.reader(file)
    assert header == [name for name, *_ in body] == report.classes
    assert np.array_equal(np.array([row[1:] for row in body], dtype=int), report.confusion)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["acc1_interval"][0] < content["acc1"] < content["acc1_interval"][1]
    assert content["calibration"]["ece"] > 0
    for name in ("confusion", "reliability"):
        assert (tmp_path / f"{name}.svg").read_text().lstrip().startswith("<?xml")
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) >= 1000
            assert max(picture.size) <= 4000


def test_classes_are_named_on_the_picture_where_they_fit(tmp_path: Path) -> None:
    for num_classes, named in ((6, True), (100, True), (200, False)):
        reports.write(described(num_classes), tmp_path)
        assert ("<!-- a class with quite a lo… -->" in (tmp_path / "confusion.svg").read_text()) == named


def test_network_that_diverged_has_no_calibration(tmp_path: Path) -> None:
    labels = np.array([0, 1, 0, 1])
    logits = np.full((4, 2), np.nan, dtype=np.float16)
    figures = {"acc1": 50.0, "acc5": 100.0, "balanced_acc1": 50.0, "loss": float("nan")}
    halves = np.array([0, 1]), np.array([2, 3])
    report = describe("v2, seed 0", SETTING, ["a", "b"], figures, (logits, labels, labels == 0), halves)
    assert "infinite or NaN" in "\n".join(reports.lines(report))
    reports.write(report, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["loss"] is None


def test_without_matplotlib_the_rest_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "recipe.finished.evaluation.pictures", raising=False)
    monkeypatch.delattr("recipe.finished.evaluation.pictures", raising=False)
    (remark,) = reports.write(described(3), tmp_path)
    assert remark == "Pictures need matplotlib: pip install -e '.[report]'"
    assert {path.name for path in tmp_path.iterdir()} == {"report.txt", "report.json", "classes.csv", "confusion.csv"}
