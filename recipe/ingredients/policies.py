"""Policies of image operations on 8-bit images: TrivialAugment, RandAugment, AutoAugment.

A policy draws a list of (operation, magnitude); `apply_operations` does them, on Pillow images as the published runs
did, so that the pixels are theirs. TrivialAugmentWide: Müller and Hutter, 2021. RandAugment: Cubuk et al., 2019.
AutoAugment: Cubuk et al., 2018.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
import torchvision.transforms.functional as F
from PIL import Image
from torchvision.transforms import AutoAugment, AutoAugmentPolicy, InterpolationMode

from recipe.config import AugmentConfig
from recipe.ingredients.timm_rand_augment import draw_rand_augment
from recipe.randomness import Draws

Operation = tuple[str, float]

SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness")
TRIVIAL_BINS = 31
RAND_BINS, RAND_OPERATIONS, RAND_MAGNITUDE = 31, 2, 9
AUTO_BINS = 10
AUTO_IMAGENET = AutoAugment(AutoAugmentPolicy.IMAGENET).policies  # 25 pairs of (operation, probability, bin)

# Largest magnitudes: shear as a tangent, translation in pixels, rotation in degrees, enhancements as a change of the
# factor 1. Posterize keeps 8 − round(magnitude) bits, Solarize inverts above 255·(1 − magnitude).
WIDE = {"ShearX": 0.99, "ShearY": 0.99, "TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0,
        "Brightness": 0.99, "Color": 0.99, "Contrast": 0.99, "Sharpness": 0.99, "Posterize": 6.0}  # fmt: skip
NARROW = {"ShearX": 0.3, "ShearY": 0.3, "Rotate": 30.0,
          "Brightness": 0.9, "Color": 0.9, "Contrast": 0.9, "Sharpness": 0.9, "Posterize": 4.0}  # fmt: skip
OPERATIONS = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
              "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize")  # fmt: skip


def magnitude(name: str, bin_index: int, bins: int, limits: dict[str, float], size: int = 0) -> float:
    """An operation's magnitude in one of `bins` even steps from nothing to its limit.

    Without a limit of their own, translations go to 150/331 of `size`, the image's side in pixels.
    """
    if name == "Posterize":
        return 8 - round(limits[name] * bin_index / (bins - 1))
    if name == "Solarize":
        return _steps(255.0, 0.0, bins)[bin_index]
    if name.startswith("Translate") and name not in limits:
        return _steps(0.0, 150.0 / 331.0 * size, bins)[bin_index]
    return _steps(0.0, limits.get(name, 0.0), bins)[bin_index]


@lru_cache
def _steps(first: float, last: float, bins: int) -> list[float]:
    """In float32, as in the published runs: rounding decides which whole pixel or grey level a bin means."""
    return torch.linspace(first, last, bins).tolist()


def trivial_augment_wide(draws: Draws, size: int) -> list[Operation]:
    """One operation, its bin and its sign, each uniform."""
    name = OPERATIONS[draws.below(len(OPERATIONS))]
    value = magnitude(name, draws.below(TRIVIAL_BINS), TRIVIAL_BINS, WIDE)
    return [(name, _signed(name, value, draws))]


def rand_augment(draws: Draws, size: int) -> list[Operation]:
    """Two operations, uniform and with replacement, in bin 9 of 31; the sign uniform."""
    names = [OPERATIONS[draws.below(len(OPERATIONS))] for _ in range(RAND_OPERATIONS)]
    return [(name, _signed(name, magnitude(name, RAND_MAGNITUDE, RAND_BINS, NARROW, size), draws)) for name in names]


def auto_augment_imagenet(draws: Draws, size: int) -> list[Operation]:
    """One of the 25 learned pairs; each of its operations with its own probability and bin; the sign uniform."""
    chosen = []
    for name, probability, bin_index in AUTO_IMAGENET[draws.below(len(AUTO_IMAGENET))]:
        applied = draws.chance(probability)
        value = _signed(name, magnitude(name, bin_index or 0, AUTO_BINS, NARROW, size), draws)
        if applied:
            chosen.append((name, value))
    return chosen


POLICIES: dict[str, Callable[[Draws, int], list[Operation]]] = {
    "none": lambda draws, size: [],
    "ta_wide": trivial_augment_wide,
    "ra": rand_augment,
    "imagenet": auto_augment_imagenet,
}


def draw_policy(config: AugmentConfig, draws: Draws, size: int) -> list[Operation]:
    """The operations for an image of `size` pixels a side."""
    if config.policy == "timm":
        return draw_rand_augment(config.timm_policy, draws)
    return POLICIES[config.policy](draws, size)


def apply_operations(image: Image.Image, operations: Sequence[Operation], interpolation: str) -> Image.Image:
    """The operations, in order, on an RGB image; pixels from outside are black."""
    for name, value in operations:
        image = _OPERATIONS[name](image, value, InterpolationMode(interpolation))
    return image


def _signed(name: str, value: float, draws: Draws) -> float:
    return -value if name in SIGNED and draws.chance(0.5) else value


def _affine(image: Image.Image, how: InterpolationMode, translate: Sequence[int] = (0, 0), **shear: float) -> Any:
    degrees = [math.degrees(math.atan(shear.get(axis, 0.0))) for axis in ("x", "y")]
    center = [0, 0] if shear else None  # shear about the corner, as the papers do
    return F.affine(image, 0.0, list(translate), 1.0, degrees, how, fill=None, center=center)


_OPERATIONS: dict[str, Callable[[Any, float, InterpolationMode], Any]] = {
    "Identity": lambda image, value, how: image,
    "ShearX": lambda image, value, how: _affine(image, how, x=value),
    "ShearY": lambda image, value, how: _affine(image, how, y=value),
    # Whole pixels, where all interpolations give the same.
    "TranslateX": lambda image, value, how: _affine(image, InterpolationMode.NEAREST, translate=(int(value), 0)),
    "TranslateY": lambda image, value, how: _affine(image, InterpolationMode.NEAREST, translate=(0, int(value))),
    "Rotate": lambda image, value, how: F.rotate(image, value, how),
    "Brightness": lambda image, value, how: F.adjust_brightness(image, 1 + value),
    "Color": lambda image, value, how: F.adjust_saturation(image, 1 + value),
    "Contrast": lambda image, value, how: F.adjust_contrast(image, 1 + value),
    "Sharpness": lambda image, value, how: F.adjust_sharpness(image, 1 + value),
    "Posterize": lambda image, value, how: F.posterize(image, int(value)),
    "Solarize": lambda image, value, how: F.solarize(image, value),
    "AutoContrast": lambda image, value, how: F.autocontrast(image),
    "Equalize": lambda image, value, how: F.equalize(image),
    "Invert": lambda image, value, how: F.invert(image),
}
