"""Gradients that a replay writes to the memory of the one before add up to plain accumulation's, bit for bit.

A replay is made up on the CPU: a network whose backward pass writes each gradient where it wrote the last.
"""

from pathlib import Path

import pytest
import torch
from conftest import torchrun
from replayed_gradients import STEPS, Replayed, gradients_of, micro_batches, network
from torch import Tensor, nn

from recipe.training.gradients import GradientSums


def train(replayed: bool, kept: bool, count: int) -> list[list[Tensor | None]]:
    """The gradients of each step of so many micro-batches."""
    model = network()
    called = Replayed(model) if replayed else model
    sums = GradientSums(list(model.parameters()), kept=kept, averaged=False)
    return gradients_of(model, called, sums, [micro_batches(step, count) for step in range(STEPS)])


def same(one: list[list[Tensor | None]], other: list[list[Tensor | None]]) -> bool:
    return all(
        (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
        for step, others in zip(one, other, strict=True)
        for a, b in zip(step, others, strict=True)
    )


@pytest.mark.parametrize("count", [1, 2, 5])
def test_replayed_gradients_add_up_as_plain_ones(count: int) -> None:
    assert same(train(replayed=True, kept=True, count=count), train(replayed=False, kept=False, count=count))


def test_without_sums_only_a_step_of_one_micro_batch_is_right() -> None:
    """So a replay is what is made up here, and steps of a single micro-batch need no sums."""
    right = [same(train(True, False, count), train(False, False, count)) for count in (1, 2, 5)]
    assert right == [True, False, False]


def test_parameter_without_a_gradient_has_none_and_one_that_comes_later_its_own() -> None:
    parameters = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    sums = GradientSums(parameters, kept=True, averaged=False)
    for step in (1, 2):
        for last, used in ((False, [0]), (True, [0, 1])):
            with sums.of_micro_batch(last):
                for place in used:
                    (parameters[place] * step).sum().backward()
        assert [None if p.grad is None else p.grad.tolist() for p in parameters] == [[2.0 * step] * 2, [step] * 2, None]
        for parameter in parameters:
            parameter.grad = None


def test_ranks_average_the_sums(tmp_path: Path) -> None:
    """Two processes, whose last backward pass averages: to the bits of plain accumulation under no_sync."""
    torchrun(2, Path(__file__).with_name("replayed_gradients.py"))
