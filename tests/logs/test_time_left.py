"""What is said of the time left: after a resume, after a first step that compiles, with max_steps, in a sweep."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recipe.data.decode import Picture, picture_of
from recipe.data.synthetic import RandomImages
from recipe.logs import console, estimate
from recipe.logs.run_view import RunView
from recipe.plan.compose import Plan
from recipe.run.run import train
from recipe.run.trainer import Trainer
from recipe.sweep.jobs import Job
from recipe.sweep.overview import Clock

SMALL = (
    *("+recipe=r00_baseline", "scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=64"),
    *("model.name=shufflenet_v2_x0_5", "data.workers=0", "log.images=false", "evaluate.every=1"),
    *("batch_size=8", "micro_batch_size=8"),
)
IMAGES, STEPS = 64, 8  # of an epoch
AN_IMAGE = 0.01  # seconds
FIRST = 3.0  # seconds that the first step takes beside its images, as if something were compiled


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Runs load slowly, and slowest at their start; what they say of the time left, and when they say it."""
    said: list[tuple[float, float]] = []
    image, trained = picture_of(torch.randint(256, (3, 16, 16), dtype=torch.uint8)), set[int]()
    left = estimate.seconds_left

    def open_slowly(images: RandomImages, index: int) -> Picture:
        first = len(images) == IMAGES and id(images) not in trained
        trained.add(id(images))
        time.sleep(FIRST if first else AN_IMAGE)
        return image

    def noted(run: RunView, epoch: int) -> float | None:
        seconds = left(run, epoch)
        if seconds is not None:
            said.append((seconds, time.monotonic()))
        return seconds

    monkeypatch.setattr(RandomImages, "open", open_slowly)
    monkeypatch.setattr(console, "seconds_left", noted)
    return said


def assert_right(said: tuple[float, float], end: float) -> None:
    seconds, at = said
    assert end - at == pytest.approx(seconds, rel=0.5, abs=0.5)


def test_time_left_is_that_of_the_steps_of_this_start(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimates: list[tuple[float, float]]
) -> None:
    composed = replace(plan(*SMALL, "epochs=5"), folder=tmp_path)
    after_step = Trainer.after_step

    def stop_in_the_second(run: Trainer, epoch: int, step: int) -> None:
        after_step(run, epoch, step)
        if (epoch, step) == (1, STEPS - 2):
            run.save(epoch, step)
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "after_step", stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(composed)
    monkeypatch.setattr(Trainer, "after_step", after_step)
    estimates.clear()
    train(composed)
    assert len(estimates) >= 3  # not after the two steps that were left of the second epoch
    assert_right(estimates[0], time.monotonic())


@pytest.mark.slow
def test_first_evaluation_is_not_taken_for_all_others(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimates: list[tuple[float, float]]
) -> None:
    """On a GPU convolutions are tried out in it."""
    before_batch, first = Trainer.before_batch, [True]

    def slow(run: Trainer) -> None:
        before_batch(run)
        if first:
            time.sleep(first.pop() * FIRST)

    monkeypatch.setattr(Trainer, "before_batch", slow)
    train(replace(plan(*SMALL, "epochs=6"), folder=tmp_path))
    assert_right(estimates[0], time.monotonic())


def test_time_left_ends_with_max_steps(
    plan: Callable[..., Plan], tmp_path: Path, estimates: list[tuple[float, float]]
) -> None:
    train(replace(plan(*SMALL, "epochs=1000", "schedule.step_size=300", f"max_steps={STEPS + 1}"), folder=tmp_path))
    (first, at), *_ = estimates
    assert first < 1.5 * (time.monotonic() - at) + 0.3  # a step and an evaluation, not an epoch
    log = (tmp_path / "train.log").read_text()
    assert f"max_steps={STEPS + 1}: it ends after step 1 of epoch 2" in log


def test_few_steps_say_that_they_are_few(plan: Callable[..., Plan], tmp_path: Path) -> None:
    train(replace(plan(*SMALL, "max_steps=2"), folder=tmp_path))
    log = (tmp_path / "train.log").read_text()
    assert "the first steps are the slowest, and there were no others: max_steps=50 says more" in log
    assert "whole run" in log


def job_of(plan: Callable[..., Plan], folder: Path, *overrides: str) -> Job:
    return Job((), replace(plan("+recipe=v1", "scale=demo", "data=synthetic", *overrides), folder=folder))


def log(job: Job, *rows: dict[str, Any]) -> None:
    job.folder.mkdir(exist_ok=True)
    (job.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_sweep_s_time_left_is_that_of_its_longest_way(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Three alike on two places: two rounds, not one and a half."""
    jobs = [job_of(plan, tmp_path / str(number), "epochs=10") for number in range(3)]
    log(jobs[0], {"step": 40, "epoch": 3, "train/loss": 1.0}, {"step": 40, "epoch": 3, "val/acc1": 9.0})  # resumed
    clock = Clock(jobs, 2)
    assert clock.left(5.0, ()) is None  # nothing done by this sweep
    for job in jobs[:2]:
        log(job, {"step": 50, "epoch": 4, "train/loss": 1.0}, {"step": 50, "epoch": 4, "val/acc1": 9.0})
    # 1 + 5 epochs in 60 seconds of jobs: 10 s an epoch; the first two need 5 more, then the third its 10.
    assert clock.left(60.0, ()) == pytest.approx(150)
    # One that failed has nothing left, and has not been fast. One that stopped early neither.
    assert clock.left(60.0, {jobs[2]}) == pytest.approx(50)
    assert clock.left(60.0, set(jobs)) == 0


def test_a_sweep_s_time_left_ends_with_max_steps(plan: Callable[..., Plan], tmp_path: Path) -> None:
    jobs = [
        job_of(plan, tmp_path / str(number), "epochs=600", "schedule.step_size=200", "max_steps=50")
        for number in range(2)
    ]
    clock = Clock(jobs, 1)
    log(jobs[0], {"step": 25, "epoch": 0, "train/loss": 1.0})
    assert clock.left(10.0, ()) == pytest.approx(30)
