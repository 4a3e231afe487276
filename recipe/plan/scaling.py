"""From ImageNet units to the size at hand: recipes are written for ImageNet-1k, `scale=…` holds the factors."""

from collections.abc import Set
from copy import deepcopy
from typing import Any

from recipe.config import Config

SCALED_FROM_MODEL = "resnet50"  # the reference ladder's model: what `scale.model` replaces


def even(pixels: float) -> int:
    """The nearest even number of pixels."""
    return 2 * round(pixels / 2)


def scale(config: Config, literal: Set[str]) -> Config:
    """A copy of `config` with the factors of `config.scale` applied.

    Args:
        literal: dotted keys given on the command line. They are meant as they stand and are not scaled.
    """
    config = deepcopy(config)
    factor = config.scale

    def change(dotted: str, value: Any) -> None:
        if dotted not in literal:
            *path, name = dotted.split(".")
            setattr(getattr(config, path[0]) if path else config, name, value)

    if factor.epochs != 1:
        change("epochs", max(1, round(config.epochs * factor.epochs)))
        change("schedule.warmup_epochs", config.schedule.warmup_epochs * factor.epochs)
        change("schedule.step_size", config.schedule.step_size * factor.epochs)
        if config.schedule.name == "exponential":
            change("schedule.gamma", config.schedule.gamma ** (1 / factor.epochs))
        change("schedule.interval", "step")  # warm-up and steps are now fractions of an epoch
    if factor.resolution != 1:
        for name in ("train_resize", "train_crop", "val_resize", "val_crop"):
            if (pixels := getattr(config.resolution, name)) is not None:
                change(f"resolution.{name}", even(pixels * factor.resolution))
    if factor.batch_size != 1:
        share = factor.batch_size
        if "micro_batch_size" not in literal:  # a step holds one micro-batch at least
            share = max(share, factor.micro_batch_size * config.micro_batch_size / config.batch_size)
        factor.batch_size = share  # `ema_steps` follows it
        change("batch_size", max(1, round(config.batch_size * share)))
        change("optimizer.lr", config.optimizer.lr * share)
        change("schedule.min_lr", config.schedule.min_lr * share)
    if factor.micro_batch_size != 1:
        change("micro_batch_size", max(2, round(config.micro_batch_size * factor.micro_batch_size)))
    if factor.evaluate_every != 1:
        change("evaluate.every", max(1, round(config.evaluate.every * factor.evaluate_every)))
    own_weights = config.model.weights is not None and "model.weights" not in literal  # the recipe's, for its model
    if factor.model is not None and config.model.name == SCALED_FROM_MODEL and not own_weights:
        change("model.name", factor.model)
    return config


def ema_steps(steps: int, batch_factor: float, num_images: int, reference_images: int) -> int:
    """`ema.steps` for this data set: the same share of an epoch as in ImageNet's (32 steps of 1251).

    An epoch has as many steps fewer as the data set has images fewer, and more where the batch was scaled down.
    """
    return max(1, round(steps * num_images / reference_images / batch_factor))
