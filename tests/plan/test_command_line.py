"""Paths as people type them, in Hydra's grammar and in the arguments of commands."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from recipe.errors import ConfigError
from recipe.plan.command_line import for_hydra, is_sweep, quoted, with_home
from recipe.train import main

HOME = os.path.expanduser("~")


def read_back(argument: str) -> object:
    """What Hydra reads of an override: its value, or the values of a sweep."""
    (readable,) = for_hydra([argument])
    assert for_hydra([readable]) == [readable]  # a sweep's jobs are given what the sweep has read
    override = OverridesParser.create().parse_override(readable)
    if override.is_sweep_override():
        return [
            OverridesParser.create().parse_override(f"key={value}").value()
            for value in override.sweep_string_iterator()
        ]
    return override.value()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("data.root=~/photos", f"{HOME}/photos"),
        ("data.root=/data/a=b", "/data/a=b"),
        ("data.root=/data/Anna's photos", "/data/Anna's photos"),
        ('data.root=/data/5" disks', '/data/5" disks'),
        ("data.root=/data/both ' and \"", "/data/both ' and \""),
        ("data.root=/data/fotos für alle", "/data/fotos für alle"),
        ("data.root=/data/\udce9t\udce9", "/data/\udce9t\udce9"),  # not UTF-8
        ("data.root=photos (2)", "photos (2)"),
        ("data.root=[old]/photos", "[old]/photos"),
        ("data.root=2024_01_05", "2024_01_05"),  # to Hydra a number
        ("data.root=1e3", "1e3"),
        ("data.root=true", "true"),
        ("data.root=null", None),
        ('data.root="~/my photos"', f"{HOME}/my photos"),
        ("data.root='/data/a'", "/data/a"),
        (r"data.root=a\,b", "a,b"),
        ("data.val_dir=val=2", "val=2"),
        ("model.weights=outputs/v2~scale=demo/seed=0", "outputs/v2~scale=demo/seed=0"),
        ("model.weights=IMAGENET1K_V1,DEFAULT", ["IMAGENET1K_V1", "DEFAULT"]),
        ("model.weights=package:efficientnet-lite0", "package:efficientnet-lite0"),
        ("hydra.run.dir=runs/seed=3", "runs/seed=3"),
        ("hydra.run.dir=~/runs/a,b~c/${seed}=${now:%Y}", f"{HOME}/runs/a,b~c/${{seed}}=${{now:%Y}}"),
        ("hydra.sweep.dir=/x/${now:%Y-%m-%d}/${now:%H-%M-%S}", "/x/${now:%Y-%m-%d}/${now:%H-%M-%S}"),
        ("hydra.sweep.subdir=${hydra.job.override_dirname}", "${hydra.job.override_dirname}"),
        ("hydra.searchpath=[~/conf,/x/a=b]", [f"{HOME}/conf", "/x/a=b"]),
        ("data=~/photos", f"{HOME}/photos"),
        ("seed=0,1", [0, 1]),
        ("optimizer.betas=[0.9,0.99]", [0.9, 0.99]),
        ("evaluate.grid=[{weights: raw}]", [{"weights": "raw"}]),
        ("optimizer.lr=1/3", "1/3"),
        ("data.root=choice(a,b)", ["a", "b"]),
    ],
)
def test_a_path_is_read_as_it_is_typed(argument: str, value: object) -> None:
    assert read_back(argument) == value


def test_a_comma_is_a_sweep_only_where_it_is_not_part_of_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c,d", "e, f", "v2~data=x,scale=demo/seed=0"):
        (tmp_path / name).mkdir(parents=True)
    assert read_back("data.root=a,b") == ["a", "b"]
    assert read_back("data.root=c,d") == "c,d"
    assert read_back("data.root=e, f") == "e, f"
    assert read_back(f"data.root=a,{tmp_path}/c,d,b") == ["a", f"{tmp_path}/c,d", "b"]
    assert read_back("model.weights=v2~data=x,scale=demo/seed=0") == "v2~data=x,scale=demo/seed=0"
    assert read_back("model.weights=v2~data=x,scale=demo/seed=0,a") == ["v2~data=x,scale=demo/seed=0", "a"]
    assert read_back("data.root=~/x,~/y=z") == [f"{HOME}/x", f"{HOME}/y=z"]


def test_what_is_no_path_is_left_to_hydra() -> None:
    for argument in (
        "--config-dir",
        "+recipe=glob(r*)",
        "optimizer.betas=[0.9",
        "~optimizer.momentum",
        "seed=range(0,3)",
    ):
        assert for_hydra([argument]) == [argument]


def test_flags_may_stand_anywhere() -> None:
    assert for_hydra(["+recipe=v1", "-m", "seed=0,1"]) == ["-m", "+recipe=v1", "seed=0,1"]
    assert is_sweep(["seed=0", "--multirun"])
    assert is_sweep(["hydra.mode=MULTIRUN"])
    assert not is_sweep(["+recipe=v1", "hydra.mode=RUN"])


@pytest.mark.parametrize("argument", ["", " ", "data.root=", "+recipe=", "hydra.run.dir=", "--out=", "seed= "])
def test_an_unset_shell_variable_is_told(
    argument: str, recipe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match="is a shell variable not set"):
        for_hydra([argument])
    assert recipe("report", argument) == 2
    assert "is a shell variable not set" in capsys.readouterr().err


def test_home_is_found_in_every_kind_of_argument() -> None:
    for argument in ("~/a", "--out=~/a", "data.root=~/a", "+data.root=~/a"):
        assert with_home(argument) == argument.replace("~", HOME)
    assert with_home("~") == HOME
    for argument in ("a~/b", "v2~scale=demo", "~nobody-of-this-name/x", "--out", "a b=~/c"):
        assert with_home(argument) == argument


@pytest.mark.parametrize("text", ["a", "a=b,c~d", "it's", '5"', "both ' and \"", "back\\", 'a\\"b', "~", "[x", "ä"])
def test_quoted_text_is_one_value(text: str) -> None:
    assert OverridesParser.create().parse_override(f"key={quoted(text)}").value() == text


SMALL = (
    *("+recipe=v1", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "max_steps=1", "data.workers=0"),
)


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """train.py with these arguments, in tmp_path and in this process."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        main()

    return command


