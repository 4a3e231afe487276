"""Which running statistics of batch norm survive a step: those of its first micro-batch.

Every forward pass normalises with its own micro-batch. In the published runs each GPU kept running statistics of its
own, and rank 0's, broadcast before every step, were the ones evaluated. Micro-batch 0 is what rank 0 saw there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


class Statistics:
    """The buffers of a model, and memory to keep them in meanwhile.

    Both are found once: to walk the modules and to make the tensors takes the host longer than the copies.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers: dict[torch.dtype, list[Tensor]] = {}  # one kernel copies a whole list of one dtype
        for buffer in model.buffers():
            self._buffers.setdefault(buffer.dtype, []).append(buffer)
        self._saved: dict[torch.dtype, list[Tensor]] = {}  # from the first time on that they are put back

    @contextmanager
    def of_first(self, micro_batch: int) -> Iterator[None]:
        """Put the buffers back after the forward and backward pass of any micro-batch other than global number 0.

        (Momentum 0 would not do: 0·∞ turns the statistics into NaN when one batch overflows.)
        """
        if micro_batch == 0:
            yield
            return
        for dtype, buffers in self._buffers.items():
            if dtype not in self._saved:
                self._saved[dtype] = [torch.empty_like(buffer) for buffer in buffers]
            torch._foreach_copy_(self._saved[dtype], buffers)
        yield
        with torch.no_grad():
            for dtype, buffers in self._buffers.items():
                torch._foreach_copy_(buffers, self._saved[dtype])
