"""Crops and erased boxes are distributed as published; cropping and resizing make the pixels of Pillow."""

import math
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import pil_to_tensor

from recipe.config import AugmentConfig
from recipe.ingredients.augment import Box, crop_and_resize, draw_crop, draw_erase, erase
from recipe.randomness import Draws

DEFAULT = AugmentConfig(policy="none")
SIZES = [(375, 500), (500, 375), (64, 64), (9, 300), (300, 9), (1, 1)]
QUANTILES = np.linspace(0.05, 0.95, 10)
PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def photo(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    gradients = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], -1)
    noise = np.random.default_rng(0).normal(0, 25, gradients.shape)
    return Image.fromarray(np.clip(gradients + noise, 0, 255).astype(np.uint8))


def crops(config: AugmentConfig, height: int, width: int, count: int) -> np.ndarray:
    return np.array([draw_crop(config, Draws(0, "crop", 0, i), height, width) for i in range(count)])


def erasings(probability: float, height: int, width: int, count: int) -> np.ndarray:
    return np.array([draw_erase(probability, Draws(0, "erase", 0, i), height, width) for i in range(count)])


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_crops_lie_inside_the_image(height: int, width: int) -> None:
    top, left, h, w = crops(DEFAULT, height, width, 500).T
    assert (top.min(), left.min()) >= (0, 0)
    assert (h.min(), w.min()) >= (1, 1)
    assert (top + h).max() <= height
    assert (left + w).max() <= width


def test_crops_keep_their_ranges_of_area_and_ratio() -> None:
    config = AugmentConfig(policy="none", scale=[0.2, 0.4], ratio=[0.9, 1.5])
    _, _, h, w = crops(config, 1000, 1000, 3000).T
    area, ratio = h * w / 1e6, w / h
    assert area.min() == pytest.approx(0.2, abs=0.002)
    assert area.max() == pytest.approx(0.4, abs=0.002)
    assert ratio.min() == pytest.approx(0.9, abs=0.005)
    assert ratio.max() == pytest.approx(1.5, abs=0.005)


def test_crops_are_uniform_in_area_log_ratio_and_place() -> None:
    config = AugmentConfig(policy="none", scale=[0.1, 0.5], ratio=[0.75, 4 / 3])
    top, left, h, w = crops(config, 1000, 1000, 4000).T
    assert np.quantile(h * w / 1e6, QUANTILES) == pytest.approx(0.1 + 0.4 * QUANTILES, abs=0.015)
    log_ratio = math.log(4 / 3) * (2 * QUANTILES - 1)
    assert np.quantile(np.log(w / h), QUANTILES) == pytest.approx(log_ratio, abs=0.025)
    assert np.quantile(top / (1000 - h), QUANTILES) == pytest.approx(QUANTILES, abs=0.03)
    assert np.quantile(left / (1000 - w), QUANTILES) == pytest.approx(QUANTILES, abs=0.03)


def test_crops_reach_every_place() -> None:
    config = AugmentConfig(policy="none", scale=[0.5, 0.5], ratio=[1.0, 1.0])
    top, left, h, w = crops(config, 10, 10, 2000).T
    assert set(h) == set(w) == {7}
    assert set(top) == set(left) == {0, 1, 2, 3}


@pytest.mark.parametrize(("height", "width"), [(9, 300), (300, 9), (100, 500), (50, 51)])
def test_crop_that_never_fits_is_torchvision_s_central_one(height: int, width: int) -> None:
    scale, ratio = [1.0, 1.0], [0.75, 0.9] if height == 50 else DEFAULT.ratio
    expected = RandomResizedCrop.get_params(torch.empty(3, height, width), scale, ratio)
    config = AugmentConfig(policy="none", scale=scale, ratio=ratio)
    assert {draw_crop(config, Draws(0, "crop", 0, i), height, width) for i in range(20)} == {expected}


