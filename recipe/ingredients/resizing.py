"""Progressive resizing: images that grow while a run goes on. Functions of where a run stands: nothing to save.

Of two kinds: `first_crop` crops smaller squares in earlier epochs (ffcv-imagenet), `resize_from` makes whole batches
smaller on the device, step by step (Composer).
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from recipe.config import Config, ResolutionConfig

if TYPE_CHECKING:
    from torch import Tensor  # a plan asks for sizes without it

PLACES = 1000  # of a run, at least, at which sizes are looked at for their mean


def crop_at(sizes: ResolutionConfig, epoch: int) -> int:
    """Pixels of a training crop's side in an epoch (from 0): step·round(px/step), px = first_crop up to grow_from and
    train_crop from grow_until on, linear between (ffcv-imagenet's get_resolution), halves to even.
    """
    if sizes.first_crop is None:
        return sizes.train_crop
    if epoch <= sizes.grow_from:
        return sizes.first_crop
    if epoch >= sizes.grow_until:
        return sizes.train_crop
    share = (epoch - sizes.grow_from) / (sizes.grow_until - sizes.grow_from)
    pixels = sizes.first_crop + (sizes.train_crop - sizes.first_crop) * share
    return min(max(sizes.grow_step * round(pixels / sizes.grow_step), sizes.first_crop), sizes.train_crop)


def in_epoch(config: Config, epoch: int) -> Config:
    """The config with an epoch's crop as train_crop; itself where crops do not grow."""
    if config.resolution.first_crop is None:
        return config
    return replace(config, resolution=replace(config.resolution, train_crop=crop_at(config.resolution, epoch)))


def resized_to(sizes: ResolutionConfig, crop: int, elapsed: float) -> int:
    """Pixels that crops of `crop` are resized to: step·round(crop·s/step), s = s₀ + (1 − s₀)·f, s₀ = resize_from,
    f = (elapsed − delay)/(1 − finetune − delay) between 0 and 1 (Composer's ProgressiveResizing).

    Args:
        elapsed: share of the run's steps that are done.
    """
    if sizes.resize_from is None:
        return crop
    delay, growing = sizes.resize_delay, 1 - sizes.resize_finetune - sizes.resize_delay
    grown = min(1.0, (elapsed - delay) / growing) if elapsed >= delay else 0.0
    scale = sizes.resize_from + (1 - sizes.resize_from) * grown
    return min(crop, max(1, round(crop * scale / sizes.resize_step)) * sizes.resize_step)


def resize_batch(images: "Tensor", config: Config, epoch: int, step: int, steps_per_epoch: int) -> "Tensor":
    """Images (n, 3, H, H) of a step as they are trained on: the nearest pixels of each, as Composer takes them."""
    if config.resolution.resize_from is None:
        return images
    import torch.nn.functional as F

    elapsed = (epoch * steps_per_epoch + step) / (config.epochs * steps_per_epoch)
    side = resized_to(config.resolution, images.shape[-1], elapsed)
    return images if side == images.shape[-1] else F.interpolate(images, (side, side), mode="nearest")


def sides(config: Config, first_epoch: int = 0, last_epoch: int | None = None) -> list[int]:
    """Pixels of a side of what is trained on, at places spread evenly over some epochs, the last of which is excluded;
    None: over all from the first on.
    """
    last = config.epochs if last_epoch is None else min(last_epoch, config.epochs)
    here = max(1, -(-PLACES // config.epochs)) if config.resolution.resize_from is not None else 1  # in an epoch
    return [
        resized_to(config.resolution, crop_at(config.resolution, epoch), (epoch + part / here) / config.epochs)
        for epoch in range(first_epoch, last)
        for part in range(here)
    ]


def pixels(config: Config, first_epoch: int = 0, last_epoch: int | None = None) -> float:
    """Pixels of an image that is trained on, the mean over some epochs, as `sides` takes them."""
    if config.resolution.first_crop is None and config.resolution.resize_from is None:
        return float(config.resolution.train_crop**2)
    found = sides(config, first_epoch, last_epoch)
    return sum(side**2 for side in found) / len(found)


def smallest(config: Config) -> list[tuple[str, int]]:
    """The key that makes images grow, and the pixels of a side that they grow from; nothing where they do not."""
    keys = ("first_crop", "resize_from")
    grow = [f"resolution.{name}" for name in keys if getattr(config.resolution, name) is not None]
    return [(" and ".join(grow), min(sides(config)))] if grow else []


def in_words(config: Config) -> str:
    """Pixels of a side of what is trained on: one number, or from which to which."""
    if config.resolution.first_crop is None and config.resolution.resize_from is None:
        return str(config.resolution.train_crop)
    found = sides(config)
    if min(found) == max(found):
        return str(found[0])
    return f"{min(found)} to {max(found)} (mean of squares {pixels(config) ** 0.5:.1f} squared)"


def pixels_of(values: Mapping[str, Any]) -> float | None:
    """`pixels` of a whole run, from its values by dotted keys as any version kept them; None: not told."""
    if "resolution.train_crop" not in values:
        return None
    names = [item.name for item in fields(ResolutionConfig)]
    sizes = {name: values[f"resolution.{name}"] for name in names if f"resolution.{name}" in values}
    epochs = values.get("epochs", 1)
    return pixels(Config(epochs=max(1, int(epochs)), resolution=ResolutionConfig(**sizes)))
