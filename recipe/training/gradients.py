"""The gradients of a step whose backward passes are replayed as CUDA graphs: added up in memory of their own.

A replayed backward pass writes its gradients where the one before did, into memory of the graph's. A parameter without
a gradient takes that memory for its own, and the next replay would overwrite it (pytorch/pytorch#169545). So before the
next one, what a pass left is added to sums that lie elsewhere, all parameters in one operation, and taken from the
parameters. In the order of plain accumulation, and so to the same bits: the first is copied, the others are added.

A step of one micro-batch needs no sums: its gradients are used and let go (zero_grad) before the next replay.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class GradientSums:
    """Sums of the gradients of a step's micro-batches; does nothing where `kept` is False."""

    def __init__(self, parameters: Sequence[nn.Parameter], kept: bool, averaged: bool) -> None:
        """`kept`: whether a pass must not find the gradients of the one before.

        `averaged`: whether a step's last backward pass averages over the ranks what the parameters then have: it must
        find the sums there.
        """
        self.kept = kept
        self._parameters, self._averaged = parameters, averaged
        self._sums: dict[int, Tensor] = {}  # by the parameter's place, made when its first gradient comes
        self._begun: set[int] = set()  # those that a gradient of this step is in

    @contextmanager
    def of_micro_batch(self, last: bool) -> Iterator[None]:
        """Around a forward and backward pass. After the step's last, the parameters have the sums as gradients."""
        if not self.kept:
            yield
        elif last and self._averaged:
            self._give()
            yield
        else:
            yield
            self._take()
            if last:
                self._give()

    def _take(self) -> None:
        """Add the parameters' gradients to the sums, and take them away."""
        gradients = {place: p.grad for place, p in enumerate(self._parameters) if p.grad is not None}
        later = [place for place in gradients if place in self._begun]
        first = [place for place in gradients if place not in self._begun]
        for place in first:
            if place not in self._sums:
                self._sums[place] = torch.empty_like(gradients[place])
        for write, places in ((torch._foreach_copy_, first), (torch._foreach_add_, later)):
            if places:
                write([self._sums[place] for place in places], [gradients[place] for place in places])
        self._begun.update(first)
        for place in gradients:
            self._parameters[place].grad = None

    def _give(self) -> None:
        """Let the parameters have their sums as gradients, and begin anew."""
        for place in self._begun:
            self._parameters[place].grad = self._sums[place]
        self._begun.clear()
