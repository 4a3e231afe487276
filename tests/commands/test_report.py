"""`recipe report` as a command: what it writes, prints and refuses."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import write_ladder

PROJECT = Path(__file__).resolve().parents[2]


def report(*arguments: object, columns: int = 80) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "recipe", "report", *map(str, arguments)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": str(columns), "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A ladder of three rungs, the second of which helps."""
    folder = tmp_path / "multirun_outputs"
    write_ladder(folder, {"r00_baseline": 0.0, "r01_lr_optimizations": 3.0, "r02_trivial_augment": 0.01}, seeds=5)
    return folder


def test_report_without_figures(runs: Path, tmp_path: Path) -> None:
    done = report(runs, "--no-figures")
    assert done.returncode == 0, done.stderr
    assert "Ladder from r00_baseline to r02_trivial_augment (data grocery)" in done.stdout
    assert max(map(len, done.stdout.splitlines()[:-1])) <= 80
    helpful, of_losses = (line for line in done.stdout.splitlines() if line.startswith("r01_lr_optimizations "))
    assert helpful.endswith("helps")
    assert re.fullmatch(r"r01_lr_optimizations +2.000 +1.9\d\d +2.000 +1.9\d\d +3", of_losses)
    assert "standard error" not in done.stdout
    assert {path.name for path in (runs / "report").iterdir()} == {"report.md", "rungs.csv", "runs.csv"}
    with (runs / "report" / "runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 15
    again = report(runs, "--no-figures", "--out", tmp_path / "elsewhere" / "deep")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[:-1] == done.stdout.splitlines()[:-1]  # its own output is no run
    assert (tmp_path / "elsewhere" / "deep" / "report.md").read_text().startswith("# Report on")


def test_report_with_everything(runs: Path) -> None:
    done = report(runs, columns=140)
    assert done.returncode == 0, done.stderr
    folder = runs / "report"
    assert (folder / "report.html").read_text().lstrip().startswith("<!")
    assert list(folder.rglob("events.out.tfevents.*"))
    assert list(folder.rglob("*.png")) or list(folder.rglob("*.svg"))
    assert str(folder / "report.html") in done.stdout


def test_wrong_use_is_one_message(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for arguments, message in {
        (tmp_path / "nowhere",): "nowhere is no folder",
        (tmp_path / "file",): "file is no folder",
        (tmp_path / "empty",): "no runs in ",
        (runs, "--out", tmp_path / "file"): "cannot write to ",
    }.items():
        done = report(*arguments, "--no-figures")
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("Error: ")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_report_without_scipy_names_the_extra(runs: Path) -> None:
    hidden = "import sys; sys.modules['scipy'] = None; from recipe.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "report", str(runs)], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "pip install -e '.[report]'" in done.stderr
    assert "Traceback" not in done.stderr
