"""Which images of a training set validate, a share of every class or one of several equal parts; and which train.

The same images for every seed and recipe, so that runs are compared on them. Nothing is copied.
"""

import hashlib

import numpy as np
import torch

from recipe.config import DataConfig
from recipe.errors import DataError
from recipe.randomness import generator_at


def is_divided(config: DataConfig) -> bool:
    """Whether the images to validate on are held out of the training set."""
    return config.val_fraction is not None or config.folds is not None


def held_out(labels: np.ndarray, classes: list[str], config: DataConfig) -> tuple[np.ndarray, str]:
    """Where an image validates, (images,) bool; and what to call these images, which is part of their fingerprint.

    Args:
        labels: (images,) int64.
        classes: what to call the classes in a message. Raises DataError where one of them has too few images.
    """
    if config.folds is not None:
        return folds_of(labels, classes, config.folds) == config.fold, f"{config.fold} of {config.folds}"
    assert config.val_fraction is not None
    return share_of_every_class(labels, classes, config.val_fraction), f"{config.val_fraction:g}"


def share_of_every_class(labels: np.ndarray, classes: list[str], fraction: float) -> np.ndarray:
    """Where an image validates, (images,) bool: in each class the same share, at least one image of it.

    Raises DataError where a class has one image.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for label, name in enumerate(classes):
        own = _shuffled(labels, label, "val_fraction")
        if len(own) < 2:
            raise DataError(f"the class {name} has 1 image: data.val_fraction needs two or more")
        count = min(max(1, round(fraction * len(own))), len(own) - 1)
        mask[own[:count]] = True
    return mask


def folds_of(labels: np.ndarray, classes: list[str], folds: int) -> np.ndarray:
    """The part of each image, (images,) from 0 to folds - 1: sizes differ by one image at most, in each class as well.

    Raises DataError where a class has fewer images than there are folds: it would be missing in some of them.
    """
    for label, count in enumerate(np.bincount(labels, minlength=len(classes))):
        if count < folds:
            raise DataError(
                f"the class {classes[label]} has {count} training image{'s' if count != 1 else ''}, fewer than "
                f"data.folds={folds}: every fold needs one of each class"
            )
    order = np.concatenate([_shuffled(labels, label, "folds") for label in range(len(classes))])
    parts = np.empty(len(labels), dtype=np.int64)
    parts[order] = np.arange(len(order)) % folds  # in turn, one class after the other
    return parts


def first_of_each_class(labels: np.ndarray, classes: list[str], count: int) -> np.ndarray:
    """Which images are trained on, (images,) bool: of each class `count`, or all where it has fewer.

    Which they are neither a seed nor the order of file names says, and the first 50 are among the first 100.

    Args:
        labels: (images,) int64.

    Raises DataError where no class has more: then it changes nothing but the run's name.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for label in range(len(classes)):
        mask[_shuffled(labels, label, "first_per_class")[:count]] = True
    if mask.all():
        largest = int(np.bincount(labels).max())
        raise DataError(
            f"data.first_per_class={count}: no class has more than {largest} training images; leave it out to take all"
        )
    return mask


def part_fingerprint(fingerprint: str, what: str) -> str:
    """The fingerprint of a part of a data set."""
    return hashlib.blake2b(f"{fingerprint} {what}".encode(), digest_size=8).hexdigest()


def _shuffled(labels: np.ndarray, label: int, stream: str) -> np.ndarray:
    """The numbers of a class's images in an order of their own, which no run's seed changes."""
    own = np.flatnonzero(labels == label)
    shuffled = torch.randperm(len(own), generator=generator_at(0, stream, label)).numpy()
    numbers: np.ndarray = own[shuffled]
    return numbers
