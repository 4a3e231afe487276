"""Training loss and top-1 that are logged count each micro-batch once, resumed or not, on any number of ranks; of
gradients that are not finite the first step is told.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn

from recipe.data.loader import TrainLoader
from recipe.ladder.reading import histories
from recipe.logs.journal import Journal
from recipe.machine.distributed import Ranks
from recipe.training.meter import EpochSums, NotFiniteError, TrainMeter

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))


@pytest.mark.parametrize(
    ("rank", "world_size", "own", "hits"),
    [(0, 2, 1.0, (3, 8)), (1, 2, 2.0, (4, 7)), (0, 1, 3.0, (7, 15)), (0, 4, 3.0, (7, 15)), (1, 4, 0.0, (0, 0))],
)
def test_what_was_summed_before_a_stop_is_in_the_next_entry_once(
    tmp_path: Path, rank: int, world_size: int, own: float, hits: tuple[int, int]
) -> None:
    """On as many ranks, each goes on with its own sum, to the last bit; on another number rank 0 takes them all."""
    ranks = Ranks(rank, world_size, rank, world_size, torch.device("cpu"))
    meter = TrainMeter(Journal(tmp_path, ALONE, 0, 0), ranks, steps=10, every=5, last=10)
    state = {"loss_sums": [1.0, 2.0], "steps_summed": 2}
    meter.load_state_dict({**state, "hits": [3, 4], "images": [8, 7], "of_epoch": asdict(EpochSums(0))})
    assert meter._loss_sum.item() == own
    assert (meter._hits.sum().item(), meter._images_summed) == hits
    assert meter._steps_summed == 2
    meter.load_state_dict(state)  # of a version that counted no hits
    assert (meter._loss_sum.item(), meter._hits.sum().item(), meter._images_summed) == (own, 0, 0)


NO_LOADER = cast(TrainLoader, SimpleNamespace(wait_seconds=0.0))


def count_steps(meter: TrainMeter, steps: range) -> None:
    """Steps of two micro-batches of the first epoch, of 4 and 3 images; of all of a step as many are hit as its number.

    Half of the targets are mixed, and what is hit is the larger part.
    """
    for step in steps:
        hits = torch.arange(7) < step
        for part in (hits[:4], hits[4:]):
            targets = torch.zeros(len(part), 5)
            targets[:, 3], targets[::2, 3], targets[::2, 1] = 1, 0.6, 0.4
            logits = torch.nn.functional.one_hot(torch.where(part, 3, 1), 5) - 7.0
            meter.add(torch.tensor(1.0), len(part) / 7, logits, targets)
        meter.step_done(0, step, 0.1)


def entries(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in ("step", "train/acc1")} for row in rows]


def test_top1_is_the_share_of_images_whose_largest_target_is_hit(tmp_path: Path) -> None:
    """Of an epoch's 8 steps, 3 steps to an entry; the epoch's figure is the mean over its steps."""
    expected = [(3, (0 + 1 + 2) / 21), (6, (3 + 4 + 5) / 21), (8, (6 + 7) / 14)]
    meter = TrainMeter(Journal(tmp_path, ALONE, 0, 0), ALONE, steps=8, every=3, last=80)
    meter.start_epoch(0, NO_LOADER)
    count_steps(meter, range(8))
    assert entries(tmp_path) == [{"step": step, "train/acc1": pytest.approx(100 * hit)} for step, hit in expected]
    assert meter.of_epoch.acc1 == pytest.approx(100 * 28 / 56)
    assert histories.by_epoch(tmp_path) == {}  # without an evaluation there are no curves
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "epoch": 0, "val/acc1": 1.0}\n')
    assert histories.by_epoch(tmp_path)["train/acc1"] == {1: meter.of_epoch.acc1}


@pytest.mark.parametrize("done", [1, 3, 4, 7])
def test_figures_of_an_epoch_are_the_same_to_the_last_bit_after_a_stop_within_it(tmp_path: Path, done: int) -> None:
    whole = TrainMeter(Journal(tmp_path, ALONE, 0, 0), ALONE, steps=8, every=3, last=80)
    whole.start_epoch(0, NO_LOADER)
    count_steps(whole, range(done))
    state = whole.state_dict()
    count_steps(whole, range(done, 8))
    before = entries(tmp_path)
    (tmp_path / "other").mkdir()
    other = TrainMeter(Journal(tmp_path / "other", ALONE, 0, 0), ALONE, steps=8, every=3, last=80)
    other.load_state_dict(state)
    other.start_epoch(0, NO_LOADER)
    count_steps(other, range(done, 8))
    assert entries(tmp_path / "other") == before[done // 3 :]
    assert other.of_epoch == whole.of_epoch
    other.start_epoch(1, NO_LOADER)
    assert math.isnan(other.of_epoch.loss)


def meter_of(folder: Path, overflows: bool = False) -> TrainMeter:
    return TrainMeter(Journal(folder, ALONE, 0, 0), ALONE, steps=10, every=50, last=40, overflows=overflows)


def take(meter: TrainMeter, values: list[float], clipped: bool = False) -> None:
    """Steps of the second epoch, each with one of the values somewhere in its gradients, which stay as they are."""
    meter.start_epoch(1, NO_LOADER)
    for step, value in enumerate(values):
        parameters = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(1))]
        gradients = [torch.full((3, 2), 1e-42), torch.tensor([1.0, -0.0, value, 3e38, 1e-30])]
        for parameter, gradient in zip(parameters, gradients, strict=False):  # the last has none
            parameter.grad = gradient.clone()
        meter.watch(parameters, torch.tensor(value) if clipped else None)
        meter.step_done(1, step, 0.1)
        found = [parameter.grad for parameter in parameters if parameter.grad is not None]
        assert all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in zip(found, gradients, strict=True))


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_first_step_whose_gradient_is_not_finite_is_told(tmp_path: Path, value: float, clipped: bool) -> None:
    """However long after it is asked, and whatever came later."""
    meter = meter_of(tmp_path)
    take(meter, [1.0, 2.0, value, value, 3.0, value], clipped)
    with pytest.raises(NotFiniteError) as error:
        meter.check()
    assert error.value.step == 10 + 3


def test_finite_gradients_and_those_of_a_loss_scale_that_is_searched_for_are_let_pass(tmp_path: Path) -> None:
    for meter, values in ((meter_of(tmp_path), [1.0, 3e38]), (meter_of(tmp_path, overflows=True), [math.inf, 1.0])):
        take(meter, values)
        meter.check()


def test_norm_is_wanted_where_an_entry_is_written(tmp_path: Path) -> None:
    meter = TrainMeter(Journal(tmp_path, ALONE, 0, 0), ALONE, steps=10, every=4, last=27)
    shown = [epoch * 10 + step + 1 for epoch in range(3) for step in range(10) if meter.shows(epoch, step)]
    assert shown == [4, 8, 10, 12, 16, 20, 24, 27, 28, 30]
