"""Pixels to pixels: what training draws and does to one image, and what evaluation does. All uint8."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recipe.config import AugmentConfig, ResolutionConfig
from recipe.ingredients.augment import (
    apply_augmentations,
    crop_and_resize,
    draw_augmentations,
    draw_crop,
    draw_erase,
    draw_window,
    resize_and_crop,
    resized,
)
from recipe.ingredients.box import Box
from recipe.ingredients.policies import Operation, draw_policy
from recipe.ingredients.policies_on_host import operate
from recipe.randomness import Draws


class TrainDraw(NamedTuple):
    """Everything that is random about one training image."""

    crop: Box  # of the file's pixels
    flip: bool
    operations: list[Operation]  # the policy's
    erase: Box  # done after normalisation, on the device
    window: Box = Box()  # resize_random: of the resized image; empty: the crop is resized to a square
    augmentations: tuple[tuple[str, Any], ...] = ()  # names and draws, done before the policy's operations


def draw_train(
    config: AugmentConfig,
    train_crop: int,
    seed: int,
    epoch: int,
    position: int,
    height: int,
    width: int,
    train_resize: int | None = None,
) -> TrainDraw:
    """The draws for the image at `position` of the epoch's order, whose file has height x width pixels."""

    def stream(name: str) -> Draws:
        return Draws(seed, name, epoch, position)

    whole = config.crop == "resize_random"
    return TrainDraw(
        crop=Box(0, 0, height, width) if whole else draw_crop(config, stream("crop"), height, width),
        window=draw_window(stream("crop"), height, width, train_resize or train_crop, train_crop) if whole else Box(),
        flip=config.hflip > 0 and stream("flip").chance(config.hflip),
        augmentations=draw_augmentations(config, stream),
        operations=draw_policy(config, stream("policy"), train_crop),
        erase=draw_erase(config.random_erase, stream("erase"), train_crop, train_crop)
        if config.random_erase
        else Box(),
    )


def apply_train(image: Tensor, draw: TrainDraw, resolution: ResolutionConfig) -> Tensor:
    """Crop, resize, flip, augmentations, policy: (3, H, W) uint8 to (3, train_crop, train_crop) uint8.

    With a train_resize above train_crop, a crop that was resized to a square is rotated whole and loses its border
    afterwards, and with it most of the black corners. The policy's pixels and erasing's box are those of train_crop.
    """
    size, how = resolution.train_resize or resolution.train_crop, resolution.interpolation
    if draw.window.height:
        image = resize_and_crop(draw.crop.of(image), size, draw.window, how)
    else:
        image = crop_and_resize(image, draw.crop, size, how)
    if draw.flip:
        image = image.flip(-1)
    image = apply_augmentations(image, draw.augmentations, how)
    if image.shape[-1] > resolution.train_crop:
        image = _centre(image.shape[-2], image.shape[-1], resolution.train_crop).of(image)
    return _operate(image, draw.operations, how)


def _operate(image: Tensor, operations: Sequence[Operation], interpolation: str) -> Tensor:
    """The operations on a (3, H, W) uint8 image."""
    if all(name == "Identity" for name, _ in operations):
        return image
    pixels = operate(image.permute(1, 2, 0).numpy(), operations, interpolation)
    return torch.from_numpy(pixels).permute(2, 0, 1)


def apply_eval(image: Tensor, val_resize: int, val_crop: int, interpolation: str) -> Tensor:
    """Shorter side to val_resize, central crop: (3, H, W) uint8 to (3, val_crop, val_crop) uint8."""
    height, width = resized(image.shape[1], image.shape[2], val_resize)
    return resize_and_crop(image, val_resize, _centre(height, width, val_crop), interpolation)


def _centre(height: int, width: int, size: int) -> Box:
    """The central square of an image, as torchvision's CenterCrop takes it."""
    return Box(round((height - size) / 2), round((width - size) / 2), size, size)


def normalise(images: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """(n, 3, H, W) uint8 to `dtype`: (pixel/255 − mean)/std, with mean and std of shape (3, 1, 1)."""
    scaled = images / 255 if dtype == torch.float32 else images.to(dtype).div_(255)  # the first in a single pass
    return scaled.sub_(mean).div_(std)