def test_crop_that_never_fits_is_the_whole_image_where_its_ratio_is_allowed() -> None:
    highest = cast(Draws, SimpleNamespace(uniform=lambda low, high: high))
    config = AugmentConfig(policy="none", ratio=[0.5, 2.0])
    assert draw_crop(config, highest, 60, 70) == Box(0, 0, 60, 70)


@pytest.mark.parametrize("interpolation", list(PILLOW))
@pytest.mark.parametrize("box", [Box(0, 0, 375, 500), Box(30, 50, 200, 300), Box(100, 100, 40, 60), Box(7, 9, 1, 2)])
@pytest.mark.parametrize("size", [32, 176])
def test_cropping_and_resizing_equals_pillow_s_within_one_grey_level(box: Box, size: int, interpolation: str) -> None:
    picture = photo(375, 500)
    corners = (box.left, box.top, box.left + box.width, box.top + box.height)
    expected = picture.crop(corners).resize((size, size), PILLOW[interpolation])
    image = crop_and_resize(pil_to_tensor(picture), box, size, interpolation)
    assert image.dtype == torch.uint8
    assert image.shape == (3, size, size)
    assert (image.int() - pil_to_tensor(expected).int()).abs().max() <= 1


@pytest.mark.parametrize("box", [Box(0, 0, 375, 500), Box(30, 50, 200, 300)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_resizing_leaves_pixels_rgb_by_rgb(box: Box, layout: torch.memory_format) -> None:
    """As batches hold them: another layout would cost a slow copy of every image, which no other test notices."""
    image = pil_to_tensor(photo(375, 500))[None].contiguous(memory_format=layout)[0]
    assert crop_and_resize(image, box, 176, "bilinear").permute(1, 2, 0).is_contiguous()


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_erasing_has_its_probability(probability: float) -> None:
    boxes = erasings(probability, 176, 176, 4000)
    share = (boxes[:, 2:].prod(1) > 0).mean()
    assert share == pytest.approx(probability, abs=0.02 if 0 < probability < 1 else 0)


def test_erased_boxes_lie_inside_the_image_and_keep_their_ranges() -> None:
    top, left, h, w = erasings(1.0, 200, 200, 4000).T
    area, ratio = h * w / 200**2, h / w
    assert (top.min(), left.min()) == (0, 0)
    assert (top + h).max() <= 200
    assert (left + w).max() <= 200
    assert 0.019 < area.min() < 0.022
    assert 0.325 < area.max() < 0.334
    assert 0.28 < ratio.min() < 0.31
    assert 3.2 < ratio.max() < 3.5


def normalised(memory_format: torch.memory_format) -> Tensor:
    images = torch.randn(4, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    return (images + images.sign()).contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_erasing_zeroes_exactly_the_box_in_place(memory_format: torch.memory_format) -> None:
    images = normalised(memory_format)
    expected = images.clone()
    boxes = [Box(2, 3, 5, 7), Box(), Box(0, 0, 20, 30), Box(19, 29, 1, 1)]
    for image, box in zip(expected, boxes, strict=True):
        image[:, box.top : box.top + box.height, box.left : box.left + box.width] = 0
    result = erase(images, torch.tensor(boxes, dtype=torch.int32))
    assert result.data_ptr() == images.data_ptr()
    assert torch.equal(images, expected)
    assert (images == 0).sum((1, 2, 3)).tolist() == [3 * 35, 0, 3 * 600, 3]


def test_empty_boxes_change_nothing() -> None:
    images = normalised(torch.contiguous_format)
    before = images.clone()
    erase(images, torch.tensor([Box(), Box(5, 5, 0, 4), Box(5, 5, 4, 0), Box(19, 29, 0, 0)], dtype=torch.int32))
    assert torch.equal(images, before)


def test_nearest_takes_pillow_s_pixels_but_for_ties() -> None:
    picture = photo(375, 500)
    expected = pil_to_tensor(picture.resize((232, 232), Image.Resampling.NEAREST))
    image = crop_and_resize(pil_to_tensor(picture), Box(0, 0, 375, 500), 232, "nearest")
    assert (image != expected).float().mean() < 0.02
