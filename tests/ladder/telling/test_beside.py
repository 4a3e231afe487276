"""Published figures stand beside those of the runs in tables, Markdown, CSV and the page, where they may; else not."""

import csv
import json
from pathlib import Path

import pytest
from synthetic import VAL_FINGERPRINT, write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import csv_files, page, tables


def report_on(root: Path) -> Report:
    runs = collect([root])
    return Report([root], compare(runs), runs)


@pytest.fixture
def intel(tmp_path: Path) -> Report:
    """Two of the four, with the source's numbers of images, two seeds each."""
    for recipe, acc1 in (("intel_frozen_v1", 88.0), ("intel_frozen_v2", 90.0)):
        for seed in range(2):
            about = {"original": True, "epochs": 10, "config": {"epochs": 10}, "images": 60}
            folder = write_run(tmp_path, recipe, seed, acc1 + seed, **about)  # type: ignore[arg-type]
            rows = [{"step": 20, "epoch": 1, "val/acc1": 80.0 + seed, "val/loss": 0.5, "train/loss": 0.75}]
            (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return report_on(tmp_path)


def test_epochs_stand_beside_those_of_the_source(intel: Report, tmp_path: Path) -> None:
    (comparison,) = intel.comparisons
    second = next(line for line in comparison.beside if (line.setting, line.when) == ("intel_frozen_v1", "epoch 2"))
    assert second.figures == {
        "acc1": (87.6, 80.5),
        "loss": (0.362, 0.5),
        "train_loss": (0.4, 0.75),
        "train_acc1": (86.711, pytest.approx(float("nan"), nan_ok=True)),
    }
    for width in (80, 140):
        text = tables.text(intel, width)
        assert max(map(len, text.splitlines())) <= width
        assert any(line.split()[:5] == ["epoch", "2", "87.60", "80.50", "0.362"] for line in text.splitlines())
        assert "Published in “A Detailed Comparison" in text
    assert "90.87 (+1.60)" in tables.text(intel, 200)
    assert "| intel_frozen_v1 | epoch 2 | 87.60 | 80.50 | 0.362 | 0.500 |" in tables.markdown(intel)
    page.write(intel, {}, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text()
    assert html.count("Published, and here (mean over the runs)") == 2  # caption and label
    assert ">87.60</td>" in html
    rows = list(csv.DictReader(csv_files.rungs_csv(intel).splitlines()))
    assert [row["published_acc1"] for row in rows] == ["89.27", "90.87"]
    assert [row["published_on"] for row in rows] == ["", ""]


@pytest.mark.parametrize("differences", [None, {"scale": "demo"}], ids=str)
def test_withheld_on_other_data_and_at_another_size(tmp_path: Path, differences: dict[str, str] | None) -> None:
    where = "on Intel's scenes" + (" without scale=demo" if differences else "")
    for seed in range(2):
        write_run(tmp_path, "intel_frozen_v2", seed, 90.0, differences=differences, original=bool(differences))
    report = report_on(tmp_path)
    page.write(report, {}, tmp_path / "page.html")
    told = (tables.text(report, 200), tables.markdown(report), csv_files.rungs_csv(report))
    for text in (*told, (tmp_path / "page.html").read_text().replace("&#x27;", "'")):
        assert "90.87" not in text
        assert where in text
        assert "A Detailed Comparison" not in text
    assert report.comparisons[0].beside == []


def test_best_epoch_and_test_images_stand_beside_the_source_s(tmp_path: Path) -> None:
    """The zoo: its best epoch beside the last one, and `recipe evaluate` of the best weights on the test images."""
    for seed in range(2):
        folder = write_run(tmp_path, "zoo", seed, 93.0, best=95.0 + seed, original=True)
        entry = {"weights": "best", "val_resize": 256, "val_crop": 224, "acc1": 91.0 + seed, "loss": 0.1}
        entries = [
            entry | {"split": "test", "images": "of the test", "number": 409},
            entry | {"split": "val", "images": VAL_FINGERPRINT, "acc1": 1.0, "number": 100},
            entry | {"split": "test", "images": "of fewer", "acc1": 2.0, "number": 40},
        ]
        (folder / "evaluations.json").write_text(json.dumps({"evaluations": entries}))
    report = report_on(tmp_path)
    best, test = report.comparisons[0].beside
    assert (best.when, best.figures) == ("best epoch", {"acc1": (96, 95.5)})
    assert (test.when, test.figures) == ("split=test weights=best", {"acc1": (92.4, 91.5)})
    shown = {column.key: column.cells for column in tables.fitted(report.comparisons[0], 80)[0]}
    assert (shown["best_epoch"], shown["published"]) == (["95.50"], ["96.00 best"])
    (folder / "evaluations.json").write_text("{")
    assert report_on(tmp_path).comparisons[0].beside[1].figures["acc1"][0] == 92.4  # and no figure of fewer runs
