"""The look halfway: taken where no evaluation would come before the end, small, shown, and heard of by nothing."""

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from processes import assert_same_ending

from recipe.config import DataConfig
from recipe.data.synthetic import open_split
from recipe.logs.estimate import Speed, run_hours
from recipe.machine.signals import Stopped
from recipe.plan.compose import Plan
from recipe.run.run import train
from recipe.run.trainer import Trainer
from recipe.training.midway import SHARE, Midway, midway, sample

Composer = Callable[..., Plan]
# Everything that draws or averages is on; 4 epochs of 4 steps: 1,024 images are trained on, so that 51 are looked at.
RUN = (
    *("+recipe=v2", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false"),
    *("data=synthetic", "data.size=256", "data.workers=0", "batch_size=64", "micro_batch_size=16", "epochs=4"),
    *("sampler.repetitions=1", "schedule.warmup_epochs=1", "ema.decay=0.9999999"),
    "checkpoint.keep_after_training=true",
)
LOOK = Midway(epoch=1, images=51)
SAID = re.compile(
    r"epoch 2/4  train loss \d\.\d{3} top-1 \d+\.\d\d  val loss \S+ top-1 \d+\.\d\d  ema loss \S+ top-1 \d+\.\d\d  "
    r"\(val: 51 of 64 images\)  \d+\.\d s  \d+ images/s  \d:\d\d:\d\d left"
)


def trained(plan: Composer, folder: Path, *more: str) -> str:
    train(replace(plan(*RUN, *more), folder=folder))
    return (folder / "train.log").read_text()


@pytest.fixture(scope="module")
def whole(plan: Composer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    trained(plan, folder)
    return folder


def test_run_shows_validation_figures_before_its_end(whole: Path) -> None:
    lines = [line for line in (whole / "train.log").read_text().splitlines() if line.startswith("epoch ")]
    assert len(lines) == 4
    assert SAID.fullmatch(lines[1])
    assert not any("val" in line for line in (lines[0], *lines[2:]))


def test_nothing_hears_of_it(plan: Composer, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it weights, averages, statistics, curves, the best epoch and the predictions are the same bits."""
    monkeypatch.setattr("recipe.run.trainer.midway", lambda *_: None)
    assert "val loss" not in trained(plan, tmp_path / "without")
    assert_same_ending(whole, tmp_path / "without")
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if "val/acc1" in row] == [3]
    assert json.loads((whole / "result.json").read_text())["best"]["epoch"] == 3


def test_stopped_in_it_the_run_goes_on_with_the_same_bits(
    plan: Composer, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_batch = Trainer.before_batch

    def signalled(run: Trainer) -> None:
        if run.progress.epoch == LOOK.epoch:
            os.kill(os.getpid(), signal.SIGTERM)
        before_batch(run)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "before_batch", signalled)
        with pytest.raises(Stopped, match="in the evaluation after epoch 2"):
            trained(plan, tmp_path / "run")
    said = trained(plan, tmp_path / "run")
    assert re.search(r"^epoch 2/4  train loss .* \(val: 51 of 64 images\)$", said, re.MULTILINE)
    assert_same_ending(whole, tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "sizes", "expected"),
    [
        ([], (64, 1024), LOOK),
        (["evaluate.every=4"], (64, 1024), LOOK),
        (["evaluate.every=3"], (64, 1024), None),  # one comes before the end anyway
        (["max_steps=20"], (64, 1024), None),
        ([], (50, 1024), Midway(1, 50)),  # all there are
        ([], (64, 980), None),  # of 49 images
        ([], (10**6, 10**6), Midway(1, 50_000)),
    ],
)
def test_it_is_taken_where_no_evaluation_comes_and_is_small(
    plan: Composer, overrides: list[str], sizes: tuple[int, int], expected: Midway | None
) -> None:
    assert midway(plan(*RUN, *overrides).config, 4, *sizes) == expected


def test_it_has_the_same_images_of_all_classes() -> None:
    images = open_split(DataConfig(name="synthetic", size=800, num_classes=10), "val")
    looked_at = sample(images, 50)
    assert Counter(looked_at.labels.tolist()) == dict.fromkeys(range(10), 5)
    assert {looked_at.name(number) for number in range(50)} <= {images.name(number) for number in range(200)}
    assert np.array_equal(sample(images, 200).labels, images.labels)


def test_it_is_counted_in_estimates(plan: Composer) -> None:
    """As if its images were trained on, once the size of the validation set is known."""
    config = plan(*RUN).config
    without, with_it = (run_hours(config, 256, Speed(10.0, 60.0, evaluated)) for evaluated in (0, 64))
    assert (with_it - without) * 3600 == pytest.approx(LOOK.images / 10)
    assert LOOK.images <= SHARE * 4 * 256
