"""Which running statistics of batch norm survive a step: those of its first micro-batch.

Every forward pass normalises with its own micro-batch. In the published runs each GPU kept running statistics of its
own, and rank 0's, broadcast before every step, were the ones evaluated. Micro-batch 0 is what rank 0 saw there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


@contextmanager
def statistics_of_first(model: nn.Module, micro_batch: int) -> Iterator[None]:
    """Put the buffers back after the forward and backward pass of any micro-batch other than global number 0.

    (Momentum 0 would not do: 0·∞ turns the statistics into NaN when one batch overflows.)
    """
    if micro_batch == 0:
        yield
        return
    by_dtype: dict[torch.dtype, list[Tensor]] = {}  # one kernel copies a whole list of one dtype
    for buffer in model.buffers():
        by_dtype.setdefault(buffer.dtype, []).append(buffer)
    saved = {dtype: [torch.empty_like(buffer) for buffer in buffers] for dtype, buffers in by_dtype.items()}
    for dtype, buffers in by_dtype.items():
        torch._foreach_copy_(saved[dtype], buffers)
    yield
    with torch.no_grad():
        for dtype, buffers in by_dtype.items():
            torch._foreach_copy_(buffers, saved[dtype])
