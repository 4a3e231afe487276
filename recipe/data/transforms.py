"""Pixels to pixels: what training draws and does to one image, and what evaluation does. All uint8."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from recipe.box import Box
from recipe.config import AugmentConfig, ResolutionConfig
from recipe.ingredients.augment import crop_and_resize, draw_crop, draw_erase, resize
from recipe.ingredients.policies import POLICIES, Operation, apply_operations
from recipe.randomness import Draws


class TrainDraw(NamedTuple):
    """Everything that is random about one training image."""

    crop: Box
    flip: bool
    operations: list[Operation]
    erase: Box  # done after normalisation, on the device


def draw_train(
    config: AugmentConfig, train_crop: int, seed: int, epoch: int, position: int, height: int, width: int
) -> TrainDraw:
    """The draws for the image at `position` of the epoch's order, whose file has height x width pixels."""

    def stream(name: str) -> Draws:
        return Draws(seed, name, epoch, position)

    return TrainDraw(
        crop=draw_crop(config, stream("crop"), height, width),
        flip=config.hflip > 0 and stream("flip").chance(config.hflip),
        operations=POLICIES[config.policy](stream("policy"), train_crop),
        erase=draw_erase(config.random_erase, stream("erase"), train_crop, train_crop)
        if config.random_erase
        else Box(),
    )


def apply_train(image: Tensor, draw: TrainDraw, resolution: ResolutionConfig) -> Tensor:
    """Crop, resize, flip, policy: (3, H, W) uint8 to (3, train_crop, train_crop) uint8."""
    image = crop_and_resize(image, draw.crop, resolution.train_crop, resolution.interpolation)
    if draw.flip:
        image = image.flip(-1)
    if any(name != "Identity" for name, _ in draw.operations):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture = apply_operations(picture, draw.operations, resolution.interpolation)
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    return image


def apply_eval(image: Tensor, val_resize: int, val_crop: int, interpolation: str) -> Tensor:
    """Shorter side to val_resize, central crop: (3, H, W) uint8 to (3, val_crop, val_crop) uint8."""
    height, width = image.shape[1:]
    shorter = min(height, width)
    height, width = val_resize * height // shorter, val_resize * width // shorter  # of the longer: cut, as torchvision
    image = resize(image, height, width, interpolation)
    centre = Box(round((height - val_crop) / 2), round((width - val_crop) / 2), val_crop, val_crop)
    return centre.of(image)


def normalise(images: Tensor, mean: Tensor, std: Tensor, dtype: torch.dtype) -> Tensor:
    """(n, 3, H, W) uint8 to `dtype`: (pixel/255 − mean)/std, with mean and std of shape (3, 1, 1)."""
    return images.to(dtype).div_(255).sub_(mean).div_(std)
