"""A training step hands its work to the device and waits for nothing: no number is asked back, no copy holds the host.

Without a GPU, the whole step runs on PyTorch's "meta" device. Its tensors have shapes and no content, so whatever would
wait for a GPU (item, float, bool, nonzero, a boolean mask as an index, a copy to the host) is an error there, while
reading the host's own tensors is none. Copies to the device are watched: each must be asked not to wait. What this
cannot see is whether a copy's source lies in pinned memory, and waits that are not written in Python, such as those of
an optimizer's or NCCL's own. The test on a GPU sees those of PyTorch's operators.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from gpus import needs_gpus
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from recipe.data import dataset as datasets
from recipe.data.order import make_order
from recipe.ingredients import mix
from recipe.machine.distributed import Ranks
from recipe.machine.signals import StopSignal
from recipe.network.model import make_model
from recipe.plan.compose import Plan
from recipe.run.resume import resume
from recipe.run.trainer import Trainer
from recipe.training import loop
from recipe.training.loop import train_one_epoch

META = torch.device("meta")
SMALL = ["data=synthetic", "data.num_classes=10", "data.size=96", "data.workers=0", "model.source=timm",
         "model.name=test_resnet", "batch_size=32", "micro_batch_size=8", "resolution.train_crop=32",
         "augment.policy_on=device", "optimizer.grad_clip=1", "ema=ema", "ema.steps=2"]  # fmt: skip


class Watched(TorchDispatchMode):
    """Counts the copies from the host to the device, and those that would hold the host."""

    def __init__(self) -> None:
        super().__init__()
        self.copies, self.holding = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [tensor for tensor in args if isinstance(tensor, Tensor)]
        moves = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        if moves and given[-1].device.type == "cpu" and result.device == META:
            waits = not (args[-1] if isinstance(args[-1], bool) else (kwargs or {}).get("non_blocking", False))
            self.copies += 1
            self.holding += waits
        return result


class Made(TorchFunctionMode):
    """Counts the tensors that are made on the device from Python's numbers, which is a copy that holds the host."""

    def __init__(self) -> None:
        super().__init__()
        self.holding = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.holding += func in (torch.tensor, torch.as_tensor) and result.device == META
        return result


def run_on(device: torch.device, composed: Plan, folder: Path) -> Trainer:
    object.__setattr__(composed, "folder", folder)
    train_set, val_set = datasets.load(composed.config.data)
    order = make_order(composed.config, len(train_set))
    ranks = Ranks(0, 1, 0, 1, device)
    return resume(composed, ranks, (train_set, val_set), order, make_model(composed.config, 10), StopSignal())


@pytest.fixture
def on_meta(plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    monkeypatch.setattr(loop, "autocast", lambda *_: nullcontext())  # there is none for the meta device
    run = run_on(META, plan("+recipe=v2", *SMALL, "log.every_steps=1000"), tmp_path)
    monkeypatch.setattr(run.training.meter, "_record", lambda *_: None)  # an epoch's end is where one may wait
    monkeypatch.setattr(run.training.meter, "check", lambda: None)
    run.training.meter.start_epoch(0, run.training.loader)
    return run


def test_step_asks_nothing_back(on_meta: Trainer) -> None:
    """v2 with everything on: the policy on the device, erasing, mixup or cutmix, clipping, averaging, the meter."""
    with Watched() as watched, Made() as made:
        train_one_epoch(on_meta.training, 0)
    steps, micro_batches = on_meta.order.steps, on_meta.order.micro_batches
    assert (steps, micro_batches) == (3, 4)
    assert on_meta.training.ema.model is not None
    assert watched.copies == 4 * steps * micro_batches  # images, labels, boxes to erase; the policies' numbers
    assert watched.holding == made.holding == 0


def item(images: Tensor, labels: Tensor) -> Tensor:
    return images * images.mean().item()


def mask(images: Tensor, labels: Tensor) -> Tensor:
    return images[labels > 0]


def host(images: Tensor, labels: Tensor) -> Tensor:
    return images * (labels.cpu() > 0).any()


def copy(images: Tensor, labels: Tensor) -> Tensor:
    return images * torch.ones(1).to(images.device)


def number(images: Tensor, labels: Tensor) -> Tensor:
    return images * torch.tensor(0.5, device=images.device)


@pytest.mark.parametrize("wait", [item, mask, host, copy, number])
def test_waits_would_be_seen(on_meta: Trainer, monkeypatch: pytest.MonkeyPatch, wait: Callable[..., Tensor]) -> None:
    """One of each kind, put into the step."""
    is_error = wait in (item, mask, host)
    monkeypatch.setattr(loop, "mix", lambda images, labels, *rest: mix.mix(wait(images, labels), labels, *rest))
    refused = pytest.raises((RuntimeError, NotImplementedError)) if is_error else nullcontext()
    with Watched() as watched, Made() as made, refused:
        train_one_epoch(on_meta.training, 0)
    assert (watched.holding > 0, made.holding > 0) == (wait is copy, wait is number)


@contextmanager
def sync_is_an_error() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpus()
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_step_on_a_gpu_does_not_wait(plan: Callable[..., Plan], tmp_path: Path, precision: str) -> None:
    run = run_on(
        torch.device("cuda", 0), plan("+recipe=v2", *SMALL, "log.every_steps=1000", f"runtime.precision={precision}"),
        tmp_path,
    )  # fmt: skip
    run.train_epoch(0)  # warm: cuDNN has tried its kernels, and pinned memory is there
    check, record = run.training.meter.check, run.training.meter._record
    run.training.meter.check = lambda: None  # type: ignore[method-assign]
    run.training.meter._record = lambda *_: None  # type: ignore[method-assign]
    run.training.meter.start_epoch(1, run.training.loader)
    with sync_is_an_error():
        train_one_epoch(run.training, 1)
    run.training.meter.check, run.training.meter._record = check, record  # type: ignore[method-assign]
    run.close()
