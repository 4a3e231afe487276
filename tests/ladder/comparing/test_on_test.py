"""Verdicts on test images, which chose nothing, beside those of the validation images."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import LADDER, VAL_FINGERPRINT, write_run

from recipe.errors import RunError
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.comparing.data_sets import across
from recipe.ladder.comparing.on_test import compare_with_test_images
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import csv_files, on_test, page, tables
from recipe.ladder.telling.data_sets import tables as data_sets

TEST = "7e57000000000000"  # fingerprint
IMAGES = 400


def write_pair(root: Path, validated: Sequence[float], tested: Sequence[float], recipe: str, **about: Any) -> None:
    """Runs of a recipe with these accuracies, as evaluated on test images with `recipe evaluate`."""
    for seed, (acc1, on_test_images) in enumerate(zip(validated, tested, strict=True)):
        evaluate(write_run(root, recipe, seed, acc1, **about), on_test_images)


def evaluate(folder: Path, acc1: float, keep: bool = True, **changed: Any) -> None:
    """What `recipe evaluate RUN split=test` leaves, beside an evaluation with other weights."""
    config = json.loads((folder / "environment.json").read_text())["config"]
    own = {"weights": "raw", "val_resize": config["resolution.val_resize"], "val_crop": config["resolution.val_crop"]}
    entry = {**own, "acc1": acc1, "acc5": 99.0, "loss": 1.0, "split": "test", "images": TEST, "number": IMAGES}
    if keep:
        (folder / "evaluations").mkdir(exist_ok=True)
        order = np.random.default_rng(0).permutation(IMAGES)
        correct = np.arange(IMAGES) < round(acc1 * IMAGES / 100)
        np.savez(folder / "evaluations" / "test.npz", index=order, correct=correct[order])
        entry["predictions"] = "evaluations/test.npz"
    others = [{**entry, "weights": "best", "acc1": 1.0}, {**entry, "split": "val", "acc1": 2.0}]
    (folder / "evaluations.json").write_text(json.dumps({"evaluations": [*others, {**entry, **changed}]}))


def compared(root: Path) -> list[Comparison]:
    return compare_with_test_images(collect([root]))


def test_a_gain_on_the_validation_images_need_not_be_one_on_the_test_images(tmp_path: Path) -> None:
    write_pair(tmp_path, [50.0, 50.2, 50.1], [40.0, 40.5, 40.25], LADDER[0], images=IMAGES)
    write_pair(tmp_path, [53.0, 53.3, 53.2], [40.25, 40.25, 40.25], LADDER[1], images=IMAGES)
    (found,) = compared(tmp_path)
    test = found.on_test
    assert test is not None
    assert found.rows[1].gain is not None
    assert test.rows[1].gain is not None
    assert found.rows[1].gain.verdict == "helps"
    assert test.rows[1].gain.verdict.startswith("unresolved")
    assert [row.mean for row in test.rows] == [pytest.approx(40.25), pytest.approx(40.25)]
    assert (found.images, test.images) == (IMAGES, IMAGES)
    assert test.rows[1].gain.over_images is not None  # of the predictions on the test images
    assert test.rows[1].gain.over_images[0] < 0 < test.rows[1].gain.over_images[1]
    said = on_test.findings(found)
    assert said[0].startswith(f"On test images ({IMAGES} images, which chose nothing): the one rung")
    assert said[-1] == f"Other than on the validation images: {LADDER[1]} unresolved (validation: helps)."


def test_every_form_of_the_report_has_the_test_images(tmp_path: Path) -> None:
    write_pair(tmp_path / "runs", [50.0, 50.2, 50.1], [40.0, 40.5, 40.25], LADDER[0])
    write_pair(tmp_path / "runs", [53.0, 53.3, 53.2], [45.0, 45.75, 45.25], LADDER[1])
    runs = collect([tmp_path / "runs"])
    report = Report([tmp_path / "runs"], compare_with_test_images(runs), runs)
    page.write(report, {}, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    for told in (tables.text(report, 160), tables.markdown(report), html):
        assert "On test images (400 images, which chose nothing)" in told
        assert "40.25 ± 0.25" in told
        assert "The verdicts are those of the validation images." in told
    assert max(map(len, tables.text(report, 80).splitlines())) <= 80
    _, line = csv.DictReader(csv_files.rungs_csv(report).splitlines())
    assert (line["test_n"], line["test_gain_verdict"]) == ("3", "helps")
    assert float(line["test_gain"]) == pytest.approx(5.0833, abs=1e-3)
    assert float(line["gain"]) == pytest.approx(3.0667, abs=1e-3)


def test_without_kept_predictions_there_is_no_interval_over_images(tmp_path: Path) -> None:
    """And certainly not that of the validation images' predictions, which lie in the same folder."""
    for recipe, start in ((LADDER[0], 50.0), (LADDER[1], 52.0)):
        for seed in range(3):
            evaluate(write_run(tmp_path, recipe, seed, start + seed**2 / 8), start + seed / 4, keep=False)
    (found,) = compared(tmp_path)
    assert found.on_test is not None
    assert found.on_test.rows[1].gain is not None
    assert found.on_test.rows[1].gain.over_images is None
    assert found.rows[1].gain is not None
    assert found.rows[1].gain.over_images is not None


