"""`recipe curves` draws the figures that the runs wrote: each run into its folder, and several in one picture."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest
from synthetic import write_run

from recipe.ladder.reading import collect, histories
from recipe.ladder.telling import run_curves

PROJECT = Path(__file__).resolve().parents[2]


def command(*arguments: object, cwd: Path, hidden: str = "pass") -> subprocess.CompletedProcess[str]:
    script = f"import sys; {hidden}; from recipe.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, "curves", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def texts(path: Path) -> str:
    """What an SVG file says: matplotlib leaves each text in a comment beside its outlines."""
    xml.etree.ElementTree.parse(path)
    return path.read_text()


def test_one_run_s_pictures_go_into_its_folder(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "v2", ema=True, differences={"data": "imagenet"}, original=True)
    done = command(folder, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (folder / "curves.png").stat().st_size > 10_000
    said = texts(folder / "curves.svg")
    for text in ("training", "validation, EMA", "top-1, %", "loss", "epochs", "published 80.858"):
        assert f"<!-- {text} -->" in said


def test_several_runs_are_compared_in_one_picture(tmp_path: Path) -> None:
    for seed, epochs in enumerate((3, 5, 2)):
        write_run(tmp_path / "runs", "v2", seed, epochs=epochs)
    done = command(tmp_path / "runs", "--out", tmp_path / "all.svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for seed in range(3):
        assert f"<!-- seed {seed} -->" in texts(tmp_path / "all.svg")


def test_runs_are_drawn_by_the_weights_that_count(tmp_path: Path) -> None:
    """Averaged ones where a run has them; top-1 in the one panel, loss in the other."""
    evaluated = {"step": 10, "epoch": 0, "val/acc1": 50.0, "val/loss": 2.0}
    for seed, ema in enumerate(({}, {"ema/acc1": 60.0, "ema/loss": 1.0})):
        folder = write_run(tmp_path, "v2", seed, ema=bool(ema))
        (folder / "metrics.jsonl").write_text(json.dumps(evaluated | ema))
    plain, averaged = sorted(collect.collect([tmp_path]), key=lambda run: run.unit)
    assert [line.points for line in run_curves.lines_of([plain, averaged])["acc1"]] == [{1: 50.0}, {1: 60.0}]
    assert [line.points for line in run_curves.lines_of([plain, averaged])["loss"]] == [{1: 2.0}, {1: 1.0}]


def test_rungs_with_the_same_differences_are_named_by_their_recipe(tmp_path: Path) -> None:
    for recipe in ("v1", "v2"):
        write_run(tmp_path / "runs", recipe, differences={"optimizer.lr": 0.2})
    assert command(tmp_path / "runs", "--out", tmp_path / "all.svg", cwd=tmp_path).returncode == 0
    assert "<!-- v1 -->" in texts(tmp_path / "all.svg")
    assert "optimizer.lr" not in texts(tmp_path / "all.svg")


@pytest.mark.parametrize(
    ("differences", "original"),
    [
        ({"data": "imagenet", "optimizer.lr": 0.2}, True),
        ({"data": "imagenet", "scale": "small"}, True),
        ({"data": "imagenet"}, False),
        ({"data": "imagefolder"}, True),
        ({}, False),
    ],
)
def test_published_figure_is_drawn_of_the_published_experiment_alone(
    tmp_path: Path, differences: dict[str, object], original: bool
) -> None:
    """Not of another value, another size, other images under the same option, or the demo's photos."""
    config = {"data.name": "grocery"}
    folder = write_run(tmp_path, "v2", differences=differences, config=config, original=original)
    assert command(folder, cwd=tmp_path).returncode == 0
    assert "published" not in texts(folder / "curves.svg")


def test_published_figure_of_an_experiment_is_drawn_on_its_own_data(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "intel_frozen_v1", original=True)
    assert command(folder, cwd=tmp_path).returncode == 0
    assert "<!-- published 89.27 -->" in texts(folder / "curves.svg")
    assert "<!-- published 0.285 -->" in texts(folder / "curves.svg")


def test_published_epochs_are_marked_in_their_panels(tmp_path: Path) -> None:
    write_run(tmp_path, "intel_frozen_v1", original=True)
    write_run(tmp_path, "zoo", original=True)
    intel, zoo = (run_curves.published_of([run]) for run in collect.collect([tmp_path]))
    accuracy, loss = run_curves.marks_of(intel, "acc1"), run_curves.marks_of(intel, "loss")
    assert accuracy.by_epoch == {"acc1": {1: 87.933, 2: 87.6, 10: 89.267}}
    assert loss.by_epoch == {"loss": {1: 0.4, 2: 0.362, 10: 0.285}, "train_loss": {1: 0.685, 2: 0.4, 10: 0.31}}
    assert run_curves.marks_of(zoo, "acc1")[:2] == (96, ", best epoch")
    assert run_curves.marks_of(zoo, "loss").level is None


def test_training_figures_of_an_epoch_are_means_over_its_steps(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = [
        {"step": 3, "epoch": 0, "train/loss": 4.0},
        {"step": 4, "epoch": 0, "train/loss": 8.0},
        {"step": 4, "epoch": 0, "val/loss": 2.0},
        {"step": 6, "epoch": 1, "train/loss": 1.0},  # by a version that counted no hits
        {"step": 8, "epoch": 1, "train/loss": 3.0},
        {"step": 9, "epoch": 2, "train/loss": 3.0, "train/acc1": 10.0},
        {"step": 12, "epoch": 2, "train/loss": 3.0, "train/acc1": 50.0},
    ]
    lines = [*map(json.dumps, rows), '{"step": 13, "ep']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    training = {"train/loss": {1: 5.0, 2: 2.0, 3: 3.0}, "train/acc1": {3: 40.0}}
    assert histories.by_epoch(tmp_path) == {"val/loss": {1: 2.0}, **training}


@pytest.mark.parametrize(
    ("arguments", "hidden", "message"),
    [
        (["nowhere"], "pass", "nowhere is no folder"),
        (["runs", "--out", "all.jpeg"], "pass", "one of .png, .svg, .pdf"),
        (["runs"], "sys.modules['matplotlib'] = None", "pip install -e '.[report]'"),
    ],
)
def test_wrong_use_is_one_message(tmp_path: Path, arguments: list[str], hidden: str, message: str) -> None:
    write_run(tmp_path / "runs", "v2")
    done = command(*arguments, cwd=tmp_path, hidden=hidden)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert message in done.stderr
