"""Runs of earlier versions stay the same runs: hashes are pinned, new keys stay out of them, old folders are known."""

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import ended, metrics, started

from recipe.config import Config
from recipe.files import unpack
from recipe.plan import hashes
from recipe.plan.compose import Plan
from recipe.plan.hashes import training_hash
from recipe.schema import key

Composer = Callable[..., Plan]

ARCHIVE = (
    Path(__file__).parents[1] / "fixtures" / "runs_0.1.tar.xz"
)  # of synthetic images; the network's weights a pattern
RUN = (  # noqa: SIM905 what they were started with
    "scale=demo data=synthetic data.num_classes=3 data.size=24 data.workers=0 model.name=test_efficientnet "
    "model.source=timm model.freeze=backbone model.frozen_batch_norm=eval resolution.train_crop=32 "
    "resolution.val_resize=32 resolution.val_crop=32 batch_size=8 micro_batch_size=4 sampler.repetitions=1 "
    "schedule.warmup_epochs=0 optimizer.lr=0.05 runtime.device=cpu log.images=false checkpoint.keep=1"
).split()
FINISHED = "r01_lr_optimizations", "v2"  # two seeds each, 4 epochs


@pytest.mark.parametrize(
    ("recipe", "training", "result", "name"),
    [
        ("+recipe=r00_baseline", "09a7c7ac849298f2", "c2910d73a501b6b5", "r00_baseline"),
        ("+recipe=v1", "09a7c7ac849298f2", "c2910d73a501b6b5", "v1"),
        ("+recipe=v2", "c259949597a49d4d", "bb1f6ed408b18859", "v2"),
        ("+recipe=t00_head", "c8711f12f4f68831", "d2dc601103938747", "t00_head"),
        ("+experiment=intel", "6ab28a93740e5ccd", "6ab28a93740e5ccd", "intel"),
    ],
)
def test_hashes_and_names_are_those_of_the_first_version(
    plan: Composer, tmp_path: Path, recipe: str, training: str, result: str, name: str
) -> None:
    found = plan(recipe, f"data.root={tmp_path}")
    assert (found.training_hash, found.result_hash, found.name) == (training, result, name)


def test_a_key_of_a_later_version_changes_no_hash_until_it_is_used(plan: Composer) -> None:
    @dataclass
    class Later(Config):
        later: float = key(0.5, since="0.2")

    config = plan("+recipe=v2").config
    extended = Later(**vars(config))
    assert training_hash(extended) == training_hash(config)
    extended.later = 0.6
    assert training_hash(extended) != training_hash(config)


def test_a_key_that_does_nothing_changes_no_hash_and_no_name(plan: Composer) -> None:
    config = deepcopy(plan("+recipe=v2").config)  # which other tests are given too
    before = training_hash(config)
    config.optimizer.betas = [0.5, 0.5]  # SGD has none
    config.schedule.step_size = 7.0  # nor has a cosine steps
    assert training_hash(config) == before
    config.optimizer.momentum = 0.5
    assert training_hash(config) != before
    recipe = "+recipe=r00_baseline", "optimizer=rmsprop", "optimizer.lr=0.01", "optimizer.weight_decay=0.1"
    assert "optimizer.eps=0.0316" in plan(*recipe).name
    assert "eps" not in plan(*recipe, "optimizer.name=sgd").name


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rungs with two seeds, finished, and a run that was stopped in its 16th of 40 epochs, all by version 0.1."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(ARCHIVE) as archive:
        unpack(archive, folder)
    return folder


def _arguments(outputs: Path) -> list[str]:
    return [*RUN, f"model.weights={outputs / 'start.safetensors'}"]


def test_finished_runs_of_the_first_version_are_found(outputs: Path) -> None:
    folders = [run for name in FINISHED for run in sorted((outputs / "multirun_outputs").glob(f"{name}~*/seed=*"))]
    before = [(run / "result.json").read_bytes() for run in folders]
    assert len(folders) == 4
    again = ended(started(outputs, "-m", f"+recipe={','.join(FINISHED)}", "seed=0,1", *_arguments(outputs), "epochs=4"))
    assert again.returncode == 0, again.stderr
    assert "4 jobs; 4 finished before" in again.stdout
    assert [(run / "result.json").read_bytes() for run in folders] == before
    single = f"hydra.run.dir='{folders[0]}'"
    alone = ended(started(outputs, f"+recipe={FINISHED[0]}", "seed=0", *_arguments(outputs), "epochs=4", single))
    assert "Finished already" in alone.stdout, alone.stderr


def test_finished_runs_of_the_first_version_are_evaluated_and_reported(outputs: Path) -> None:
    run = next((outputs / "multirun_outputs").glob("v2~*/seed=1"))
    result = json.loads((run / "result.json").read_text())

    def recipe(*arguments: object) -> str:
        command = [sys.executable, "-m", "recipe", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout

    for weights in ("raw", "ema"):
        shown = recipe("evaluate", run, f"weights={weights}", "runtime.device=cpu")
        assert f"{result[weights]['acc1']:.2f}" in shown
    report = recipe("report", outputs / "multirun_outputs")
    assert "r01_lr_optimizations" in report
    assert "v2" in report


def test_a_stopped_run_of_the_first_version_goes_on(outputs: Path) -> None:
    folder = next((outputs / "outputs").glob("v2~*/seed=2"))
    before = metrics(folder)
    arguments = [*_arguments(outputs), "epochs=40", "log.every_steps=10", "evaluate.every=5"]
    resumed = ended(started(outputs, "+recipe=v2", "seed=2", *arguments))
    assert resumed.returncode == 0, resumed.stderr
    assert len(list((outputs / "outputs").glob("v2~*/seed=2"))) == 1
    after = metrics(folder)
    assert after[: len(before)] == before
    assert after[-1]["step"] == 120
    assert json.loads((folder / "result.json").read_text())["steps"] == 120


def test_the_archive_holds_folders_that_only_the_former_hashes_find(outputs: Path, plan: Composer) -> None:
    environment = json.loads(next((outputs / "multirun_outputs").glob("v2~*/seed=0/environment.json")).read_text())
    now = plan("+recipe=v2", "seed=0", *_arguments(outputs), "epochs=4")
    assert environment["hashes"] != now.hashes
    assert environment["hashes"] == now.former_hashes
    assert hashes.values_of(now.config, {"weights"})["schedule.step_size"] == 30
