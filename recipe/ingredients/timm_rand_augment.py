"""timm's RandAugment by its strings, as `rand-m7-mstd0.5-inc1` (Wightman et al., 2021), on Pillow images.

Another policy than policies.py's `ra`: 15 operations with Invert and SolarizeAdd and without Identity, each applied
with probability p, its magnitude m with normal noise, and what comes from outside has ImageNet's mean colour. Drawing
and doing are apart, as there: an operation is drawn as `timm.NAME` and the argument that timm's function NAME takes.
Imports no torch: the plan reads strings.
"""

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from recipe.errors import ConfigError

if TYPE_CHECKING:
    from recipe.randomness import Draws  # which imports torch

PREFIX = "timm."
MOST = 10.0  # magnitude, where mmax says no other; what operations count their levels in
FILL = (124, 116, 104)  # ImageNet's mean, as timm has it for data of that mean
COMMON = ("AutoContrast", "Equalize", "Invert", "Rotate")
PLAIN = (*COMMON, "Posterize", "Solarize", "SolarizeAdd", "Color", "Contrast", "Brightness", "Sharpness", "ShearX",
         "ShearY", "TranslateXRel", "TranslateYRel")  # fmt: skip
INCREASING = (*COMMON, "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd", "ColorIncreasing",
              "ContrastIncreasing", "BrightnessIncreasing", "SharpnessIncreasing", "ShearX", "ShearY", "TranslateXRel",
              "TranslateYRel")  # fmt: skip
SETS: dict[str, Mapping[str, float]] = {  # of t…, with weights
    "weights": {
        **{"Rotate": 3, "ShearX": 2, "ShearY": 2, "TranslateXRel": 1, "TranslateYRel": 1, "ColorIncreasing": 0.25},
        **{"SharpnessIncreasing": 0.25, "AutoContrast": 0.25, "SolarizeIncreasing": 0.05, "SolarizeAdd": 0.05},
        **{"ContrastIncreasing": 0.05, "BrightnessIncreasing": 0.05, "Equalize": 0.05, "PosterizeIncreasing": 0.05},
        **{"Invert": 0.05},
    },
    "3aw": {
        **{"SolarizeIncreasing": 6, "Desaturate": 6, "GaussianBlur": 6, "Rotate": 3, "ShearX": 2, "ShearY": 2},
        **{"PosterizeIncreasing": 1, "AutoContrast": 1, "ColorIncreasing": 1, "SharpnessIncreasing": 1},
        **{"ContrastIncreasing": 1, "BrightnessIncreasing": 1, "Equalize": 1, "Invert": 1},
    },
}
OF_THREE = ("SolarizeIncreasing", "Desaturate", "GaussianBlur")  # t3a
VALID = (
    "it is rand and, each after a dash, m (magnitude, a whole number; 10), n (operations; 2), p (probability of each; "
    "0.5), mstd (deviation of the magnitude; over 100: uniform), mmax (largest magnitude; 10), inc (1: operations that "
    "grow with it) or t (set of operations: weights, 3a, 3aw), as in rand-m7-mstd0.5-inc1"
)


class RandAugment(NamedTuple):
    """What a string says."""

    names: tuple[str, ...]
    weights: tuple[float, ...] | None  # of a draw without replacement; None: uniform, with replacement
    operations: int = 2
    magnitude: float = MOST
    deviation: float = 0.0  # inf: the magnitude is uniform from 0
    most: float = MOST
    probability: float = 0.5


@lru_cache
def parsed(policy: str) -> RandAugment:
    """What `augment.timm_policy` says, as timm's `rand_augment_transform` reads it. Raises ConfigError."""
    given: dict[str, str] = {}
    head, *parts = policy.split("-")
    for part in parts:
        found = re.fullmatch(r"(t)(\w+)|(mstd|p)(\d+(?:\.\d*)?)|(mmax|inc|m|n)(\d+)", part)
        name, value = [group for group in found.groups() if group] if found else ("", "")
        if not found or name in given or (name == "t" and value not in (*SETS, "3a")):
            raise ConfigError(f"augment.timm_policy={policy}: {part!r} is not understood; {VALID}")
        given[name] = value
    if head != "rand":
        raise ConfigError(f"augment.timm_policy={policy}: timm's RandAugment alone is known; {VALID}")
    weighted = SETS.get(given.get("t", ""))
    plain = OF_THREE if "t" in given else INCREASING if int(given.get("inc", 0)) else PLAIN
    deviation = float(given.get("mstd", 0))
    policy_drawn = RandAugment(
        names=tuple(weighted or plain),
        weights=tuple(weighted.values()) if weighted else None,
        operations=int(given.get("n", 2)),
        magnitude=int(given.get("m", MOST)),
        deviation=math.inf if deviation > 100 else deviation,
        most=int(given.get("mmax", 0)) or MOST,
        probability=float(given.get("p", 0.5)),
    )
    if policy_drawn.probability > 1 or (weighted and policy_drawn.operations > len(policy_drawn.names)):
        raise ConfigError(f"augment.timm_policy={policy}: p is at most 1, and n at most the operations of t; {VALID}")
    return policy_drawn


def draw_rand_augment(policy: str, draws: "Draws") -> list[tuple[str, float]]:
    """The operations of one image: which they are, then of each whether, its magnitude and its sign, as timm draws.

    magnitude ~ N(m, mstd), clipped to [0, mmax].
    """
    config = parsed(policy)
    chosen = []
    for name in draw_names(config, draws):
        if config.probability < 1 and draws.uniform() > config.probability:
            continue
        level = config.magnitude
        if config.deviation == math.inf:
            level = draws.uniform(0, config.magnitude)
        elif config.deviation > 0:
            level = draws.normal(config.magnitude, config.deviation)
        level = max(0.0, min(level, config.most)) / MOST
        chosen.append((PREFIX + name, float(ARGUMENTS[name](level, draws)) if name in ARGUMENTS else 0.0))
    return chosen


