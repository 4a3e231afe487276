"""The CSV files say the same as the comparison: a line for each row of a table, a line for each run."""

import csv
import io
import math
import shutil
from pathlib import Path

import pytest
from synthetic import LADDER, write_ladder, write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import csv_files


def report_on(root: Path) -> Report:
    runs = collect([root])
    return Report([root], compare(runs), runs)


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """A ladder with a clear gain, a clear loss and noise; lost runs; a sweep; a trial."""
    gains = dict(zip(LADDER, [0, 2.0, 0.02, -1.5, 0.05], strict=False))
    write_ladder(tmp_path, gains, seeds=5, sd=0.1)
    write_ladder(tmp_path, {"r12_repeated_augmentation": 5.0}, seeds=5, sd=0.1)
    (tmp_path / LADDER[2] / "seed=4" / "result.json").unlink()
    shutil.rmtree(tmp_path / LADDER[3] / "seed=4")
    for seed in range(5):
        for rate in (0.25, 1.0):
            write_run(tmp_path, LADDER[1], seed, 50 + rate + seed / 9, differences={"optimizer.lr": rate})
    write_run(tmp_path, "v1", differences={"max_steps": 3})
    return report_on(tmp_path)


def test_csv_holds_every_figure(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_files.rungs_csv(report))))
    rows = [(comparison, row) for comparison in report.comparisons for row in comparison.rows]
    assert len(lines) == len(rows)
    for line, (comparison, row) in zip(lines, rows, strict=True):
        assert (line["setting"], int(line["n"]), int(line["planned"])) == (row.name, len(row.runs), row.planned)
        for name, value in {"acc1_mean": row.mean, "acc1_sd": row.sd, "acc1_max": row.highest}.items():
            assert float(line[name]) == value
        assert float(line["detectable"]) == comparison.detectable
        assert int(line["on_front"]) == row.on_front
        if row.gain is None:
            assert line["gain"] == line["gain_p"] == ""
            continue
        found = row.gain.difference
        assert [float(line[f"gain_{name}"]) for name in ("low", "high", "p")] == [found.low, found.high, found.p]
        assert float(line["gain"]) == found.mean
        assert float(line["gain_p_holm"]) == row.gain.paired_adjusted
        assert row.total is not None
        assert float(line["total_p_holm"]) == row.total.paired_adjusted
        assert line["gain_verdict"] == row.gain.verdict
        assert row.gain.over_images is not None
        assert float(line["gain_images_low"]) == row.gain.over_images[0]
        assert line["gain_bca_low"] == ""  # 5 seeds
        assert math.isnan(row.hours_per_point) == (line["hours_per_point"] == "")


def test_csv_has_a_line_for_every_run(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_files.runs_csv(report))))
    assert [line["folder"] for line in lines] == [str(run.folder) for run in report.runs]
    assert [line["state"] for line in lines] == [run.problem or "finished" for run in report.runs]
    assert sum(line["state"] == "a trial of 3 steps" for line in lines) == 1
    assert sum(line["state"] == "not finished" for line in lines) == 1
    for line, run in zip(lines, report.runs, strict=True):
        assert line["acc1"] == ("" if run.result is None else str(run.result["acc1"]))
