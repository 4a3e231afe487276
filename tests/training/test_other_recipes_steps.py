"""Five steps of rsb_a2, adan_100 and mlperf_lars against a plain script with timm's own optimizer, loss and schedule.

In float64, at a size in seconds. Same weights, 8-bit images and draws (the policy's pixels are compared with timm's in
tests/ingredients/test_timm_rand_augment.py); timm's factory makes the optimizer and its groups.
"""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from test_training_step import CLASSES, IMAGES, SMALL, difference, floats, with_folder, with_parts
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torchvision.transforms import functional as F

from recipe.data.micro_batch import Task, load_micro_batches
from recipe.ingredients.mix import MixDraw, draw_mix
from recipe.plan.compose import Plan
from recipe.randomness import Draws, seed_at
from recipe.training.loop import train_one_epoch

STEPS, EPOCHS = 5, 12
DOUBLE = [text for text in SMALL if not text.startswith("optimizer.lr")] + ["runtime.precision=fp64"]
RATES = {"rsb_a2": 0.005, "adan_100": 0.03, "mlperf_lars": 2.0}
OWN = {
    "rsb_a2": ["schedule.warmup_epochs=2"],
    "adan_100": ["schedule.warmup_epochs=3", "schedule.cooldown_epochs=2"],
    "mlperf_lars": ["schedule.warmup_epochs=2", "model.zero_init_residual=true"],
}


class Plain:
    """The step with timm's parts, a replica of the network for each micro-batch, as on as many GPUs."""

    def __init__(self, name: str, model: nn.Module) -> None:
        self.model, self.lr, self.clip = model, RATES[name], 5.0 if name == "adan_100" else None
        self.criterion: nn.Module = BinaryCrossEntropy(smoothing=0.0)
        if name == "rsb_a2":  # it clips to 1 by itself
            self.optimizer = create_optimizer_v2(model, "lamb", self.lr, 0.02)
            self.scheduler: Scheduler = CosineLRScheduler(self.optimizer, EPOCHS, 1e-6, **rise(2, 0.02 * self.lr))
        elif name == "adan_100":
            self.optimizer = create_optimizer_v2(model, "adan", self.lr, 0.02, filter_bias_and_bn=False)
            self.scheduler = CosineLRScheduler(self.optimizer, EPOCHS - 2, 1e-6, **rise(3, self.lr / 3e7))
        else:
            self.optimizer = create_optimizer_v2(model, "lars", self.lr, 5e-5, trust_coeff=0.001, eps=0.0)
            options = {**rise(2, 0.0), "warmup_prefix": True}
            self.scheduler = PolyLRScheduler(self.optimizer, EPOCHS - 2, 2.0, 1e-4, **options)
            self.criterion = LabelSmoothingCrossEntropy(0.1)

    def step(self, batches: list[tuple[Tensor, Tensor, MixDraw]], epoch: int) -> float:
        self.scheduler.step(epoch)
        replicas = []
        for number, (images, labels, draw) in enumerate(batches):
            replica = deepcopy(self.model).train()
            torch.manual_seed(seed_at(0, "device", epoch, 0, number))  # of drop path
            mixed, targets = self.mixed(images, labels, draw)
            self.criterion(replica(mixed), targets).backward()
            replicas.append(replica)
        self.model.load_state_dict(replicas[0].state_dict())
        for parameter, *gradients in zip(self.model.parameters(), *(r.parameters() for r in replicas), strict=True):
            parameter.grad = torch.stack([g.grad for g in gradients if g.grad is not None]).mean(0)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return float(self.optimizer.param_groups[0]["lr"])

    def mixed(self, images: Tensor, labels: Tensor, draw: MixDraw) -> tuple[Tensor, Tensor]:
        images = F.normalize(images.double() / 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        if isinstance(self.criterion, LabelSmoothingCrossEntropy):
            return images, labels
        lam = draw.lam
        if draw.box is None:
            images = lam * images + (1 - lam) * images.roll(1, 0)
        else:
            y1, y2, x1, x2 = draw.box
            pasted = images.clone()
            pasted[:, :, y1:y2, x1:x2] = images.roll(1, 0)[:, :, y1:y2, x1:x2]
            images, lam = pasted, 1 - (x2 - x1) * (y2 - y1) / 32**2
        hot = nn.functional.one_hot(labels, CLASSES).double()
        return images, lam * hot + (1 - lam) * hot.roll(1, 0)


def rise(epochs: int, first: float) -> dict[str, Any]:
    return {"warmup_t": epochs, "warmup_lr_init": first}


@pytest.mark.parametrize(
    "name", ["rsb_a2", *(pytest.param(name, marks=pytest.mark.slow) for name in RATES if name != "rsb_a2")]
)
def test_five_steps_equal_timm_s(plan: Callable[..., Plan], tmp_path: Path, name: str) -> None:
    composed = plan(f"+experiment={name}", *DOUBLE, *OWN[name], f"optimizer.lr={RATES[name]}")
    run = with_parts(with_folder(composed, tmp_path))
    config, order = run.config, run.order
    assert order.steps == 1
    start = deepcopy(run.training.network)
    plain = Plain(name, deepcopy(start))
    kinds = set()
    for epoch in range(STEPS):
        run.training.meter.start_epoch(epoch, run.training.loader)
        train_one_epoch(run.training, epoch)
        images, batches = order.images(epoch), []
        for number in range(order.micro_batches):
            places = order.micro_batch_positions(0, number)
            task = Task(epoch, 0, number, list(places), images[places].tolist(), len(places) / IMAGES)
            batch = load_micro_batches(run.train_set, config, [task])[0]
            draw = draw_mix(config.mix, Draws(0, "mix", epoch, 0, number), 32, 32)
            kinds.add(draw.box is None)
            batches.append((batch.images, batch.labels, draw))
        rate = plain.step(batches, epoch)
        assert run.training.optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=1e-6)
    run.close()
    ours, theirs = run.training.network.state_dict(), plain.model.state_dict()
    assert next(iter(ours.values())).dtype == torch.float64
    assert difference(ours, theirs) < 1e-6
    assert difference(floats(start), floats(plain.model)) > 1e-3
    assert len(kinds) == (1 if name == "mlperf_lars" else 2)
