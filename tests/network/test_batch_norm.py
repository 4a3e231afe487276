"""Running statistics of batch norm after a step are those of its first micro-batch, and no others."""

import pytest
import torch
from torch import Tensor, nn

from recipe.network.batch_norm import Statistics


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2))


def micro_batch(number: int) -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(number)) + number


def forward_and_backward(model: nn.Module, number: int, images: Tensor | None = None) -> Tensor:
    with Statistics(model).of_first(number):
        output = model(micro_batch(number) if images is None else images)
        output.square().mean().backward()
    return output.detach()


def buffers(model: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_statistics_of_first_micro_batch_survive() -> None:
    model, alone = network(), network()
    for number in range(4):
        forward_and_backward(model, number)
    alone(micro_batch(0))
    assert same(buffers(model), buffers(alone))
    assert not same(buffers(model), buffers(network()))


@pytest.mark.parametrize("number", [1, 2, 7])
def test_statistics_of_other_micro_batches_are_put_back(number: int) -> None:
    model = network()
    forward_and_backward(model, 0)
    before = buffers(model)
    forward_and_backward(model, number)
    assert same(buffers(model), before)
    assert before["1.num_batches_tracked"] == 1


def test_each_forward_pass_normalises_with_its_own_micro_batch() -> None:
    model, plain = network(), network()
    for number in range(3):
        torch.testing.assert_close(forward_and_backward(model, number), plain(micro_batch(number)).detach())


def test_gradients_are_those_of_plain_passes() -> None:
    model, plain = network(), network()
    for number in range(3):
        forward_and_backward(model, number)
        plain(micro_batch(number)).square().mean().backward()
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert own.grad is not None
        assert other.grad is not None
        assert own.grad.abs().max() > 0
        assert torch.equal(own.grad, other.grad)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_infinite_later_micro_batch_leaves_statistics_finite(value: float) -> None:
    model = network()
    forward_and_backward(model, 0)
    before = buffers(model)
    forward_and_backward(model, 1, torch.full((4, 3, 8, 8), value))
    assert same(buffers(model), before)
    assert all(buffer.isfinite().all() for buffer in model.buffers())


def test_model_without_buffers_is_left_as_it_is() -> None:
    model = nn.Linear(3, 2)
    with Statistics(model).of_first(1):
        model(torch.ones(1, 3)).sum().backward()
    assert model.weight.grad is not None
