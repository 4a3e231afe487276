"""Nobody reads what is printed any more: the work is done all the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.compose import PROJECT

RUN = (
    *("+recipe=v1", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data=synthetic"),
    *("data.size=256", "data.workers=0", "log.images=false", "max_steps=2", "log.every_steps=1"),
)


def unread(*arguments: object, outputs: Path) -> int:
    """The exit code of a command whose output and errors go into a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            cwd=PROJECT,
            env={**os.environ, "RECIPE_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"},
            timeout=240,
        ).returncode
    finally:
        os.close(writer)


def test_training_goes_on_to_its_end(tmp_path: Path) -> None:
    assert unread("train.py", *RUN, f"hydra.run.dir={tmp_path / 'run'}", outputs=tmp_path) == 0
    assert (tmp_path / "run" / "result.json").exists()
    assert "top-1" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.slow
def test_sweep_goes_on_to_its_end(tmp_path: Path) -> None:
    assert unread("train.py", "-m", *RUN, "seed=0,1", outputs=tmp_path) == 0
    assert len(list((tmp_path / "multirun_outputs").glob("*/seed=*/result.json"))) == 2


def test_predictions_are_written(photo_run: Path, tmp_path: Path) -> None:
    photos = photo_run.parent / "data" / "val"
    table, folder = tmp_path / "table.csv", tmp_path / "annotated"
    command = ("-m", "recipe", "predict", photo_run, photos, "--csv", table, "--annotate", folder)
    assert unread(*command, outputs=tmp_path) == 0
    assert len(table.read_text().splitlines()) == 1 + 3 * len(list(folder.rglob("*.jpg"))) == 1 + 3 * 21