def test_runs_begin_from_and_end_in_folders_of_any_name(train: Callable[..., None], tmp_path: Path) -> None:
    """A run in a folder of the user's own, then one from its weights, under chdir: relative to where it was typed."""
    train(*SMALL, "hydra.run.dir=a,b/x~y=1/seed=0")
    assert (tmp_path / "a,b" / "x~y=1" / "seed=0" / "result.json").exists()
    train(*SMALL, "model.weights=a,b/x~y=1/seed=0", "hydra.run.dir=second", "hydra.job.chdir=true")
    assert json.loads((tmp_path / "second" / "environment.json").read_text())["weights"] is not None


def test_a_folder_of_photos_is_found_from_where_the_command_was_given(
    train: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """hydra.job.chdir moves the process to the run's folder first. (The classes are empty: no training.)"""
    for folder in ("train/cat", "train/dog", "val/cat"):
        (tmp_path / "my=photos" / folder).mkdir(parents=True)
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        train("+recipe=v1", "data=imagefolder", "data.root=my=photos", "hydra.job.chdir=true", "hydra.run.dir=run")
    assert str(tmp_path / "my=photos" / "val") in capsys.readouterr().err
    assert Path.cwd() == tmp_path


def test_a_run_that_is_not_there_is_no_key(recipe: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe("evaluate", "outputs/v2~scale=demo/seed=9") == 2
    assert "there is no folder outputs/v2~scale=demo/seed=9" in capsys.readouterr().err
    assert recipe("evaluate", "~/runs/v2~scale=demo") == 2
    assert f"there is no folder {HOME}/runs/v2~scale=demo" in capsys.readouterr().err
