"""`recipe evaluate --report` tells of the images that were asked for; of the run's own from kept predictions."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recipe.run import trained

Recipe = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(photo_run: Path, tmp_path: Path) -> Path:
    """A copy to write to, and its photos."""
    shutil.copytree(photo_run, tmp_path / "run")
    return tmp_path / "run"


def entries(run: Path) -> list[Any]:
    evaluations: list[Any] = json.loads((run / "evaluations.json").read_text())["evaluations"]
    return evaluations


def report(run: Path, name: str) -> Any:
    (found,) = (run / "evaluation").glob(f"{name}-*/report.json")
    return json.loads(found.read_text())


def test_report_on_the_runs_own_setting_needs_no_images(run: Path, recipe: Recipe, capsys: Capture) -> None:
    for file in (run / "checkpoints").iterdir():
        file.unlink()
    config = (run / "config.yaml").read_text()
    data = trained.read(run).config.data.root
    (run / "config.yaml").write_text(config.replace(str(data), "/nowhere"))
    assert recipe("evaluate", run, "--report") == 0
    result = json.loads((run / "result.json").read_text())
    found = report(run, "val-ema")
    assert [found[name] for name in ("acc1", "loss", "images")] == [result["acc1"], result["loss"], 21]
    confusion = np.loadtxt(next(run.glob("evaluation/*/confusion.csv")), str, delimiter=",")[1:, 1:].astype(int)
    kept = np.load(run / "predictions.npz")
    assert confusion.diagonal().sum() == kept["correct"].sum()
    assert confusion.sum(1).tolist() == np.bincount(kept["label"]).tolist()
    assert "größe" in capsys.readouterr().out


def test_report_from_kept_predictions_equals_one_from_the_images(run: Path, recipe: Recipe) -> None:
    assert recipe("evaluate", run, "--report") == 0
    kept = report(run, "val-ema")
    shutil.rmtree(run / "evaluation")
    assert recipe("evaluate", run, "--report", "weights=ema,raw") == 0  # two settings: evaluated
    assert report(run, "val-ema") == kept
    assert report(run, "val-raw") != {**kept, "weights": "raw"}


def test_best_weights_are_those_of_the_best_epoch(run: Path, recipe: Recipe) -> None:
    epoch = json.loads((run / "result.json").read_text())["best"]["epoch"]
    assert epoch == 7  # the last: its weights are in the same file as the final ones
    best = load_file(run / "checkpoints" / "model.safetensors")
    found = trained.network(trained.read(run), torch.device("cpu"), "best").state_dict()
    assert all(torch.equal(found[name], value) for name, value in best.items())
    assert recipe("evaluate", run, "weights=best") == 0
    (entry,) = entries(run)
    assert entry["loss"] == json.loads((run / "result.json").read_text())["best"]["loss"]


def test_test_and_training_images_are_evaluated_as_in_validation(
    run: Path, photo_run: Path, recipe: Recipe, capsys: Capture
) -> None:
    for split, images in (("test", 12), ("train", 48)):
        assert recipe("evaluate", run, f"split={split}", "data.workers=0") == 0
        out = capsys.readouterr().out
        assert f"{images} {'training' if split == 'train' else 'test'} images" in out
        assert "the run's own" not in out
        (one,) = (entry for entry in entries(run) if entry["split"] == split)
        as_val = ("data.val_dir=" + split, f"data.root={photo_run.parent / 'data'}", "data.workers=0")
        assert recipe("evaluate", run, *as_val) == 0
        assert "not the images that the run was validated on" in capsys.readouterr().out
        (other,) = (e for e in entries(run) if e["split"] == "val" and e["images"] == one["images"])
        assert one["loss"] == other["loss"]
        assert one["acc1"] == other["acc1"]
    assert {entry["split"] for entry in entries(run)} <= {"val", "test", "train"}


def test_test_folder_is_the_one_that_is_named(run: Path, photo_run: Path, recipe: Recipe, capsys: Capture) -> None:
    assert recipe("evaluate", run, "split=test", "data.test_dir=val", "data.workers=0") == 0
    (entry,) = entries(run)
    assert entry["loss"] == json.loads((run / "result.json").read_text())["loss"]
    with np.load(run / entry["predictions"]) as kept, np.load(run / "predictions.npz") as own:
        assert set(kept) == {"index", "correct"}
        assert all((kept[name] == own[name]).all() for name in kept)
    capsys.readouterr()
    assert recipe("report", run, "--split", "test", "--no-figures") == 0
    told = capsys.readouterr().out
    assert f"On test images ({entry['number']} images, which chose nothing)" in told
    assert recipe("evaluate", run, "split=test", "data.test_dir=prüfung") == 2
    assert "there is no folder" in capsys.readouterr().err
    data = run.parent / "data"
    shutil.copytree(photo_run.parent / "data" / "val", data / "val")
    assert recipe("evaluate", run, "split=test", f"data.root={data}") == 2
    assert "data.test_dir=…" in capsys.readouterr().err
    shutil.copytree(data / "val", data / "test")
    (data / "test" / "dark").rename(data / "test" / "night")
    assert recipe("evaluate", run, "split=test", f"data.root={data}") == 2
    assert "are not those of the run: it lacks dark; it also has night" in capsys.readouterr().err


def test_report_goes_where_it_is_told(run: Path, recipe: Recipe, tmp_path: Path) -> None:
    assert recipe("evaluate", run, "--report", "--out", tmp_path / "here") == 0
    assert len(list((tmp_path / "here").glob("*/report.txt"))) == 1
    assert not (run / "evaluation").exists()


def test_one_bad_photo_is_left_out_where_that_is_asked_for(
    photo_run: Path, run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(photo_run.parent / "data", tmp_path / "data")
    bad = tmp_path / "data" / "test" / "dark" / "bad.jpg"
    bad.write_bytes(b"no photo")
    where = f"data.root={tmp_path / 'data'}", "split=test"
    assert recipe("evaluate", run, *where) == 2
    assert str(bad) in capsys.readouterr().err
    assert recipe("evaluate", run, *where, "data.on_corrupt=skip", "--report") == 0
    assert "left out, cannot be read: dark/bad.jpg (1 in all)" in capsys.readouterr().out
    assert report(run, "test-ema")["images"] == 12
    assert recipe("evaluate", run, *where, "data.on_corrupt=skpi") == 2
    assert "must be one of fail, skip. Did you mean skip?" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("split=test",), ("weights=raw",), ("resolution.val_resize=40",)], ids=str)
def test_photos_that_have_moved_are_asked_for(
    run: Path, recipe: Recipe, tmp_path: Path, more: tuple[str, ...], capsys: Capture
) -> None:
    config, data = (run / "config.yaml").read_text(), trained.read(run).config.data.root
    (run / "config.yaml").write_text(config.replace(str(data), "/nowhere"))
    assert recipe("evaluate", run, *more) == 2
    error = capsys.readouterr().err
    assert "/nowhere" in error
    assert "data.root=FOLDER" in error
    (tmp_path / "moved" / "train").mkdir(parents=True)
    assert recipe("evaluate", run, f"data.root={tmp_path / 'moved'}", *more) == 2
    assert "data.root=FOLDER" in capsys.readouterr().err
    assert recipe("evaluate", run, f"data.root={data}", *more) == 0
