"""Mixup and cutmix mix images and targets by the share that was drawn, as published."""

import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recipe.config import MixConfig
from recipe.ingredients.mix import MixDraw, draw_mix, mix
from recipe.randomness import Draws

OFF = MixConfig()
MIXUP = MixConfig(mixup_alpha=0.2)
CUTMIX = MixConfig(cutmix_alpha=1.0)
BOTH = MixConfig(mixup_alpha=0.2, cutmix_alpha=1.0)
LABELS = torch.tensor([0, 2, 1, 2])


def batch(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(4, 3, 6, 8, generator=torch.Generator().manual_seed(0)).to(dtype)


def draws_of(config: MixConfig, count: int = 4000, side: int = 64) -> list[MixDraw]:
    return [draw_mix(config, Draws(0, "mix", 0, step), side, side) for step in range(count)]


def scripted(lam: float, x: int, y: int, height: int, width: int) -> Draws:
    return cast(
        Draws,
        SimpleNamespace(beta=lambda a, b: lam, below=lambda n: {width: x, height: y}[n], chance=lambda p: True),
    )


def cutmix_shares(alpha: float, count: int, side: int = 64) -> np.ndarray:
    generator = np.random.default_rng(0)
    lam = generator.beta(alpha, alpha, count)
    half = (0.5 * np.sqrt(1 - lam) * side).astype(int)
    x, y = generator.integers(0, side, (2, count))
    widths = np.minimum(x + half, side) - np.maximum(x - half, 0)
    heights = np.minimum(y + half, side) - np.maximum(y - half, 0)
    return 1 - widths * heights / side**2


def test_off_returns_the_same_images_and_one_hot_targets() -> None:
    images = batch()
    draw = draw_mix(OFF, Draws(0, "mix"), 6, 8)
    mixed, targets = mix(images, LABELS, 3, draw)
    assert draw == MixDraw(1.0, None)
    assert mixed is images
    assert torch.equal(targets, F.one_hot(LABELS, 3).float())


def test_mixup_adds_the_batch_rolled_by_one() -> None:
    images, lam = batch(torch.float64), 0.3
    mixed, targets = mix(images.clone(), LABELS, 3, MixDraw(lam))
    for i in range(4):
        partner = (i - 1) % 4
        torch.testing.assert_close(mixed[i], lam * images[i] + (1 - lam) * images[partner])
        expected = [0.0, 0.0, 0.0]
        expected[LABELS[i]] += lam
        expected[LABELS[partner]] += 1 - lam
        assert targets[i].tolist() == pytest.approx(expected)


def test_cutmix_pastes_the_box_of_the_batch_rolled_by_one() -> None:
    images, lam = batch(), 0.75
    mixed, targets = mix(images.clone(), LABELS, 3, MixDraw(lam, (1, 4, 2, 6)))
    for i in range(4):
        partner = (i - 1) % 4
        for y in range(6):
            for x in range(8):
                source = partner if 1 <= y < 4 and 2 <= x < 6 else i
                assert torch.equal(mixed[i, :, y, x], images[source, :, y, x])
        expected = [0.0, 0.0, 0.0]
        expected[LABELS[i]] += lam
        expected[LABELS[partner]] += 1 - lam
        assert targets[i].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("draw", [MixDraw(), MixDraw(0.3), MixDraw(0.75, (1, 4, 2, 6))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_images_keep_their_dtype_and_memory_format(draw: MixDraw, dtype: torch.dtype) -> None:
    images = batch(dtype).contiguous(memory_format=torch.channels_last)
    mixed, targets = mix(images, LABELS, 3, draw)
    assert mixed.dtype == targets.dtype == dtype
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert targets.sum(1).tolist() == pytest.approx([1.0] * 4, abs=0.01)


def test_box_has_its_centre_and_half_sides() -> None:
    draw = draw_mix(CUTMIX, scripted(0.64, x=200, y=100, height=224, width=448), 224, 448)
    half_h, half_w = int(0.5 * 0.6 * 224), int(0.5 * 0.6 * 448)
    assert (half_h, half_w) == (67, 134)
    assert draw.box == (100 - 67, 100 + 67, 200 - 134, 200 + 134)
    assert draw.lam == 1 - (134 * 268) / (224 * 448)


@pytest.mark.parametrize(
    ("x", "y", "box"),
    [(0, 0, (0, 67, 0, 134)), (447, 223, (156, 224, 313, 448)), (200, 10, (0, 77, 66, 334))],
)
def test_lambda_comes_from_the_clamped_box(x: int, y: int, box: tuple[int, int, int, int]) -> None:
    draw = draw_mix(CUTMIX, scripted(0.64, x, y, 224, 448), 224, 448)
    assert draw.box == box
    assert draw.lam == 1 - (box[1] - box[0]) * (box[3] - box[2]) / (224 * 448)


def test_lambda_is_the_share_of_pixels_kept() -> None:
    images = torch.arange(2.0)[:, None, None, None].expand(2, 3, 48, 64)
    for draw in (draw_mix(CUTMIX, Draws(0, "mix", step), 48, 64) for step in range(200)):
        mixed, _ = mix(images.clone(), torch.tensor([0, 1]), 2, draw)
        assert (mixed[0] == 0).double().mean().item() == pytest.approx(draw.lam, abs=1e-9)


def test_box_that_is_empty_changes_nothing() -> None:
    images = batch()
    draw = draw_mix(CUTMIX, scripted(0.9999, 4, 3, 6, 8), 6, 8)
    mixed, targets = mix(images.clone(), LABELS, 3, draw)
    assert draw.lam == 1.0
    assert torch.equal(mixed, images)
    assert torch.equal(targets, F.one_hot(LABELS, 3).float())


def test_only_the_one_that_is_on_is_drawn() -> None:
    assert all(draw.box is None for draw in draws_of(MIXUP, 300))
    assert all(draw.box is not None for draw in draws_of(CUTMIX, 300))


def test_both_on_draws_each_half_of_the_time() -> None:
    share = np.mean([draw.box is not None for draw in draws_of(BOTH)])
    assert share == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("cutmix_alpha", [0.0, 0.5])
def test_mixup_s_lambda_is_beta_distributed(alpha: float, cutmix_alpha: float) -> None:
    drawn = draws_of(MixConfig(mixup_alpha=alpha, cutmix_alpha=cutmix_alpha))
    lam = np.array([draw.lam for draw in drawn if draw.box is None])
    assert lam.mean() == pytest.approx(1 / 2, abs=0.03)
    assert lam.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.012)


@pytest.mark.parametrize("config", [CUTMIX, BOTH], ids=["alone", "with_mixup"])
def test_cutmix_s_lambda_is_drawn_with_cutmix_s_alpha(config: MixConfig) -> None:
    lam = np.array([draw.lam for draw in draws_of(config) if draw.box is not None])
    expected, with_mixups_alpha = cutmix_shares(1.0, 100_000), cutmix_shares(0.2, 100_000)
    assert lam.mean() == pytest.approx(expected.mean(), abs=0.02)
    assert lam.var() == pytest.approx(expected.var(), abs=0.006)
    assert abs(with_mixups_alpha.var() - expected.var()) > 0.02


def test_cutmix_s_centre_is_uniform_over_the_image() -> None:
    boxes = [draw.box for draw in draws_of(CUTMIX) if draw.box is not None]
    small = [box for box in boxes if 0 < (box[1] - box[0]) * (box[3] - box[2]) < 200]
    centres = np.array([[(y1 + y2) / 2 / 64, (x1 + x2) / 2 / 64] for y1, y2, x1, x2 in small])
    assert len(small) > 100
    assert centres.mean(0) == pytest.approx([0.5, 0.5], abs=0.08)
    assert centres.std(0) == pytest.approx([math.sqrt(1 / 12)] * 2, abs=0.05)
