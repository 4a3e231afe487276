"""A step of ours dispatches few operations beyond the bare step's: forward, loss, backward, optimizer, zero_grad.

Each operation costs the host some microseconds and a GPU at least one launch, so their number is what of a step's
overhead can be held without a GPU. Where a count rises for a good reason, the limit here says by how much.
"""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from recipe.data import dataset as datasets
from recipe.data.loader import TrainLoader
from recipe.data.micro_batch import MicroBatch
from recipe.data.order import make_order
from recipe.ingredients.loss import make_loss
from recipe.ingredients.optimizer import make_optimizer
from recipe.machine.distributed import Ranks
from recipe.machine.signals import StopSignal
from recipe.network.model import make_model
from recipe.plan.compose import Plan
from recipe.run.resume import resume
from recipe.run.trainer import Trainer
from recipe.training.gradients import GradientSums
from recipe.training.loop import prepare, train_one_epoch

SMALL = ["data=synthetic", "data.num_classes=10", "data.workers=0", "model.name=resnet18", "sampler.repetitions=1",
         "resolution.train_crop=32", "optimizer.lr=0.001", "log.every_steps=1000"]  # fmt: skip
TINY = ("model.source=timm", "model.name=test_resnet")
FIRST, STEPS = 1, 20  # after step 0, which averages the weights; before the epoch's last, which writes an entry


class Dispatched(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def run_of(plan: Callable[..., Plan], folder: Path, micro_batches: int, *more: str) -> Trainer:
    """A run of steps of so many micro-batches of two images, whose loader hands out what it has loaded before."""
    images = 2 * micro_batches
    composed = plan(
        "+recipe=v2", *SMALL, f"batch_size={images}", "micro_batch_size=2", f"data.size={images * (STEPS + 3)}", *more
    )
    composed = replace(composed, folder=folder)
    train_set, val_set = datasets.load(composed.config.data)
    order = make_order(composed.config, len(train_set))
    ranks = Ranks(0, 1, 0, 1, torch.device("cpu"))
    run = resume(composed, ranks, (train_set, val_set), order, make_model(composed.config, 10), StopSignal())
    steps = loaded(run)[FIRST:][:STEPS]
    assert [len(batches) for _, batches in steps] == [micro_batches] * STEPS
    run.training.loader.close()
    run.training.loader = steps_of(steps)
    return run


def loaded(run: Trainer) -> list[tuple[int, list[MicroBatch]]]:
    return [(step, list(batches)) for step, batches in run.training.loader.epoch(0)]


def steps_of(steps: list[tuple[int, list[MicroBatch]]]) -> TrainLoader:
    """Stands in for the loader, whose work is not a step's."""
    return cast(TrainLoader, SimpleNamespace(epoch=lambda *_: iter(steps), wait_seconds=0.0))


def ours(run: Trainer) -> Counter[str]:
    """The operations of the steps, after one that makes what is made once."""
    loader, run.training.loader = run.training.loader, steps_of(loaded(run)[:1])
    run.training.meter.start_epoch(0, run.training.loader)
    train_one_epoch(run.training, 0)
    run.training.loader = loader
    with Dispatched() as dispatched:
        train_one_epoch(run.training, 0)
    return dispatched.counts


def bare(run: Trainer) -> Counter[str]:
    """The operations of as many bare steps on as many micro-batches, which are ready."""
    network = deepcopy(run.training.network)
    criterion, optimizer = make_loss(run.config.loss), make_optimizer(network, run.config.optimizer)
    steps = [[prepare(run.training, batch, 0) for batch in batches] for _, batches in loaded(run)]

    def take(count: int) -> None:
        for micro_batches in steps[:count]:
            for images, targets in micro_batches:
                criterion(network(images), targets).backward()
            optimizer.step()
            optimizer.zero_grad()

    take(1)
    with Dispatched() as dispatched:
        take(STEPS)
    return dispatched.counts


def beyond(run: Trainer) -> Counter[str]:
    """By how many operations our steps are beyond the bare ones. None of the bare step's may be missing."""
    own, plain = ours(run), bare(run)
    assert not plain - own
    return own - plain


def told(counts: Counter[str]) -> str:
    """A step's operations, most frequent first."""
    return "\n".join(f"{count / STEPS:6.2f} {name}" for name, count in counts.most_common())


def test_step_of_one_micro_batch(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """v2, whole: normalising, erasing, mixup or cutmix, label smoothing, the average's schedule, the meter."""
    counts = beyond(run_of(plan, tmp_path, 1))
    assert counts.total() / STEPS <= 35, told(counts)
    gradients = ("aten._foreach_norm.Scalar", "aten.stack.default", "aten.linalg_vector_norm.default")
    assert not any(counts[name] for name in gradients), told(counts)
    assert not counts["aten._local_scalar_dense.default"], told(counts)  # a number read back


def test_step_without_erasing_and_mixing(plan: Callable[..., Plan], tmp_path: Path) -> None:
    counts = beyond(run_of(plan, tmp_path, 1, "augment.random_erase=0", "mix.mixup_alpha=0", "mix.cutmix_alpha=0"))
    assert counts.total() / STEPS <= 14, told(counts)


def test_each_further_micro_batch(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Its own input, its statistics put back, its share of the loss."""
    counts = beyond(run_of(plan, tmp_path, 3, *TINY))
    assert counts.total() / STEPS <= 120, told(counts)


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_replays_keep_sums_only_of_several_micro_batches(
    plan: Callable[..., Plan], tmp_path: Path, micro_batches: int
) -> None:
    graphs = ("runtime.compile=true", "runtime.compile_mode=reduce-overhead")
    assert run_of(plan, tmp_path, micro_batches, *TINY, *graphs).training.sums.kept == (micro_batches > 1)


def test_sums_take_one_addition_for_all_parameters(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Where CUDA graphs are replayed. Autograd's own takes one for each."""
    run = run_of(plan, tmp_path, 3, *TINY)
    plain = ours(run)
    run.training.sums = GradientSums(run.training.parameters, kept=True, averaged=False)
    summed = ours(run)
    views = {"aten.detach.default"}  # of gradients that autograd hands over instead of adding them
    assert {name: count for name, count in (summed - plain).items() if name not in views} == {
        "aten._foreach_copy_.default": STEPS,
        "aten._foreach_add_.List": 2 * STEPS,
    }
    assert (plain - summed)["aten.add_.Tensor"] == 2 * STEPS * len(run.training.parameters)
