"""A network whose backward pass writes its gradients where the pass before did, as a replayed CUDA graph does.

As a script on several ranks it compares sums of such gradients, averaged over the ranks, with plain ones.
"""

from collections.abc import Sequence
from typing import Any

import torch
from conftest import watch_over
from torch import Tensor, nn

from recipe.config import RuntimeConfig
from recipe.machine import distributed
from recipe.machine.distributed import gradients_averaged
from recipe.training.gradients import GradientSums

STEPS = 3


def network() -> nn.Module:
    """With weights of several shapes, in channels_last."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 1, bias=False), nn.ReLU())
    whole = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    return whole.to(memory_format=torch.channels_last)


def micro_batches(step: int, count: int) -> list[Tensor]:
    """Images of a step, (4, 3, 8, 8) each."""
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(4, 3, 8, 8, generator=generator) for _ in range(count)]


class Replayed(nn.Module):
    """Calls a network; each parameter's gradient is written to memory of its own, whoever holds that by now."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.memory = [torch.empty_like(parameter) for parameter in module.parameters()]

    def forward(self, images: Tensor) -> Tensor:
        """The network's output."""
        own = dict(self.module.named_parameters())
        lent = [_Lent.apply(p, memory) for p, memory in zip(own.values(), self.memory, strict=True)]
        output: Tensor = torch.func.functional_call(self.module, dict(zip(own, lent, strict=True)), (images,))
        return output


class _Lent(torch.autograd.Function):
    """The identity; its gradient lies in the memory given."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, memory: Tensor) -> Tensor:
        ctx.memory = memory
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.memory.copy_(gradient)
        return ctx.memory.detach(), None


def gradients_of(
    model: nn.Module, called: nn.Module, sums: GradientSums, steps: Sequence[Sequence[Tensor]]
) -> list[list[Tensor | None]]:
    """Copies of each step's gradients, which are then let go."""
    found = []
    for batches in steps:
        for done, images in enumerate(batches, start=1):
            last = done == len(batches)
            with sums.of_micro_batch(last), gradients_averaged(called, now=last):
                called(images).square().mean().backward()
        found.append([None if p.grad is None else p.grad.clone() for p in model.parameters()])
        model.zero_grad()
    return found


def main() -> None:
    """On each rank: plain and replayed gradients of the same micro-batches are the same bits."""
    watch_over()
    ranks = distributed.start(RuntimeConfig(device="cpu"))
    for count in (1, 3):
        steps = [micro_batches(100 * ranks.rank + step, count) for step in range(STEPS)]
        found = []
        for replayed in (False, True):
            model = network()
            called = ranks.averaging_gradients(Replayed(model) if replayed else model)
            sums = GradientSums(list(model.parameters()), kept=replayed and count > 1, averaged=True)
            found.append(gradients_of(model, called, sums, steps))
        for plain, own in zip(*found, strict=True):
            for one, other in zip(plain, own, strict=True):
                assert one is not None
                assert other is not None
                assert one.abs().max() > 0
                assert torch.equal(one, other)
                assert ranks.all_equal(one.tolist())
    distributed.stop()


if __name__ == "__main__":
    main()
