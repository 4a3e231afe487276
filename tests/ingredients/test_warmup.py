"""Warm-ups of other trainers, each beside its source's formula: from exactly 0, and NVIDIA's, an epoch ahead."""

import math

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, SequentialLR

from recipe.config import ScheduleConfig
from recipe.ingredients.schedule import learning_rate


def test_from_exactly_0_by_step_is_composer_s() -> None:
    """CosineAnnealingWithWarmupScheduler: t/W, then (1 + cos π(t − W)/(E − W))/2, of each batch."""
    config = ScheduleConfig(name="cosine", warmup_epochs=8, warmup_decay=0.0, interval="step")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=2.048)
    rise = LambdaLR(optimizer, lambda step: step / 40)
    scheduler = SequentialLR(optimizer, [rise, CosineAnnealingLR(optimizer, 28 * 5)], [40])
    for position in range(36 * 5):  # 5 steps an epoch
        expected = optimizer.param_groups[0]["lr"]
        found = learning_rate(config, 2.048, 36, *divmod(position, 5), steps_per_epoch=5)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
        optimizer.step()
        scheduler.step()
    assert learning_rate(config, 2.048, 36, 0, 0, 5) == 0


@pytest.mark.parametrize("epochs", [16, 88])
def test_linear_from_a_ten_thousandth_is_ffcv_s(epochs: int) -> None:
    """np.interp of fractional epochs over [0, 2, E], as its train_imagenet.py."""
    config = ScheduleConfig(name="linear", warmup_epochs=2, warmup_decay=1e-4, interval="step")
    for position in range(epochs * 7):
        expected = np.interp([position / 7], [0, 2, epochs], [1e-4 * 1.7, 1.7, 0])[0]
        assert learning_rate(config, 1.7, epochs, *divmod(position, 7), steps_per_epoch=7) == pytest.approx(expected)


def test_next_is_an_epoch_ahead_as_nvidia_s() -> None:
    """lr_cosine_policy: lr·(e + 1)/W before W, then (1 + cos π(e − W)/(E − W))/2."""
    config = ScheduleConfig(name="cosine", warmup_epochs=8, warmup_method="next")
    for epoch in range(90):
        expected = 2.048 * (epoch + 1) / 8 if epoch < 8 else 1.024 * (1 + math.cos(math.pi * (epoch - 8) / 82))
        assert learning_rate(config, 2.048, 90, epoch, 3, 5) == pytest.approx(expected)


def test_next_by_step_is_a_step_ahead_and_never_above_the_peak() -> None:
    config = ScheduleConfig(name="constant", warmup_epochs=1.3, warmup_method="next", interval="step")
    found = [learning_rate(config, 1.0, 4, *divmod(position, 5), steps_per_epoch=5) for position in range(20)]
    assert found == pytest.approx([min(1.0, (position + 1) / 6.5) for position in range(20)])
