"""Five steps of ffcv_16 and of mosaic_mild are those of plain scripts, in float64: torch's and timm's own optimizers,
losses and schedules, and what the sources do to batches. Same weights, 8-bit crops and order.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.optim.sgdw import SGDW
from torch import Tensor, nn
from torchvision.transforms import functional as vision

from recipe.data import dataset as datasets
from recipe.data.micro_batch import Task, load_micro_batches
from recipe.data.order import make_order
from recipe.machine.distributed import Ranks
from recipe.machine.signals import StopSignal
from recipe.network.model import make_model
from recipe.plan.compose import Plan
from recipe.run.resume import resume
from recipe.run.trainer import Trainer
from recipe.training.loop import train_one_epoch

STEPS, IMAGES, CLASSES = 5, 8, 4
SMALL = [
    "model.source=timm",
    "model.name=test_resnet",  # both kinds of residual blocks, in 0.4 M parameters
    "data.name=synthetic",
    f"data.num_classes={CLASSES}",
    f"data.size={IMAGES}",
    "data.workers=0",
    f"epochs={STEPS}",  # of a step each
    f"batch_size={IMAGES}",
    "micro_batch_size=4",
    "resolution.train_crop=32",
    "optimizer.lr=0.03",
    "runtime.precision=fp64",
]
ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
ALPHA = 0.3  # of the average


def started(composed: Plan, folder: Path) -> Trainer:
    (folder / "run").mkdir()
    composed = replace(composed, folder=folder / "run")
    train_set, val_set = datasets.load(composed.config.data)
    order = make_order(composed.config, len(train_set))
    return resume(composed, ALONE, (train_set, val_set), order, make_model(composed.config, CLASSES), StopSignal())


def crops(run: Trainer, epoch: int) -> list[tuple[Tensor, Tensor]]:
    """Normalised images and labels of each micro-batch of an epoch's only step, as the workers crop them."""
    images, batches = run.order.images(epoch), []
    for number in range(2):
        places = run.order.micro_batch_positions(0, number)
        task = Task(epoch, 0, number, list(places), images[places].tolist(), 0.5)
        (batch,) = load_micro_batches(run.train_set, run.config, [task])
        pixels = vision.normalize(batch.images.double() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        batches.append((pixels, batch.labels))
    return batches


def backward(model: nn.Module, batches: list[tuple[Tensor, Tensor]], loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Gradients as two GPUs average them; batch norm's statistics are those of the first."""
    replicas = [deepcopy(model).train() for _ in batches]
    for replica, (images, labels) in zip(replicas, batches, strict=True):
        replica.zero_grad()
        loss(replica(images), labels).backward()
    model.load_state_dict(replicas[0].state_dict())
    for parameter, *copies in zip(model.parameters(), *(replica.parameters() for replica in replicas), strict=True):
        parameter.grad = sum(copy.grad for copy in copies if copy.grad is not None) / 2


def train(run: Trainer, epoch: int) -> float:
    run.training.meter.start_epoch(epoch, run.training.loader)
    train_one_epoch(run.training, epoch)
    return float(run.training.optimizer.param_groups[0]["lr"])


def test_ffcv_16(plan: Callable[..., Plan], tmp_path: Path) -> None:
    growing = [
        "resolution.first_crop=16",
        "resolution.grow_step=8",
        "resolution.grow_from=1",
        "resolution.grow_until=3",
    ]
    run = started(plan("+recipe=ffcv_16", *SMALL, *growing), tmp_path)
    model = deepcopy(run.training.network)
    groups = [
        {"params": [p for name, p in model.named_parameters() if "bn" in name], "weight_decay": 0.0},
        {"params": [p for name, p in model.named_parameters() if "bn" not in name], "weight_decay": 1e-4},
    ]
    optimizer, loss = torch.optim.SGD(groups, lr=1.0, momentum=0.9), nn.CrossEntropyLoss(label_smoothing=0.1)
    for epoch in range(STEPS):
        lr = float(np.interp([epoch], [0, 2, STEPS], [1e-4 * 0.03, 0.03, 0])[0])
        batches = crops(run, epoch)
        assert {images.shape[-1] for images, _ in batches} == {[16, 16, 24, 32, 32][epoch]}
        for group in optimizer.param_groups:
            group["lr"] = lr
        backward(model, batches, loss)
        optimizer.step()
        assert train(run, epoch) == pytest.approx(lr, rel=1e-12)
    run.close()
    assert_equal(run.training.network, model)


def test_mosaic_mild(plan: Callable[..., Plan], tmp_path: Path) -> None:
    decay = 1 - ALPHA * STEPS / IMAGES * IMAGES / 1_281_167
    small = ["schedule.warmup_epochs=2", f"ema.decay={decay!r}", "ema.steps=1", "optimizer.weight_decay=0.2"]
    run = started(plan("+recipe=mosaic_mild", *SMALL, *small), tmp_path)
    model = deepcopy(run.training.network)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = SGDW(model.parameters(), lr=1.0, momentum=0.875, weight_decay=0.2, nesterov=False)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        targets = F.one_hot(labels, CLASSES).double() * (1 - 0.08) + 0.08 / CLASSES
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(labels)

    for epoch in range(STEPS):
        lr = 0.03 * (epoch / 2 if epoch < 2 else (1 + np.cos(np.pi * (epoch - 2) / (STEPS - 2))) / 2)
        grown = min(max((epoch / STEPS - 0.4) / 0.4, 0.0), 1.0) if epoch else 0.0
        side = round((0.5 + 0.5 * grown) * 32 / 4) * 4
        assert side == [16, 16, 16, 24, 32][epoch]
        for group in optimizer.param_groups:
            group["lr"] = lr
        batches = [
            (F.interpolate(images, (side, side), mode="nearest"), labels) for images, labels in crops(run, epoch)
        ]
        backward(model, batches, loss)
        optimizer.step()
        for name, value in model.state_dict().items():
            share = ALPHA if epoch > 2 and value.is_floating_point() else 1
            average[name] = average[name] * (1 - share) + value * share if share < 1 else value.clone()
        assert train(run, epoch) == pytest.approx(lr, rel=1e-12)
    run.close()
    assert_equal(run.training.network, model)
    assert run.training.ema.model is not None
    for name, value in run.training.ema.model.state_dict().items():
        assert torch.allclose(value, average[name], rtol=0, atol=1e-6), name
    assert max((value - average[name]).abs().max().item() for name, value in model.state_dict().items()) > 1e-4


def assert_equal(found: nn.Module, expected: nn.Module) -> None:
    other = expected.state_dict()
    for name, value in found.state_dict().items():
        assert torch.allclose(value, other[name], rtol=0, atol=1e-6), name
