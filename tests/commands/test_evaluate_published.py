"""`recipe evaluate` says what the source published of an evaluation, of an unchanged run on the source's data alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Recipe = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def as_published(photo_run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies of the run, of a recipe that was published on `imagefolder`, with a figure of its test images."""

    def copied(**differences: str) -> Path:
        run = shutil.copytree(photo_run, tmp_path / "run" / "-".join(["copy", *differences]))
        environment: dict[str, Any] = json.loads((run / "environment.json").read_text())
        environment["rung"] |= {
            "on": "imagefolder",
            "published": {"acc1": 96.0},
            "evaluated": [{"split": "test", "acc1": 92.4}],
        }
        environment["differences"] = differences
        (run / "environment.json").write_text(json.dumps(environment))
        return run

    return copied


def test_figure_stands_in_the_row_of_its_evaluation(
    recipe: Recipe, as_published: Callable[..., Path], capsys: Capture
) -> None:
    assert recipe("evaluate", as_published(), "split=test", "data.workers=0") == 0
    assert "(published: 92.40)" in capsys.readouterr().out
    assert recipe("evaluate", as_published(data="imagefolder"), "data.workers=0") == 0
    assert "published" not in capsys.readouterr().out  # of another split
    assert recipe("evaluate", as_published(epochs="3"), "split=test", "data.workers=0") == 0
    assert "published" not in capsys.readouterr().out
