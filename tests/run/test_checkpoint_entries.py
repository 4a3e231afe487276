"""Every entry of a checkpoint counts: a run that goes on without any one of them does not end as the whole one."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import assert_same_ending

from recipe.errors import RunError
from recipe.machine.signals import Stopped
from recipe.plan.compose import Plan
from recipe.run import resume
from recipe.run.checkpoint import Loaded, load_checkpoint, on_host
from recipe.run.progress import RunProgress, state_of
from recipe.run.run import train
from recipe.run.trainer import Trainer

RUN = (
    *("+recipe=v2", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data.workers=0"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "sampler.repetitions=2", "epochs=4"),
    *("schedule=plateau", "schedule.patience=0", "schedule.threshold=0.9", "schedule.gamma=0.5", "ema.decay=0.9999999"),
    *("evaluate.every=1", "log.every_steps=3", "log.images=false", "checkpoint.keep_after_training=true"),
)
STOP_AFTER = 5  # of 8 steps: within the third epoch and between two entries of the log

Entry = Callable[[dict[str, Any], dict[str, Any]], None]


@pytest.fixture(scope="module")
def whole(plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(replace(plan(*RUN), folder=folder))
    return folder


def stop(plan: Plan, folder: Path, after: int) -> None:
    """Train, and send this process a SIGTERM before the end of a step of the run."""
    after_step = Trainer.after_step

    def signalled(run: Trainer, epoch: int, step: int) -> None:
        if epoch * run.order.steps + step == after:
            os.kill(os.getpid(), signal.SIGTERM)
        after_step(run, epoch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "after_step", signalled)
        with pytest.raises(Stopped, match=rf"after step {(after - 1) % 2 + 1} of epoch {(after + 1) // 2}"):
            train(replace(plan, folder=folder))


@pytest.fixture(scope="module")
def interrupted(plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that a signal has stopped."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    stop(plan(*RUN), folder, STOP_AFTER)
    return folder


@pytest.fixture(scope="module")
def fresh(plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a checkpoint would hold before the first step."""
    found: list[dict[str, Any]] = []

    def end(run: Trainer, epoch: int) -> None:
        found.append(on_host(state_of(run.training, RunProgress(), run.identity, 0)))
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", end)
        with pytest.raises(Stopped):
            train(replace(plan(*RUN), folder=tmp_path_factory.mktemp("fresh")))
    return found[0]


@pytest.fixture
def stopped(plan: Callable[..., Plan], interrupted: Path, tmp_path: Path) -> Plan:
    """The plan of a copy of the stopped run."""
    shutil.copytree(interrupted, tmp_path / "stopped")
    return replace(plan(*RUN), folder=tmp_path / "stopped")


def test_stopped_run_ends_as_the_whole_one(stopped: Plan, whole: Path) -> None:
    train(stopped)
    assert_same_ending(whole, stopped.folder)
    rates = {row["train/lr"] for row in map(json.loads, (whole / "metrics.jsonl").open()) if "train/lr" in row}
    assert len(rates) > 1  # the plateau has done something


@pytest.mark.parametrize("after", [1, 4, 8])
def test_run_stopped_at_its_first_step_at_an_epoch_s_end_or_at_its_last_ends_as_the_whole_one(
    plan: Callable[..., Plan], whole: Path, tmp_path: Path, after: int
) -> None:
    stop(plan(*RUN), tmp_path / "stopped", after)
    train(replace(plan(*RUN), folder=tmp_path / "stopped"))
    assert_same_ending(whole, tmp_path / "stopped")
    assert "nan" not in (tmp_path / "stopped" / "train.log").read_text()


def at_the_beginning(path: str) -> Entry:
    """What a run holds before its first step takes the place of what the checkpoint holds."""

    def change(state: dict[str, Any], fresh: dict[str, Any]) -> None:
        *above, name = path.split(".")
        for part in above:
            state, fresh = state[part], fresh[part]
        assert not _equal(state[name], fresh[name]), f"{path} is what it is in a new run: nothing is tested"
        state[name] = fresh[name]

    return change


ENTRIES = [
    *("model", "ema", "optimizer.state", "plateau", "plateau.factor", "plateau.best", "meter", "meter.loss_sums"),
    *("meter.hits", "meter.images", "meter.steps_summed"),
    *("progress", "progress.epoch", "progress.step", "progress.best", "metrics_bytes"),
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_run_that_lacks_an_entry_does_not_end_as_the_whole_one(
    stopped: Plan, whole: Path, fresh: dict[str, Any], monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setattr(resume, "load_checkpoint", changed(lambda state: at_the_beginning(entry)(state, fresh)))
    train(stopped)
    with pytest.raises(AssertionError):
        assert_same_ending(whole, stopped.folder)


def changed(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], Loaded]:
    """`load_checkpoint`, with a change to what it finds."""

    def load(folder: Path) -> Loaded:
        state = load_checkpoint(folder).state
        if state is not None:
            change(state)
        return Loaded(state, [])

    return load


def test_time_before_the_stop_counts(stopped: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = {"seconds": 7200.0, "device_seconds": 14400.0}
    monkeypatch.setattr(resume, "load_checkpoint", changed(lambda state: state["progress"].update(hours)))
    train(stopped)
    result = json.loads((stopped.folder / "result.json").read_text())
    for name, before in hours.items():
        assert before < result[name] < before + 600


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)


@pytest.mark.parametrize("name", ["training", "result", "training set", "validation set"])
def test_checkpoint_of_another_run_is_refused(stopped: Plan, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Someone has copied it there: what the folder itself says of its run does not give it away."""

    monkeypatch.setattr(resume, "load_checkpoint", changed(lambda state: state["identity"].update({name: "another"})))
    with pytest.raises(RunError, match=f"another run's: its {name} differ"):
        train(stopped)
