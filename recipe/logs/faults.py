"""What can go wrong while a run trains, in words, and the evidence that is kept of it."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from recipe.config import Config
from recipe.data.dataset import Dataset
from recipe.data.order import Order
from recipe.errors import RunError, rank_local
from recipe.files import write_atomically

LOST_A_PROCESS = (
    "another process of this run has ended, and the training cannot go on without it: torchrun says which, and "
    "that one why, unless it was killed. The same command goes on from the last checkpoint"
)


def out_of_memory(config: Config) -> str:
    """Message for a GPU whose memory is too small."""
    mend = "" if config.runtime.precision in ("bf16", "fp16") else "try runtime.precision=bf16, which halves it; "
    return (
        f"the GPU's memory is too small for micro-batches of {config.micro_batch_size} images at "
        f"{config.resolution.train_crop} px: {mend}a smaller micro_batch_size fits too, but it is another experiment, "
        "since batch norm and mixup see other batches"
    )


@contextmanager
def memory_for_images(key: str, batch_size: int, pixels: int | None = None) -> Iterator[None]:
    """While a finished network is used: raise RunError where the memory is too small for so many images at once.

    Args:
        key: how the user makes them fewer.
        pixels: their side, where resolution.val_crop makes them smaller.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if _is_of_memory(error):
            images = "1 image" if batch_size == 1 else f"{batch_size} images"
            what = f"the memory is too small for {images}{f' of {pixels} px' if pixels else ''} at once"
            advice = [f"a smaller {key} changes no result"] if batch_size > 1 else []
            advice += ["a smaller resolution.val_crop takes less too, and gives other figures"] if pixels else []
            raise rank_local(RunError(f"{what}: {'; '.join(advice) or 'another device may have more'}")) from error
        if "DataLoader worker" in str(error):
            reason = " ".join(str(error).split())
            raise rank_local(RunError(f"a process that loads images has died ({reason}): try fewer workers")) from error
        raise


def _is_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory: PyTorch says so in several forms, the system in one."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    told = ("not enough memory", "can't allocate memory", "Cannot allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(text in str(error) for text in told)


def dead_worker(error: RuntimeError) -> str:
    """Message for a data worker that was killed."""
    reason = " ".join(str(error).split())
    return (
        f"a process that loads data has died ({reason}). Mostly the memory was too small for all of them: a smaller "
        "data.workers changes no result. The same command goes on from the last checkpoint"
    )


def not_finite(total: int, path: Path) -> str:
    """Message for a gradient that is infinite or NaN, of step `total` of the run (from 1)."""
    return (
        f"the gradient of step {total} is not finite. The last checkpoint stays; {path} names the step's images. A "
        "lower optimizer.lr, a longer warm-up or optimizer.grad_clip may help; fp16 overflows before bf16"
    )


def write_images_of_step(path: Path, train_set: Dataset, order: Order, total: int) -> None:
    """Write what step `total` of the run, from 1, was trained on, in the order of its micro-batches' positions."""
    epoch, step = divmod(total - 1, order.steps)
    indices = order.images(epoch)[order.step_positions(step)].tolist()
    about = {
        "step": total,
        "epoch": epoch,
        "step_of_epoch": step,
        "indices": indices,
        "images": [train_set.name(index) for index in indices],
    }
    write_atomically(path, json.dumps(about, indent=2) + "\n")
