"""What stands in the way of evaluating a finished run is told in one sentence, and nothing of the run's own is lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from photos import CLASSES, save_photos

Recipe = Callable[..., int]
Capture = pytest.CaptureFixture[str]
OWN = "val-ema-34-34"  # the report's folder


@pytest.fixture
def run(photo_run: Path, tmp_path: Path) -> Path:
    """A copy to write to, and its photos."""
    shutil.copytree(photo_run, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Other photos of the same classes."""
    for split, count in (("train", 4), ("val", 5)):
        for label, name in enumerate(CLASSES):
            save_photos(tmp_path / "other" / split / name, label, count)
    return tmp_path / "other"


def test_other_images_have_a_report_of_their_own(run: Path, other: Path, recipe: Recipe, capsys: Capture) -> None:
    assert recipe("evaluate", run, "--report", "--choose") == 0
    own = {path: path.read_bytes() for path in (run / "evaluation" / OWN).iterdir()}
    choice = json.loads((run / "evaluations.json").read_text())["choice"]
    assert "(the run's own)" in capsys.readouterr().out
    elsewhere = f"data.root={other}", "data.workers=0"
    assert recipe("evaluate", run, *elsewhere, "--report", "--choose") == 0
    said = capsys.readouterr().out
    assert "(the run's own)" not in said
    assert "not the images that the run was validated on" in said
    assert {path: path.read_bytes() for path in own} == own
    (theirs,) = (path for path in (run / "evaluation").iterdir() if path.name != OWN)
    about = json.loads((theirs / "report.json").read_text())
    assert (about["images"], about["data"]) == (15, str(other / "val"))
    assert f"other images  {other / 'val'}" in (theirs / "report.txt").read_text()
    content = json.loads((run / "evaluations.json").read_text())
    assert content["choice"] == choice
    assert [each["images_to_choose"] for each in content["choices_on_other_images"].values()] == [7]
    assert len(content["evaluations"]) == 2
    assert recipe("evaluate", run, *elsewhere, "split=train", "--report") == 0
    assert "not the images that the run was trained on" in capsys.readouterr().out
    assert len(list((run / "evaluation").glob("train-ema-34-34-images-*"))) == 1


def test_the_same_images_at_another_place_are_the_runs_own(
    run: Path, photo_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(photo_run.parent / "data", tmp_path / "moved")
    assert recipe("evaluate", run, f"data.root={tmp_path / 'moved'}", "data.workers=0", "--report") == 0
    assert "(the run's own)" in capsys.readouterr().out
    assert [path.name for path in (run / "evaluation").iterdir()] == [OWN]


@pytest.mark.parametrize("workers", [0, 1])
def test_size_that_the_memory_does_not_hold_says_what_to_lower(
    run: Path, recipe: Recipe, workers: int, capsys: Capture
) -> None:
    assert recipe("evaluate", run, "resolution.val_crop=200000", f"data.workers={workers}") == 2
    error = capsys.readouterr().err
    assert "the memory is too small for 8 images of 200000 px at once: a smaller evaluate.batch_size" in error
    assert "a smaller resolution.val_crop" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    ['{"evaluations": [', "[]", "null", "{}", '{"evaluations": 3}', '{"evaluations": [{}]}', '{"evaluations": [7]}'],
)
def test_broken_evaluations_are_named_before_anything_is_evaluated(
    run: Path, recipe: Recipe, content: str, capsys: Capture
) -> None:
    (run / "evaluations.json").write_text(content)
    assert recipe("evaluate", run, "data.workers=0") == 2
    captured = capsys.readouterr()
    assert f"cannot read {run / 'evaluations.json'} (" in captured.err
    assert "delete it, or move it elsewhere" in captured.err
    assert captured.err.count("\n") == 1
    assert "top-1" not in captured.out
    assert (run / "evaluations.json").read_text() == content


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"name": "v2", "weights": "ema"}'])
@pytest.mark.parametrize("command", ["evaluate", "export", "predict"])
def test_broken_result_is_named(run: Path, recipe: Recipe, command: str, content: str, capsys: Capture) -> None:
    (run / "result.json").write_text(content)
    photos = [next((run.parent.glob("**/*.jpg")), Path("photo.jpg"))] if command == "predict" else []
    assert recipe(command, run, *photos) == 2
    error = capsys.readouterr().err
    assert f"cannot read {run / 'result.json'} (" in error
    assert "resume=never sets this run aside and begins anew" in error
    assert error.count("\n") == 1