def draw_names(config: RandAugment, draws: "Draws") -> list[str]:
    """Uniform and with replacement; by weights: one after the other, without."""
    if config.weights is None:
        return [config.names[draws.below(len(config.names))] for _ in range(config.operations)]
    left = dict(zip(config.names, config.weights, strict=True))
    names: list[str] = []
    for _ in range(config.operations):
        point, sums = draws.uniform(0, sum(left.values())), accumulate(left.values())
        name = next((name for name, total in zip(left, sums, strict=True) if point < total), list(left)[-1])
        names.append(name)
        del left[name]
    return names


def _signed(value: float, draws: "Draws") -> float:
    return -value if draws.uniform() > 0.5 else value


def _of_signed(factor: float) -> Callable[[float, "Draws"], float]:
    return lambda level, draws: _signed(level * factor, draws)


def _enhanced(level: float, draws: "Draws") -> float:
    return level * 1.8 + 0.1


def _enhanced_more(level: float, draws: "Draws") -> float:
    return max(0.1, 1.0 + _signed(level * 0.9, draws))


def _between(low: float, high: float) -> Callable[[float, "Draws"], float]:
    return lambda level, draws: max(low, min(high, low + (high - low) * level))


# Of a level, the magnitude / 10, and draws for its sign: in timm's order of operations, to the last bit.
ARGUMENTS: dict[str, Callable[[float, "Draws"], float]] = {
    "Rotate": _of_signed(30.0),  # degrees
    "ShearX": _of_signed(0.3),
    "ShearY": _of_signed(0.3),
    "TranslateXRel": _of_signed(0.45),  # of the side
    "TranslateYRel": _of_signed(0.45),
    "Posterize": lambda level, draws: int(level * 4),  # bits that are kept
    "PosterizeIncreasing": lambda level, draws: 4 - int(level * 4),
    "Solarize": lambda level, draws: min(256, int(level * 256)),
    "SolarizeIncreasing": lambda level, draws: 256 - min(256, int(level * 256)),
    "SolarizeAdd": lambda level, draws: min(128, int(level * 110)),
    **dict.fromkeys(("Color", "Contrast", "Brightness", "Sharpness"), _enhanced),
    **{f"{name}Increasing": _enhanced_more for name in ("Color", "Contrast", "Brightness", "Sharpness")},
    "Desaturate": _between(0.5, 1.0),
    "GaussianBlur": _between(0.1, 2.0),
}

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def _affine(image: Any, matrix: tuple[float, ...], how: str) -> Any:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, RESAMPLING[how], fillcolor=FILL)


def _solarize_add(image: Any, value: float, how: str) -> Any:
    return image.point([min(255, level + int(value)) if level < 128 else level for level in range(256)] * 3)


def _posterize(image: Any, value: float, how: str) -> Any:
    if value < 1:  # black, as older Pillows make it; newer ones refuse it, and timm stops
        return Image.new("RGB", image.size)
    return ImageOps.posterize(image, int(value))


def _solarize(image: Any, value: float, how: str) -> Any:
    return ImageOps.solarize(image, int(value))


def _enhance(kind: Any) -> Callable[[Any, float, str], Any]:
    return lambda image, value, how: kind(image).enhance(value)


ENHANCEMENTS = {
    "Color": _enhance(ImageEnhance.Color),
    "Contrast": _enhance(ImageEnhance.Contrast),
    "Brightness": _enhance(ImageEnhance.Brightness),
    "Sharpness": _enhance(ImageEnhance.Sharpness),
}
# Each takes an RGB image of Pillow's, the argument and the interpolation, by the names of what is drawn.
OPERATIONS: dict[str, Callable[[Any, float, str], Any]] = {
    PREFIX + name: operation
    for name, operation in {
        "AutoContrast": lambda image, value, how: ImageOps.autocontrast(image),
        "Equalize": lambda image, value, how: ImageOps.equalize(image),
        "Invert": lambda image, value, how: ImageOps.invert(image),
        "Rotate": lambda image, value, how: image.rotate(value, RESAMPLING[how], fillcolor=FILL),
        "ShearX": lambda image, value, how: _affine(image, (1, value, 0, 0, 1, 0), how),
        "ShearY": lambda image, value, how: _affine(image, (1, 0, 0, value, 1, 0), how),
        "TranslateXRel": lambda image, value, how: _affine(image, (1, 0, value * image.size[0], 0, 1, 0), how),
        "TranslateYRel": lambda image, value, how: _affine(image, (1, 0, 0, 0, 1, value * image.size[1]), how),
        "Posterize": _posterize,
        "PosterizeIncreasing": _posterize,
        "Solarize": _solarize,
        "SolarizeIncreasing": _solarize,
        "SolarizeAdd": _solarize_add,
        **ENHANCEMENTS,
        **{f"{name}Increasing": operation for name, operation in ENHANCEMENTS.items()},
        "Desaturate": lambda image, value, how: ImageEnhance.Color(image).enhance(min(1.0, max(0.0, 1.0 - value))),
        "GaussianBlur": lambda image, value, how: image.filter(ImageFilter.GaussianBlur(radius=value)),
    }.items()
}