def test_runs_that_were_not_evaluated_are_counted(tmp_path: Path) -> None:
    """An evaluation with other weights, at another size or without figures is none of the run's own."""
    write_pair(tmp_path, [50.0, 50.2, 50.1], [40.0, 40.5, 40.25], LADDER[0])
    evaluate(write_run(tmp_path, LADDER[1], 0, 53.0), 45.0)
    evaluate(write_run(tmp_path, LADDER[1], 1, 53.0), 45.0, val_resize=64)
    evaluate(write_run(tmp_path, LADDER[1], 2, 53.0), 45.0, acc5=None)
    (found,) = compared(tmp_path)
    assert found.on_test is not None
    assert list(found.on_test.rows[1].runs) == [(0, None)]
    assert "Not evaluated on them: 2 runs (recipe evaluate RUN split=test)." in on_test.findings(found)


@pytest.mark.parametrize("evaluated", [False, True])
def test_runs_validated_on_the_test_folder_are_the_test_figures_of_their_trainings(
    tmp_path: Path, evaluated: bool
) -> None:
    """Of all runs, or of those that were not evaluated on it."""
    data = {"train": "trained on", "val": TEST}
    for recipe, start in ((LADDER[0], 50.0), (LADDER[1], 52.0)):
        for seed in range(3):
            validated = {"train": "trained on", "val": VAL_FINGERPRINT}
            run = write_run(tmp_path / "val", recipe, seed, start + seed**2 / 8, data=validated)
            if evaluated and seed == 0:
                evaluate(run, start / 2)
            given = ["data.val_dir=/data/photos/test"]
            write_run(tmp_path / "test", recipe, seed, start / 2 + seed**2 / 8, data=data, overrides=given)
    (found,) = compared(tmp_path)
    assert [row.mean for row in found.rows] == pytest.approx([50 + 5 / 24, 52 + 5 / 24])
    assert found.on_test is not None
    assert [row.mean for row in found.on_test.rows] == pytest.approx([25 + 5 / 24, 26 + 5 / 24])
    (alone,) = compared(tmp_path / "test")
    assert alone.title.endswith(", test images")
    assert alone.on_test is None


def test_several_data_sets_have_their_test_images_too(tmp_path: Path) -> None:
    for data, gain in (("flowers", 1.0), ("food", 2.0)):
        prints = {"train": f"{data} train", "val": f"{data} val"}
        write_pair(tmp_path / data, [50.0, 50.2, 50.1], [40.0, 40.5, 40.25], LADDER[0], data=prints)
        tested = [40.0 + gain, 40.5 + gain, 40.25 + gain]
        write_pair(tmp_path / data, [53.0, 53.2, 53.1], tested, LADDER[1], data=prints)
    by_validation, by_test = across(compared(tmp_path))
    assert [one.gain for one in by_validation.gains[0].by_data if one] == pytest.approx([3.0, 3.0])
    assert [one.gain for one in by_test.gains[0].by_data if one] == pytest.approx([1.0, 2.0])
    assert data_sets.title(by_test).startswith("On the test images of 2 data sets: ")


def test_no_evaluation_on_test_images_is_said_with_the_command(tmp_path: Path) -> None:
    write_run(tmp_path, LADDER[0], 0, 50.0)
    with pytest.raises(RunError, match="split=test"):
        compared(tmp_path)
    (tmp_path / LADDER[0] / "seed=0" / "evaluations.json").write_text("[")
    with pytest.raises(RunError, match="split=test"):
        compared(tmp_path)
