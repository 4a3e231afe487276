"""The training loss that is logged counts each micro-batch once, resumed or not, on any number of ranks; of gradients
that are not finite the first step is told.
"""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn

from recipe.data.loader import TrainLoader
from recipe.logs.journal import Journal
from recipe.machine.distributed import Ranks
from recipe.training.meter import NotFiniteError, TrainMeter

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))


@pytest.mark.parametrize(
    ("rank", "world_size", "own"),
    [(0, 2, 1.0), (1, 2, 2.0), (0, 1, 3.0), (0, 4, 3.0), (1, 4, 0.0)],
)
def test_losses_summed_before_a_stop_are_in_the_next_entry_once(
    tmp_path: Path, rank: int, world_size: int, own: float
) -> None:
    """On as many ranks, each goes on with its own sum, to the last bit; on another number rank 0 takes them all."""
    ranks = Ranks(rank, world_size, rank, world_size, torch.device("cpu"))
    meter = TrainMeter(Journal(tmp_path, ALONE, 0, 0), ranks, steps=10, every=5, last=10)
    meter.load_state_dict({"loss_sums": [1.0, 2.0], "steps_summed": 2})
    assert meter._loss_sum.item() == own
    assert meter._steps_summed == 2


def meter_of(folder: Path, overflows: bool = False) -> TrainMeter:
    return TrainMeter(Journal(folder, ALONE, 0, 0), ALONE, steps=10, every=50, last=40, overflows=overflows)


def take(meter: TrainMeter, values: list[float], clipped: bool = False) -> None:
    """Steps of the second epoch, each with one of the values somewhere in its gradients, which stay as they are."""
    meter.start_epoch(1, cast(TrainLoader, SimpleNamespace(wait_seconds=0.0)))
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
