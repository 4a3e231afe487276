"""Losses are those of the last and of the best epoch, whatever else metrics.jsonl holds; what is not there is NaN."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from synthetic import write_run

from recipe.ladder.reading import histories, losses
from recipe.ladder.reading.collect import collect
from recipe.ladder.reading.records import RunRecord


def run_in(folder: Path, *lines: Any, best: int = 2, epochs: int = 3) -> RunRecord:
    """A run whose best epoch (from 1) and metrics are given."""
    result = json.loads((folder / "result.json").read_text())
    result |= {"epochs": epochs, "loss": 1.25, "best": {**result["best"], "epoch": best - 1, "loss": 1.5}}
    (folder / "result.json").write_text(json.dumps(result))
    if lines:
        (folder / "metrics.jsonl").write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines))
    (found,) = [run for run in collect([folder])]
    return found


def entry(step: int, epoch: int, loss: float | None = None, acc1: float | None = None) -> dict[str, Any]:
    figures = {"train/loss": loss, "train/acc1": acc1}
    return {"step": step, "epoch": epoch, **{name: value for name, value in figures.items() if value is not None}}


def test_losses_are_means_over_the_steps_of_the_last_and_of_the_best_epoch(tmp_path: Path) -> None:
    run = run_in(
        write_run(tmp_path),
        entry(8, 0, 9.0, 5.0),
        entry(10, 0, 7.0, 6.0),
        entry(10, 0) | {"val/acc1": 1.0},
        entry(16, 1, 4.0, 10.0),
        entry(20, 1, 2.0, 20.0),
        entry(20, 1) | {"val/acc1": 2.0},
        "{broken",
        entry(26, 2, 3.0, 30.0),
        entry(30, 2, 1.0, 40.0),
    )
    found = losses.of_run(run)
    assert found.train == pytest.approx((6 * 3 + 4 * 1) / 10)
    assert found.best_train == pytest.approx((6 * 4 + 4 * 2) / 10)
    assert found.train_acc1 == pytest.approx((6 * 30 + 4 * 40) / 10)
    assert (found.val, found.best_val, found.best_epoch) == (1.25, 1.5, 2)
    whole = histories.by_epoch(run.folder)
    assert (whole["train/loss"][3], whole["train/loss"][2]) == pytest.approx((found.train, found.best_train))
    assert whole["train/acc1"][3] == pytest.approx(found.train_acc1)


def test_first_epoch_begins_with_the_run_and_epochs_are_not_taken_for_others(tmp_path: Path) -> None:
    lines = [entry(4 * epoch + 4, epoch, float(epoch)) for epoch in range(21)]
    found = losses.of_run(run_in(write_run(tmp_path), *lines, best=1, epochs=21))
    assert (found.best_train, found.train) == (0.0, 20.0)
    found = losses.of_run(run_in(write_run(tmp_path / "other"), *lines, best=2, epochs=2))
    assert (found.best_train, found.train) == (1.0, 1.0)


def test_what_is_not_there_is_not_known(tmp_path: Path) -> None:
    """Old runs have no accuracy in training, some no metrics; evaluations of another run's training no best epoch."""
    run = run_in(write_run(tmp_path / "old"), entry(10, 0, 2.0), best=1, epochs=1)
    assert math.isnan(losses.of_run(run).train_acc1)
    (run.folder / "metrics.jsonl").unlink()
    found = losses.of_run(run_in(run.folder, best=2, epochs=2))
    assert math.isnan(found.train)
    assert found.val == 1.25
    assert all(map(math.isnan, losses.of_runs([])))


def test_training_of_a_shared_run_is_that_run_s(tmp_path: Path) -> None:
    trained = write_run(tmp_path, "r09_fixres", epochs=3)
    shared = write_run(tmp_path, "r10_ema", trained_in="../../r09_fixres/seed=0", epochs=3)
    (shared / "metrics.jsonl").unlink()
    one, other = (losses.of_run(run) for run in collect([trained, shared]))
    assert one.train == other.train == 2.0
    assert math.isnan(other.best_train)


def test_mean_over_fewer_runs_than_there_are_is_none(tmp_path: Path) -> None:
    runs = collect([write_run(tmp_path, seed=seed) for seed in range(2)])
    assert losses.of_runs(runs).train == 2.0
    (runs[0].folder / "metrics.jsonl").write_text("")
    losses._of_epoch.cache_clear()
    assert math.isnan(losses.of_runs(runs).train)
    assert not math.isnan(losses.of_runs(runs).val)
