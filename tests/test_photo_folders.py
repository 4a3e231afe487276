"""Whole runs on folders of photos as people have them: what they count, say once, and go on with."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photos import encoded, photo
from PIL import Image

from recipe.plan.compose import Plan
from recipe.run.run import train
from recipe.run.trainer import Trainer

SMALL = (  # noqa: SIM905
    "+recipe=r00_baseline scale=demo scale.resolution=0.15 data=imagefolder model.name=shufflenet_v2_x0_5 "
    "batch_size=8 micro_batch_size=4 epochs=2 evaluate.every=1 evaluate.batch_size=4 log.images=false "
    "data.on_corrupt=skip optimizer.lr=0.001"
).split()
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part, count in (("train", 10), ("val", 4)):
        for name in ("ant", "bee"):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.png").write_bytes(encoded(photo(20 + number, 30), "PNG"))
    return tmp_path / "photos"


def add_new_kinds(root: Path) -> None:
    for part in ("train", "val"):
        (root / part / "ant" / "new.avif").write_bytes(encoded(photo(24, 40), "AVIF"))


def test_finished_run_is_found_though_its_folder_holds_images_of_newer_kinds(
    plan: Callable[..., Plan], root: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Where the data has moved, what it is is looked at."""
    train(replace(plan(*SMALL, f"data.root={root}", "data.workers=0"), folder=tmp_path / "run"))
    add_new_kinds(root)
    root.rename(tmp_path / "moved")
    capsys.readouterr()
    train(replace(plan(*SMALL, f"data.root={tmp_path / 'moved'}", "data.workers=0"), folder=tmp_path / "run"))
    assert capsys.readouterr().out.startswith("Finished already")


def test_run_that_was_begun_without_images_of_newer_kinds_goes_on_without_them(
    plan: Callable[..., Plan], root: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = plan(*SMALL, f"data.root={root}", "data.workers=0")
    train_epoch = Trainer.train_epoch

    def stop_before_the_second(run: Trainer, epoch: int) -> None:
        if epoch == 1:
            raise KeyboardInterrupt
        train_epoch(run, epoch)

    monkeypatch.setattr(Trainer, "train_epoch", stop_before_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(replace(composed, folder=tmp_path / "run"))
    monkeypatch.undo()
    before = json.loads((tmp_path / "run" / "environment.json").read_text())["data"]
    add_new_kinds(root)
    train(replace(composed, folder=tmp_path / "run"))
    said = capsys.readouterr().out
    assert f"this run began without: ant/new.avif (1 in {root}/train)" in said
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["data"] == before
    train(replace(composed, folder=tmp_path / "other"))
    said = capsys.readouterr().out
    assert "21 training, 9 validation images" in said
    assert f"images that earlier versions left out: ant/new.avif (1 in {root}/val)" in said


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_photos_of_one_name_are_two_and_deep_ones_are_told_once(
    plan: Callable[..., Plan], root: Path, tmp_path: Path, capsys: Capture, workers: int
) -> None:
    for part in ("train", "val"):
        (root / part / "bee" / "bad.jpg").write_bytes(b"no photo")
        deep = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
        (root / part / "ant" / "deep.tif").write_bytes(encoded(Image.fromarray(deep), "TIFF"))
    composed = plan(*SMALL, f"data.root={root}", f"data.workers={workers}")
    train(replace(composed, folder=tmp_path / "run"))
    said = capsys.readouterr().out.splitlines()
    told = [line for line in said if "was guessed" in line]
    assert told == [
        f"deep images  the range of their values was guessed: {root}/train/ant/deep.tif (taken as 0 to 1) …"
    ]
    assert said[said.index(told[0]) + 1].strip() == "(2 images so far; docs/DATA.md says how)"
    bad = [str(root / part / "bee" / "bad.jpg") for part in ("train", "val")]
    assert (tmp_path / "run" / "unreadable.txt").read_text().splitlines() == bad
    assert json.loads((tmp_path / "run" / "result.json").read_text())["unreadable"] == 2
    assert any(line.startswith("left out     2 images that cannot be read") for line in said)
