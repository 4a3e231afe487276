"""Folders, photos, recipes and run folders with faults: one clear message, exit code 2."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipe.train import main

Fault = Callable[[Path], object]
QUICK = [
    "scale=demo",
    "scale.resolution=0.0715",
    "model.name=shufflenet_v2_x0_5",
    "data.workers=0",
    "max_steps=1",
    "log.images=false",
    "checkpoint.keep_after_training=true",
]
SYNTHETIC = ["+recipe=v1", *QUICK, "data=synthetic", "data.size=64", "batch_size=64", "micro_batch_size=32"]
FOLDER = ["+recipe=v1", *QUICK, "data=imagefolder", "batch_size=16", "micro_batch_size=8"]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command with these arguments, in this process, below tmp_path; the error that it ends with, or nothing."""
    monkeypatch.setenv("RECIPE_OUTPUTS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def command(*arguments: str, wrong: bool = True) -> str:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        refusal = pytest.raises(SystemExit, check=lambda end: end.code == 2)
        with refusal if wrong else nullcontext():
            main()
        errors = capsys.readouterr().err
        if not wrong:
            return ""
        assert errors.startswith("Error: ")
        assert errors.count("\n") == 1
        return errors

    return command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixteen photos of two classes to train on, as many to validate on."""
    noise = np.random.default_rng(0)
    for split in ("train", "val"):
        for number in range(16):
            folder = tmp_path / "photos" / split / ("cat", "dog")[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs folder of one finished run."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECIPE_OUTPUTS", str(folder))
        patch.setattr(sys, "argv", ["train.py", *SYNTHETIC])
        main()
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run's folder, where `train` looks for it."""
    shutil.copytree(trained, tmp_path / "runs")
    (found,) = tmp_path.glob("runs/outputs/*/seed=0")
    return found


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def put_a_file_in_its_place(photos: Path) -> None:
    remove(photos / "train")
    write(photos / "train", "x")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


FAULTY_PHOTOS: list[tuple[str, Fault, list[str], list[str]]] = [
    ("no train folder", lambda photos: remove(photos / "train"), [], ["there is no folder", "train"]),
    ("no validation folder", lambda photos: remove(photos / "val"), [], ["val, valid", "data.val_fraction=0.2"]),
    ("another class", lambda photos: (photos / "val/dog").rename(photos / "val/cow"), [], ["only", "dog", "cow"]),
    ("one class", lambda photos: remove(photos / "train/dog"), [], ["at least two class folders", "1"]),
    ("a class without images", lambda photos: (photos / "train/ant").mkdir(), [], ["train/ant", "no images"]),
    (
        "photos without classes",
        lambda photos: remove(photos / "train"),
        ["data.train_dir=."],
        ["at least two class folders"],
    ),
    ("a cut photo", lambda photos: cut(photos / "train/cat/0.jpg"), [], ["train/cat/0.jpg", "cannot read"]),
    ("a cut photo to validate on", lambda photos: cut(photos / "val/dog/3.jpg"), [], ["val/dog/3.jpg", "cannot read"]),
    ("an empty photo", lambda photos: write(photos / "train/cat/0.jpg", ""), [], ["train/cat/0.jpg", "cannot read"]),
    ("a text as photo", lambda photos: write(photos / "train/cat/0.jpg", "x"), [], ["train/cat/0.jpg", "cannot read"]),
    ("a folder as photo", lambda photos: (photos / "train/cat/a.jpg").mkdir(), [], []),
    ("a link to nothing", lambda photos: (photos / "train/cat/a.jpg").symlink_to("/nowhere"), [], ["train/cat/a.jpg"]),
    ("three classes expected", lambda photos: None, ["data.num_classes=3"], ["2 classes", "data.num_classes=3"]),
    ("too few for a step", lambda photos: None, ["batch_size=128", "micro_batch_size=8"], ["16 images"]),
    ("train is a file", put_a_file_in_its_place, [], ["train"]),
    ("other folder names", lambda photos: None, ["data.train_dir=training"], ["there is no folder", "training"]),
    ("a class of one image", lambda photos: write(photos / "train/ant/a.jpg", ""), ["data.val_fraction=0.2"], ["ant"]),
]


@pytest.mark.parametrize(
    ("fault", "options", "fragments"), [case[1:] for case in FAULTY_PHOTOS], ids=[case[0] for case in FAULTY_PHOTOS]
)
def test_faulty_photos_have_one_clear_message(
    train: Callable[..., str], photos: Path, fault: Fault, options: list[str], fragments: list[str]
) -> None:
    fault(photos)
    message = train(*FOLDER, f"data.root={photos}", *options, wrong=bool(fragments))
    for fragment in fragments:
        assert fragment in message


def test_message_stands_alone_where_a_folder_is_given(train: Callable[..., str], tmp_path: Path) -> None:
    """Hydra prints the whole command line above an error that it lets through; `train` takes one line alone."""
    assert "batch_size=0" in train(*SYNTHETIC, "batch_size=0", f"hydra.run.dir={tmp_path / 'run'}")
    assert "no such folder" in train(*FOLDER, f"data.root={tmp_path / 'none'}", f"hydra.run.dir={tmp_path / 'run'}")


FAULTY_RECIPES = [
    ("no YAML", "# @package _global_\ndefaults: [v1, _self_\n", ["mine.yaml", "line"]),
    ("no first line", "defaults: [v1, _self_]\noptimizer: {lr: 0.1}\n", ["# @package _global_"]),
    ("a key that is none", "# @package _global_\ndefaults: [v1, _self_]\noptimizer: {lrr: 1}\n", ["optimizer.lrr"]),
    ("a parent that is none", "# @package _global_\ndefaults: [v11, _self_]\n", ["v11", "Did you mean v1?"]),
    ("a value of another kind", "# @package _global_\ndefaults: [v1, _self_]\nepochs: many\n", ["epochs", "whole"]),
    ("a group that is none", "# @package _global_\ndefaults: [v1, override /optim: adam, _self_]\n", ["optim"]),
    ("an option that is none", "# @package _global_\ndefaults: [v1, override /ema: slow, _self_]\n", ["ema=slow"]),
    ("a list", "- 1\n- 2\n", ["@package _global_"]),
]


@pytest.mark.parametrize(
    ("content", "fragments"), [case[1:] for case in FAULTY_RECIPES], ids=[case[0] for case in FAULTY_RECIPES]
)
def test_faulty_recipe_has_one_clear_message(
    train: Callable[..., str], tmp_path: Path, content: str, fragments: list[str]
) -> None:
    write(tmp_path / "mine/recipe/mine.yaml", content)
    message = train("--config-dir", str(tmp_path / "mine"), "+recipe=mine", *SYNTHETIC[1:])
    for fragment in fragments:
        assert fragment in message


FAULTY_RUNS: list[tuple[str, str, Fault, list[str]]] = [
    ("a result that is no JSON", "result.json", lambda path: write(path, "{"), ["result.json", "resume=never"]),
    ("no environment", "environment.json", lambda path: path.unlink(), ["environment.json", "resume=never"]),
    ("an environment that is no JSON", "environment.json", cut, ["environment.json", "resume=never"]),
    ("a config that is no YAML", "config.yaml", lambda path: write(path, "a: [1"), ["config.yaml", "resume=never"]),
    ("a config of other keys", "config.yaml", lambda path: write(path, "a: 1"), ["config.yaml", "resume=never"]),
]


@pytest.mark.parametrize(
    ("name", "fault", "fragments"), [case[1:] for case in FAULTY_RUNS], ids=[case[0] for case in FAULTY_RUNS]
)
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_faulty_run_folder_has_one_clear_message(
    train: Callable[..., str], run: Path, name: str, fault: Fault, fragments: list[str], finished: bool
) -> None:
    fault(run / name)
    if not finished:
        (run / "result.json").unlink()
    if finished or name == "environment.json":
        message = train(*SYNTHETIC)
        for fragment in fragments:
            assert fragment in message
    else:  # what this file says is known otherwise: the run goes on, and writes it anew
        train(*SYNTHETIC, wrong=False)
        assert json.loads((run / "result.json").read_text())["steps"] == 1
        assert "epochs" in (run / "config.yaml").read_text()


def test_faulty_run_folder_can_be_set_aside(train: Callable[..., str], run: Path) -> None:
    write(run / "environment.json", "{")
    train(*SYNTHETIC, "resume=never", wrong=False)
    assert json.loads((run / "result.json").read_text())["steps"] == 1
    assert (run.with_name("seed=0.old-1") / "environment.json").read_text() == "{"


@pytest.mark.parametrize(
    ("changes", "named", "finished"),
    [
        (["max_steps=2"], "max_steps 1 there, 2 here", True),
        (["optimizer.lr=0.3", "data.size=32"], "data.size 64 there, 32 here; optimizer.lr 0.0", False),
        (["+recipe=r01_lr_optimizations"], "recipe v1 there, r01_lr_optimizations here", True),
        (["scale=small"], "scale demo there, small here", True),
        (["optimizer=adamw", "optimizer.lr=0.001"], "optimizer not given there, adamw here; optimizer.lr 0.0", True),
        (["ema.decay=0.9", "ema.steps=7"], "ema.decay null there, 0.9 here; ema.steps 32 there, 7 here", False),
        (["data.num_classes=5"], "data.num_classes 10 there, 5 here", False),
    ],
    ids=str,
)
def test_of_another_run_only_what_was_changed_is_named(
    train: Callable[..., str], run: Path, changes: list[str], named: str, finished: bool
) -> None:
    """Not what follows from it, or from the data: the classes, the steps of the average."""
    if not finished:
        (run / "result.json").unlink()
    new = {change.split("=")[0] for change in changes}
    kept = [text for text in SYNTHETIC if text.split("=")[0] not in new]
    message = train(*kept, *changes, f"hydra.run.dir={run}")
    (said,) = re.findall(r"holds another run \((.*)\): add resume=never", message)
    assert said.startswith(named)
    assert said.count(" there, ") == len(changes)


def test_a_recipe_whose_file_was_edited_is_another_run(train: Callable[..., str], run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine/recipe/mine.yaml"
    write(mine, "# @package _global_\ndefaults: [v1, _self_]\nseed: 0\n")
    command = ("--config-dir", str(tmp_path / "mine"), "+recipe=mine", *SYNTHETIC[1:], f"hydra.run.dir={tmp_path}/run")
    train(*command, wrong=False)
    write(mine, "# @package _global_\ndefaults: [v1, _self_]\noptimizer: {momentum: 0.5}\n")
    assert "holds another run (optimizer.momentum 0.9 there, 0.5 here)" in train(*command)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_that_may_not_be_written_is_named(train: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o500)
    assert "runs" in train(*SYNTHETIC)


def test_file_in_the_place_of_the_outputs_is_named(train: Callable[..., str], tmp_path: Path) -> None:
    write(tmp_path / "runs", "")
    message = train(*SYNTHETIC)
    assert str(tmp_path / "runs") in message
    assert "RECIPE_OUTPUTS" in message
