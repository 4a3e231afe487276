"""What people ask of Hydra and the shell beside training: it works, or one sentence says why not."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recipe.errors import ConfigError
from recipe.machine import torchrun
from recipe.plan.compose import PROJECT
from recipe.train import main

WRONG: list[tuple[list[str], str]] = [
    (["-m", "+recipe=v1", "--cfg", "job"], "--cfg shows one run"),
    (["+recipe=v1", "seed=0,1", "--cfg", "job"], "seed=0,1 names several values"),
    (["+recipe=v1", "--resolve"], "--resolve goes with --cfg"),
    (["+recipe=v1", ""], "is a shell variable not set"),
    (["+recipe=v1", "data.root="], "data.root= has no value"),
    (["+recipe=v1", "hydra.run.dir="], "hydra.run.dir= has no value"),
    (["+recipe=v1", "--epochs=3"], "--epochs=3: keys are written without dashes, epochs=3"),
    (
        ["+recipe=v1", "early_stopping=3"],
        "not a value but several keys: early_stopping.loss_below, early_stopping.patience",
    ),
    (
        ["+recipe=v1", "ema=true"],
        "ema=true: a config group takes the name of an option (ema, none), not null or",
    ),
    (
        ["+recipe=v1", "resolution=64"],
        "(fixres, fixres_232, standard), not null or a number; values are given",
    ),
    (["+recipe=v1", "resolution=64"], "resolution.train_crop=…, resolution.train_resize=…"),
    (["+recipe=3"], "+recipe=3: a config group takes the name of an option (ffcv_16, "),
]


@pytest.mark.parametrize(("arguments", "fragment"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], fragment: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    with pytest.raises(SystemExit, check=lambda end: end.code == 2):
        main()
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert fragment in errors


FILES: list[tuple[bytes, str]] = [
    ("# café\n".encode("latin-1"), "own.yaml is not UTF-8 text (byte 0xe9)"),
    ("# café\n".encode("utf-16"), "own.yaml is not UTF-8 text (byte 0xff)"),
    (b"# @package _global_\ndefaults: [own]\n", "recipe/own builds on itself"),
    (
        b"# @package _global_\ndefaults: [r02_trivial_agument]\n",
        "recipe/own builds on recipe/r02_trivial_agument: there is no recipe/r02_trivial_agument. Did you mean r02_",
    ),
    (b"# @package _global_\noptimizer: 3\n", "recipe/own: optimizer is not a value but several keys: optimizer.args"),
]


@pytest.mark.parametrize(
    ("content", "fragment"), FILES, ids=["Latin-1", "UTF-16", "loop", "parent", "a value for a section"]
)
def test_recipes_of_the_users_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, fragment: str
) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "own.yaml").write_bytes(content)
    test_one_sentence(monkeypatch, capsys, [f"--config-dir={tmp_path}", "+recipe=own"], fragment)


@pytest.mark.parametrize("script", [str(PROJECT / "train.py"), "-mrecipe"])
def test_a_folder_that_is_gone(tmp_path: Path, script: str) -> None:
    """The shell still stands in it."""
    folder = tmp_path / "gone"
    folder.mkdir()
    words = ["+recipe=v1"] if script.endswith(".py") else ["report", "."]
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$0"; exec "$@"', folder, sys.executable, script, *words],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"Error: the current folder, {folder}, is not there any more: cd to one that is\n"


def test_empty_variables_are_unset_ones(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("IMAGENET_DIR", "")
    monkeypatch.setattr(sys, "argv", ["train.py", "+recipe=v1", "data=imagenet"])
    with pytest.raises(SystemExit):
        main()
    assert "needs data.root=FOLDER or $IMAGENET_DIR" in capsys.readouterr().err


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets some of the variables, and no others; puts them back."""

    def only(**given: str) -> None:
        for name in (*torchrun.VARIABLES, "TORCHELASTIC_RUN_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return only


def left() -> dict[str, str]:
    return {name: os.environ[name] for name in torchrun.VARIABLES if name in os.environ}


def test_ranks_count_only_where_they_are_whole(environment: Callable[..., None]) -> None:
    whole = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}
    environment(**whole)
    torchrun.check_environment()
    assert left() == whole
    for some in ({"RANK": "1"}, {"WORLD_SIZE": "1", "LOCAL_RANK": "3"}, {"RANK": "x", "WORLD_SIZE": ""}, {}):
        environment(**some)
        torchrun.check_environment()
        assert left() == {}
    environment(RANK="1", WORLD_SIZE="8")
    torchrun.check_environment(of_a_run=False)
    assert left() == {}
    environment(RANK="1", TORCHELASTIC_RUN_ID="x")
    torchrun.check_environment()
    assert left() == {"RANK": "1"}


@pytest.mark.parametrize(
    ("given", "fragments"),
    [
        ({"WORLD_SIZE": "8"}, ["WORLD_SIZE=8", "not RANK, MASTER_ADDR, MASTER_PORT", "env -u WORLD_SIZE python"]),
        ({"RANK": "1", "WORLD_SIZE": "8"}, ["not MASTER_ADDR, MASTER_PORT", "env -u RANK -u WORLD_SIZE"]),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, ["RANK=2 WORLD_SIZE=2"]),
        ({"RANK": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, ["RANK=x"]),
    ],
)
def test_ranks_that_cannot_be_are_refused(
    environment: Callable[..., None], given: dict[str, str], fragments: list[str]
) -> None:
    environment(**given)
    with pytest.raises(ConfigError) as caught:
        torchrun.check_environment()
    for fragment in (*fragments, "torchrun --nproc_per_node"):
        assert fragment in str(caught.value)


def test_a_lonely_rank_is_no_second_process(
    environment: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would train in silence, and evaluate half of the images."""
    environment(RANK="1")
    monkeypatch.setattr(sys, "argv", ["train.py", "+recipe=v1", "epoch=1"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("Error: there is no key epoch")


def test_too_many_open_files_are_told_with_what_helps(tmp_path: Path) -> None:
    import resource

    small = ("scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=64", "data.workers=2", "max_steps=1")
    done = subprocess.run(
        [sys.executable, "train.py", "+recipe=v1", *small, "model.name=shufflenet_v2_x0_5", "log.images=false"],
        cwd=PROJECT,
        env={**os.environ, "RECIPE_OUTPUTS": str(tmp_path)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "Too many open files at once: raise the limit (ulimit -n 4096)" in done.stderr.splitlines()[-1]
