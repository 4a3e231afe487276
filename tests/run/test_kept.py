"""What a finished run keeps. Real trainings, real files, and SIGKILL wherever something is written or deleted."""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_checkpoint import killed_at
from torch import Tensor

from recipe.commands import clean
from recipe.errors import RunError
from recipe.network import weights
from recipe.network.model import make_model
from recipe.plan.compose import Plan
from recipe.run import folder as run_folder
from recipe.run import kept, trained
from recipe.run.checkpoint import load_checkpoint, load_tensors
from recipe.run.run import train

Composer = Callable[..., Plan]
Weights = dict[str, Mapping[str, Tensor]]
RUN = (
    *("+recipe=v1", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data.workers=0"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "evaluate.every=1", "log.images=false"),
)
# The best epoch is one before the last: by the loss, which rises at a rate that is too high.
THREE_KINDS = (*RUN, "epochs=3", "ema.decay=0.9999999", "ema.steps=1", "optimizer.lr=3", "checkpoint.best_by=loss")
KEPT = "checkpoint.keep_after_training=true"


def run_of(plan: Composer, folder: Path, *overrides: str) -> Path:
    train(replace(plan(*overrides), folder=folder))
    return folder


@pytest.fixture(scope="module")
def runs(plan: Composer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run twice: "new", and "old" as before there was anything to drop."""
    root = tmp_path_factory.mktemp("runs")
    run_of(plan, root / "new", *THREE_KINDS)
    run_of(plan, root / "old", *THREE_KINDS, KEPT)
    return root


@pytest.fixture
def old(runs: Path, tmp_path: Path) -> Path:
    shutil.copytree(runs / "old", tmp_path / "old")
    return tmp_path / "old"


def names(run: Path) -> set[str]:
    return {path.name for path in (run / "checkpoints").iterdir()}


def weights_of(run: Path) -> Weights:
    return trained.states(trained.read(run), ["raw", "ema", "best"])


def clean_once(run: Path) -> None:
    clean.clean(run)


def assert_same(one: Weights, other: Weights) -> None:
    assert one.keys() == other.keys() == {"raw", "ema", "best"}
    for kind in one:
        assert kept.digest(one[kind]) == kept.digest(other[kind]), kind


def test_finished_run_keeps_each_kind_of_weights_and_no_state(runs: Path) -> None:
    assert {"last.pt", "best.pt", "model.safetensors"} <= names(runs / "old")
    assert names(runs / "new") == {"raw.pt", "best.pt", "model.safetensors", "weights.json"}
    assert_same(weights_of(runs / "new"), weights_of(runs / "old"))
    assert len({kept.digest(state) for state in weights_of(runs / "new").values()}) == 3
    assert load_tensors(runs / "new" / "checkpoints" / "raw.pt").keys() == {"model"}
    one_network = (runs / "new" / "checkpoints" / "model.safetensors").stat().st_size
    assert sum(file.stat().st_size for file in (runs / "new" / "checkpoints").iterdir()) < 3.3 * one_network


@pytest.mark.parametrize("options", [["max_steps=1"], ["early_stopping.patience=1", "optimizer.lr=1e-12"]], ids=str)
def test_equal_weights_are_kept_once(plan: Composer, tmp_path: Path, options: list[str]) -> None:
    """After max_steps the average is a copy; stopped early at a rate of nearly 0, the best are others than the last."""
    copy = ["ema.decay=0.5", "ema.steps=1"] if "max_steps=1" in options else []
    run = trained.read(run_of(plan, tmp_path / "run", *RUN, "epochs=9", *options, *copy))
    once = {"model.safetensors", "weights.json"}
    assert names(run.folder) == (once if copy else once | {"best.pt"})
    assert trained.networks(run, torch.device("cpu"), ["raw", "ema", "best"]).keys() == {
        "raw",
        "best",
        *(["ema"] if copy else []),
    }


def test_old_run_is_cleaned_to_what_a_new_one_keeps(
    runs: Path, old: Path, recipe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before, figures = weights_of(old), (old / "result.json").read_bytes()
    final = (old / "checkpoints" / "model.safetensors").read_bytes()
    assert recipe("clean", old.parent) == 0
    assert "given back by 1 of 1 run\n" in capsys.readouterr().out
    assert names(old) == names(runs / "new")
    assert_same(weights_of(old), before)
    assert (old / "checkpoints" / "model.safetensors").read_bytes() == final  # runs that start from it are called by it
    assert (old / "result.json").read_bytes() == figures
    for kind, expected in (("raw", before["raw"]), ("best", before["best"])):
        assert recipe("export", old, "--weights", kind) == 0
        exported = load_file(old / "export" / f"shufflenet_v2_x0_5-{kind}.safetensors")
        assert kept.digest(exported) == kept.digest(expected)
    assert recipe("clean", old) == 0
    assert "given back by 0 of 1 run\n" in capsys.readouterr().out


@pytest.mark.slow
def test_whatever_moment_of_cleaning_is_its_last_the_weights_are_there(runs: Path, tmp_path: Path) -> None:
    expected = weights_of(runs / "old")
    for call in range(1, 100):
        folder = tmp_path / str(call)
        shutil.copytree(runs / "old", folder)
        was_killed = killed_at(call, True, partial(clean_once, folder))
        assert_same(weights_of(folder), expected)
        clean.clean(folder)
        assert names(folder) == names(runs / "new")
        if not was_killed:
            break
    assert call > 8  # two files flushed, renamed, their folder flushed, two deletions: all of them were the last once


def test_whatever_moment_of_finishing_is_its_last_the_run_is_whole_or_goes_on(
    plan: Composer, runs: Path, tmp_path: Path
) -> None:
    expected, whole = weights_of(runs / "old"), trained.read(runs / "old")
    final = trained.final_evaluation(whole)
    models = {kind: make_model(whole.config, 10) for kind in ("raw", "ema")}
    for kind, model in models.items():
        model.load_state_dict(dict(expected[kind]))
    ended = set()
    for call in range(1, 100):
        folder = tmp_path / str(call)
        shutil.copytree(runs / "old", folder)
        for name in ("result.json", "predictions.npz", "checkpoints/model.safetensors"):
            (folder / name).unlink()
        here = replace(plan(*THREE_KINDS), folder=folder)
        about = {"best": whole.result["best"]}

        def finish(here: Plan = here, about: dict[str, object] = about) -> None:
            run_folder.write_result(here, models, {"raw": final, "ema": final}, [], about)

        was_killed = killed_at(call, True, finish)
        if (folder / "result.json").exists():
            assert_same(weights_of(folder), expected)
            run_folder.drop_checkpoints(here)  # by the same command again
            assert names(folder) == names(runs / "new")
        else:
            assert load_checkpoint(folder / "checkpoints").state is not None
        ended.add((folder / "result.json").exists())
        if not was_killed:
            break
    assert ended == {True, False}


def test_damaged_checkpoint_of_a_finished_run_is_no_source_of_weights(old: Path, recipe: Callable[..., int]) -> None:
    """The one before it holds weights of an earlier step; cleaning would make them those of the end."""
    last = old / "checkpoints" / "last.pt"
    shutil.copy(last, old / "checkpoints" / "last.1.pt")
    last.write_bytes(last.read_bytes()[:1000])
    assert weights_of(old).keys() == {"ema", "best"}
    before = names(old)
    assert recipe("clean", old) == 0
    assert names(old) == before


def test_what_has_not_finished_or_is_at_work_is_left(
    old: Path, recipe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    before = names(old)
    shutil.move(old / "result.json", old / "result")
    assert recipe("clean", old) == 0
    assert "it has not finished" in capsys.readouterr().out
    shutil.move(old / "result", old / "result.json")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        from recipe.files import LOCK, lock

        held = lock(old / LOCK)
        os.write(writing, b"held")
        os.read(os.pipe()[0], 1)  # until it is ended
        assert held is not None
    assert os.read(reading, 4) == b"held"
    try:
        assert recipe("clean", old) == 0
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert "a process is at work in it" in capsys.readouterr().out
    assert names(old) == before
    assert recipe("clean", old / "checkpoints") == 2
    assert "no runs in" in capsys.readouterr().err


def test_runs_that_start_from_a_dropped_file_find_its_weights_under_the_same_name(
    plan: Composer, tmp_path: Path
) -> None:
    folder = run_of(plan, tmp_path / "run", *RUN, "epochs=1", KEPT)
    paths = [str(folder / "checkpoints" / name) for name in ("best.pt", "last.pt")]
    before = [weights.identity(path) for path in paths]
    clean.clean(folder)
    assert names(folder) == {"model.safetensors", "weights.json"}
    assert [weights.identity(path) for path in paths] == before
    assert {weights.file_of(path).name for path in paths} == {"model.safetensors"}
    run_of(plan, tmp_path / "next", *RUN, "max_steps=1", f'model.weights="{paths[0]}"')
    assert (tmp_path / "next" / "result.json").exists()


def test_finished_run_without_its_result_is_not_trained_again_unasked(
    plan: Composer, runs: Path, tmp_path: Path
) -> None:
    shutil.copytree(runs / "new", tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(RunError, match=r"no result\.json: bring that back, or add resume=never"):
        train(replace(plan(*THREE_KINDS), folder=tmp_path / "run"))


def test_room_on_the_disk_is_told_and_about_right(runs: Path) -> None:
    for name in ("new", "old"):
        (line,) = (row for row in (runs / name / "train.log").read_text().splitlines() if row.startswith("disk"))
        assert "free)" in line
        told = line.partition("trains, ")[2].partition(" once")[0]
        held = sum(file.stat().st_size for file in (runs / name).rglob("*") if file.is_file())
        assert float(told.split()[0]) * 1e6 == pytest.approx(held, rel=0.25)


def test_index_that_is_broken_is_as_none(runs: Path, tmp_path: Path) -> None:
    for number, content in enumerate(("", "[]", '{"files": 1, "sha256": {}}', "{")):
        folder = tmp_path / str(number)
        shutil.copytree(runs / "new", folder)
        (folder / "checkpoints" / "weights.json").write_text(content)
        assert trained.states(trained.read(folder), ["ema"]).keys() == {"ema"}
        assert json.loads((folder / "result.json").read_text())["weights"] == "ema"
        assert kept.drop(folder / "checkpoints") == 0
