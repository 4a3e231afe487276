"""Gradients averaged in an order that no start of a run changes.

DistributedDataParallel sums buckets, which hold several parameters each, and lays them out anew after the first step of
a start. With gloo a sum of three numbers or more depends on where in its bucket a gradient lies, so the first step of a
resumed run would round otherwise than the same step of a run that was never stopped.
"""

import torch
import torch.distributed as dist


def matters(world_size: int, backend: str) -> bool:
    """Whether the layout can change a bit: of two ranks a + b is b + a, and on GPUs no bits are promised."""
    return world_size > 2 and backend == "gloo"


def each_by_itself(world_size: int, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """A communication hook of DDP: the mean over the ranks of each parameter's gradient, summed by itself.

    Args:
        world_size: ranks, which DDP leaves to a hook to divide by.
        bucket: whose buffer holds the gradients.
    """
    buffer = bucket.buffer().div_(world_size)
    works = [dist.all_reduce(gradient, async_op=True) for gradient in bucket.gradients()]
    futures = torch.futures.collect_all([work.get_future() for work in works])
    return futures.then(lambda done: _summed(done, buffer))


def _summed(done: torch.futures.Future[list[torch.futures.Future[torch.Tensor]]], buffer: torch.Tensor) -> torch.Tensor:
    for one in done.value():
        one.value()  # raises what a rank that is lost raised
    return buffer
