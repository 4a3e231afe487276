"""From ImageNet units to the size at hand: recipes are written for ImageNet-1k, `scale=…` holds the factors."""

from collections.abc import Mapping, Set
from copy import deepcopy
from typing import Any

from recipe.config import Config, leaves

SCALED_FROM_MODEL = "resnet50"  # the reference ladder's model: what `scale.model` replaces


# Units of keys → the key of `scale` that is the factor on values in them. Others are not scaled.
FACTORS = {
    "epochs": "epochs",
    "epochs between evaluations": "evaluate_every",
    "pixels": "resolution",
    "images a step": "batch_size",
    "learning rate": "batch_size",
    "images a micro-batch": "micro_batch_size",
}


def even(pixels: float) -> int:
    """The nearest even number of pixels."""
    return 2 * round(pixels / 2)


def scale(config: Config, literal: Set[str]) -> Config:
    """A copy of `config` with the factors of `config.scale` applied: to each value by its unit.

    Args:
        literal: dotted keys given on the command line. They are meant as they stand and are not scaled.
    """
    config = deepcopy(config)
    factor = config.scale

    def change(dotted: str, value: Any) -> None:
        if dotted not in literal:
            *path, name = dotted.split(".")
            setattr(getattr(config, path[0]) if path else config, name, value)

    if factor.batch_size != 1 and "micro_batch_size" not in literal:  # a step holds one micro-batch at least
        least = factor.micro_batch_size * config.micro_batch_size / config.batch_size
        factor.batch_size = max(factor.batch_size, least)  # `ema_steps` follows it
    for dotted, value, about in list(leaves(config)):
        by = getattr(factor, FACTORS[about["unit"]]) if about.get("unit") in FACTORS else 1
        if by != 1 and value is not None:
            change(dotted, _times(value, by, about))
    if factor.epochs != 1:
        if config.schedule.name == "exponential":
            change("schedule.gamma", config.schedule.gamma ** (1 / factor.epochs))
        change("schedule.interval", "step")  # warm-up and steps are now fractions of an epoch
    own_weights = config.model.weights is not None and "model.weights" not in literal  # the recipe's, for its model
    if factor.model is not None and config.model.name == SCALED_FROM_MODEL and not own_weights:
        change("model.name", factor.model)
    return config


def _times(value: float, factor: float, about: Mapping[str, Any]) -> float:
    """The scaled value; a whole number where the key holds one, and then not below the key's least."""
    if about["unit"] == "pixels":
        return even(value * factor)
    if isinstance(about["default"], int):
        return max(int(about["at_least"]), round(value * factor))
    return value * factor


def ema_steps(steps: int, batch_factor: float, num_images: int, reference_images: int) -> int:
    """`ema.steps` for this data set: the same share of an epoch as in ImageNet's (32 steps of 1251).

    An epoch has as many steps fewer as the data set has images fewer, and more where the batch was scaled down.
    """
    return max(1, round(steps * num_images / reference_images / batch_factor))
