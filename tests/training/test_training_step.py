"""A whole training step: our loop against the same step written out with torch and torchvision alone.

Same weights, same 8-bit images, same draws; everything after them is computed twice.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR, StepLR
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms import functional as F

from recipe.config import Config
from recipe.data import dataset as datasets
from recipe.data.micro_batch import Task, load_micro_batches
from recipe.data.order import make_order
from recipe.ingredients.mix import MixDraw, draw_mix
from recipe.machine.distributed import Ranks
from recipe.machine.signals import StopSignal
from recipe.network.model import make_model
from recipe.plan.compose import PROJECT, Plan
from recipe.randomness import Draws
from recipe.run.resume import resume
from recipe.run.trainer import Trainer
from recipe.training.loop import train_one_epoch

RUNGS = sorted(path.stem for path in (PROJECT / "conf" / "recipe").glob("r*.yaml"))
STEPS, IMAGES, CLASSES = 4, 32, 10
# One step to an epoch, so that the learning rate changes at each; one epoch of warm-up, so that the average begins.
SMALL = [
    "model.source=timm",
    "model.name=test_resnet",  # both kinds of residual blocks, in 0.4 M parameters
    "data.name=synthetic",
    f"data.num_classes={CLASSES}",
    f"data.size={IMAGES}",
    "data.workers=0",
    "epochs=12",
    "batch_size=32",
    "micro_batch_size=8",
    "resolution.train_crop=32",
    "optimizer.lr=0.1",
]
ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
ALPHA = 0.3  # of the average, through ema.decay


def overrides(rung: str) -> list[str]:
    chosen = [*SMALL]
    chosen.append("schedule.warmup_epochs=1" if rung >= "r01" else "schedule.step_size=2")
    if rung >= "r10":
        decay = 1 - ALPHA * 12 / 32 * IMAGES / 1_281_167
        chosen += [f"ema.decay={decay!r}", "ema.steps=1"]
    return chosen


@pytest.mark.parametrize("rung", RUNGS)
def test_steps_of_every_rung_equal_plain_ones(plan: Callable[..., Plan], tmp_path: Path, rung: str) -> None:
    run = with_parts(with_folder(plan(f"+recipe={rung}", *overrides(rung)), tmp_path))
    config, order, train_set = run.config, run.order, run.train_set
    assert order.steps == 1
    plain = Plain(config, deepcopy(run.training.network))
    for epoch in range(STEPS):
        run.training.meter.start_epoch(epoch, run.training.loader)
        train_one_epoch(run.training, epoch)
        images = order.images(epoch)
        tasks = [order.micro_batch_positions(0, number) for number in range(order.micro_batches)]
        batches = [
            load_micro_batches(train_set, config, [Task(epoch, 0, number, list(p), images[p].tolist(), len(p) / 32)])[0]
            for number, p in enumerate(tasks)
        ]
        draws = [draw_mix(config.mix, Draws(0, "mix", epoch, 0, number), 32, 32) for number in range(len(tasks))]
        rate = plain.step([(b.images, b.labels, b.erase) for b in batches], draws, epoch)
        assert run.training.optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-6)
    run.close()

    assert_equal(run.training.network.state_dict(), plain.model.state_dict())
    if rung >= "r10":
        assert run.training.ema.model is not None
        assert_equal(floats(run.training.ema.model), floats(plain.average.module))  # we copy integers, it averages them
        assert difference(floats(run.training.network), floats(plain.average.module)) > 1e-3
    else:
        assert run.training.ema.model is None


def test_sync_batch_norm_of_one_process_is_batch_norm(plan: Callable[..., Plan], tmp_path: Path) -> None:
    states = []
    for wanted in ("true", "false"):
        (tmp_path / wanted).mkdir()
        composed = plan("+recipe=v1", *SMALL, "micro_batch_size=32", f"model.sync_batch_norm={wanted}")
        run = with_parts(with_folder(composed, tmp_path / wanted))
        kinds = {type(module) for module in run.training.network.modules()}
        assert (nn.SyncBatchNorm in kinds, nn.BatchNorm2d in kinds) == (wanted == "true", wanted == "false")
        for epoch in range(2):
            run.train_epoch(epoch)
        run.close()
        states.append(run.training.network.state_dict())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


class Plain:
    """The step as the published script takes it on as many GPUs as there are micro-batches."""

    def __init__(self, config: Config, model: nn.Module) -> None:
        self.config, self.model = config, model
        smoothing = config.loss.label_smoothing
        self.criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
        norms = [p for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
        others = [p for p in model.parameters() if all(p is not norm for norm in norms)]
        decay, norm_decay = config.optimizer.weight_decay, config.optimizer.norm_weight_decay
        groups = [
            {"params": others, "weight_decay": decay},
            {"params": norms, "weight_decay": decay if norm_decay is None else norm_decay},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=config.optimizer.lr, momentum=0.9)
        self.scheduler: LRScheduler = StepLR(self.optimizer, step_size=2, gamma=0.1)
        warmup = int(config.schedule.warmup_epochs)
        if config.schedule.name == "cosine":
            self.optimizer = torch.optim.SGD(groups, lr=config.optimizer.lr, momentum=0.9)
            rise = LinearLR(self.optimizer, start_factor=0.01, total_iters=warmup)
            fall = CosineAnnealingLR(self.optimizer, T_max=config.epochs - warmup)
            self.scheduler = SequentialLR(self.optimizer, [rise, fall], milestones=[warmup])
        self.warmup = warmup
        self.average = AveragedModel(
            model, avg_fn=lambda old, new, _: old * (1 - ALPHA) + new * ALPHA, use_buffers=True
        )

    def step(self, batches: list[tuple[Tensor, Tensor, Tensor]], draws: list[MixDraw], epoch: int) -> float:
        rate = self.optimizer.param_groups[0]["lr"]
        replicas = []
        for (images, labels, boxes), draw in zip(batches, draws, strict=True):
            replica = deepcopy(self.model).train()
            inputs = torch.stack([self.prepared(image, box) for image, box in zip(images, boxes, strict=True)])
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            mixed, targets = self.mixed(inputs, labels, draw)
            self.criterion(replica(mixed), targets).backward()
            replicas.append(replica)
        self.model.load_state_dict(replicas[0].state_dict())  # rank 0's batch-norm statistics
        for parameter, *gradients in zip(self.model.parameters(), *(r.parameters() for r in replicas), strict=True):
            parameter.grad = torch.stack([g.grad for g in gradients if g.grad is not None]).mean(0)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        if epoch < self.warmup:
            self.average.n_averaged.fill_(0)
        self.scheduler.step()
        return float(rate)

    def prepared(self, image: Tensor, box: Tensor) -> Tensor:
        top, left, height, width = box.tolist()
        normal = F.normalize(image.float() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        return F.erase(normal, top, left, height, width, torch.zeros(1))

    def mixed(self, images: Tensor, labels: Tensor, draw: MixDraw) -> tuple[Tensor, Any]:
        if self.config.mix.mixup_alpha == self.config.mix.cutmix_alpha == 0:
            return images, labels
        lam = draw.lam
        if draw.box is None:
            images = lam * images + (1 - lam) * images.roll(1, 0)
        else:
            y1, y2, x1, x2 = draw.box
            pasted = images.clone()
            pasted[:, :, y1:y2, x1:x2] = images.roll(1, 0)[:, :, y1:y2, x1:x2]
            images, lam = pasted, 1 - (x2 - x1) * (y2 - y1) / 32**2
        hot = torch.nn.functional.one_hot(labels, CLASSES).float()
        return images, lam * hot + (1 - lam) * hot.roll(1, 0)


def with_parts(composed: Plan) -> Trainer:
    train_set, val_set = datasets.load(composed.config.data)
    order = make_order(composed.config, len(train_set))
    return resume(composed, ALONE, (train_set, val_set), order, make_model(composed.config, CLASSES), StopSignal())


def with_folder(composed: Plan, folder: Path) -> Plan:
    (folder / "run").mkdir()
    return replace(composed, folder=folder / "run")


def floats(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys()
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.allclose(one[name], other[name], rtol=0, atol=1e-6), name
