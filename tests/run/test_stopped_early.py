"""A run that stops early, and which of its epochs is the best. Real trainings, real signals, real processes."""

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
from processes import assert_same_ending, ended, killed, started, steps_logged, when

from recipe.machine.signals import Stopped
from recipe.plan.compose import Plan
from recipe.run import trained
from recipe.run.progress import RunProgress
from recipe.run.run import train
from recipe.run.trainer import Trainer

Composer = Callable[..., Plan]
# A learning rate too small to change a prediction: the first evaluation's top-1 stays the best.
RUN = (
    "checkpoint.keep_after_training=true",
    *("+recipe=v1", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data.workers=0"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "epochs=9", "evaluate.every=1"),
    *("optimizer.lr=1e-12", "log.every_steps=3", "log.images=false", "early_stopping.patience=2"),
)
EPOCHS, STEPS = 3, 2  # done: the first evaluation and two that are no better; steps of an epoch


@pytest.fixture(scope="module")
def whole(plan: Composer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(replace(still(plan), folder=folder))
    return folder


def still(plan: Composer, *more: str) -> Plan:
    return plan(*RUN, *more)


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def rows_of(folder: Path, tag: str) -> list[dict[str, Any]]:
    return [row for row in map(json.loads, (folder / "metrics.jsonl").open()) if tag in row]


def test_run_that_no_longer_rises_stops_and_finishes_as_any_other(whole: Path) -> None:
    result = result_of(whole)
    assert result["epochs"] == EPOCHS
    assert result["steps"] == EPOCHS * STEPS
    assert result["images_seen"] == EPOCHS * 64
    assert result["stopped_early"]["epoch"] == EPOCHS - 1
    assert "2 evaluations in a row without a top-1 above" in result["stopped_early"]["reason"]
    assert len(rows_of(whole, "val/acc1")) == EPOCHS  # each epoch was evaluated once, the last too
    log = (whole / "train.log").read_text()
    assert f"stopped early, after epoch {EPOCHS} of 9" in log
    assert "after 2 evaluations without a better top-1" in log
    assert (whole / "predictions.npz").exists()


def test_its_last_checkpoint_is_that_of_its_end(whole: Path) -> None:
    """What `recipe evaluate` reads is what was evaluated last."""
    state = torch.load(whole / "checkpoints" / "last.pt", weights_only=True)
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (EPOCHS - 1, STEPS)
    networks = trained.networks(trained.read(whole), torch.device("cpu"))
    for name, tensor in networks["raw"].state_dict().items():
        assert torch.equal(tensor, state["model"][name])


def test_schedule_stays_that_of_the_whole_length(plan: Composer, whole: Path, tmp_path: Path) -> None:
    train(replace(still(plan, "early_stopping.patience=null"), folder=tmp_path))
    longer = rows_of(tmp_path, "train/lr")
    assert len(longer) > len(rows_of(whole, "train/lr"))
    for one, other in zip(rows_of(whole, "train/lr"), longer, strict=False):
        assert one["train/lr"] == other["train/lr"]
        assert one["train/loss"] == other["train/loss"]
    assert result_of(tmp_path)["stopped_early"] is None
    assert result_of(tmp_path)["epochs"] == 9


@pytest.mark.parametrize("after", [3, 4, 6])
def test_stopped_by_a_signal_and_resumed_it_ends_as_the_whole_one(
    plan: Composer, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """In the second epoch, at its end, and after the last step before the evaluation that ends the training."""
    folder, after_step = tmp_path / "run", Trainer.after_step

    def signalled(run: Trainer, epoch: int, step: int) -> None:
        if epoch * STEPS + step == after:
            os.kill(os.getpid(), signal.SIGTERM)
        after_step(run, epoch, step)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "after_step", signalled)
        with pytest.raises(Stopped):
            train(replace(still(plan), folder=folder))
    train(replace(still(plan), folder=folder))
    assert_same_ending(whole, folder)


def test_killed_after_it_was_decided_it_ends_as_the_whole_one(
    plan: Composer, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(run: Trainer, found: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "finish", die)
        with pytest.raises(KeyboardInterrupt):
            train(replace(still(plan), folder=tmp_path))
    assert not (tmp_path / "result.json").exists()
    train(replace(still(plan), folder=tmp_path))
    assert_same_ending(whole, tmp_path)


@pytest.mark.slow
def test_two_ranks_stop_at_the_same_epoch_and_a_killed_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    def command(folder: Path) -> tuple[str, ...]:
        return (*RUN, "checkpoint.every_minutes=0.00001", f"hydra.run.dir={folder}")

    for name in ("whole", "killed"):
        folder = tmp_path / name
        if name == "killed":
            process = started(tmp_path, *command(folder), processes=2)
            when(lambda folder=folder: steps_logged(folder) >= 3, process)  # type: ignore[misc]
            killed(process)
        if not (folder / "result.json").exists():
            done = ended(started(tmp_path, *command(folder), processes=2))
            assert done.returncode == 0, done.stderr
        assert result_of(folder)["epochs"] == EPOCHS
    assert_same_ending(tmp_path / "whole", tmp_path / "killed")


def test_a_run_is_not_taken_for_one_that_stops_early(plan: Composer, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(Exception, match=r"early_stopping\.patience 2 there, null here"):
        train(replace(still(plan, "early_stopping.patience=null"), folder=tmp_path / "run"))


def evaluation(acc1: float, loss: float) -> dict[str, float]:
    return {"acc1": acc1, "acc5": 99.0, "balanced_acc1": acc1, "loss": loss}


@pytest.mark.parametrize(
    ("by", "best"),
    [("accuracy", 1), ("loss", 3)],
)
def test_best_is_by_accuracy_or_by_loss_and_the_first_of_equals(by: str, best: int) -> None:
    progress = RunProgress()
    figures = [(40.0, float("nan")), (60.0, 0.9), (60.0, 0.8), (50.0, 0.5), (55.0, 0.5), (10.0, float("nan"))]
    for epoch, figure in enumerate(figures):
        if progress.is_better(evaluation(*figure), by):
            progress.best = {**evaluation(*figure), "epoch": epoch}
    assert progress.best["epoch"] == best


@pytest.mark.parametrize("by", ["accuracy", "loss"])
def test_result_and_best_weights_tell_the_best_epoch_and_all_its_figures(
    plan: Composer, tmp_path: Path, by: str
) -> None:
    train(replace(plan(*RUN[:-4], f"checkpoint.best_by={by}", "log.images=false", "epochs=5"), folder=tmp_path))
    best = result_of(tmp_path)["best"]
    evaluations = [(row["val/acc1"], row["val/loss"]) for row in rows_of(tmp_path, "val/acc1")]
    accuracies, losses = zip(*evaluations, strict=True)
    expected = losses.index(min(losses)) if by == "loss" else accuracies.index(max(accuracies))
    assert (best["epoch"], best["by"], best["weights"]) == (expected, by, "raw")
    assert (best["acc1"], best["loss"]) == evaluations[expected]
    saved = torch.load(tmp_path / "checkpoints" / "best.pt", weights_only=True)
    assert saved["epoch"] == expected
    assert f"(epoch {expected + 1}, by {by})" in (tmp_path / "train.log").read_text()
