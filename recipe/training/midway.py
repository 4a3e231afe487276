"""A first look at how a run does: where no evaluation would come before its end, one halfway, on a few images.

It is only shown. Whatever an evaluation decides (the best epoch, the learning rate, the end) does not hear of it, the
figures go into no file that is read, and no hash depends on it.
"""

from dataclasses import dataclass

import numpy as np

from recipe.config import Config
from recipe.data.dataset import Dataset

SHARE = 0.05  # of the images that a run trains on, at most: about as much of its time, or less
FEWEST = 50  # images: a top-1 of fewer says nothing


@dataclass(frozen=True)
class Midway:
    """When the look is taken, and at how many of the validation images."""

    epoch: int  # after it, from 0
    images: int


def midway(config: Config, epochs: int, validation: int, trained: int) -> Midway | None:
    """The look that a run takes after the first half of its epochs.

    None where `evaluate.every` has an evaluation before the last epoch, where max_steps asks for a short try, and where
    it would be of too few images.

    Args:
        epochs: of the run.
        validation: images of the validation set.
        trained: images of the whole run, repeats counted.
    """
    images = min(validation, int(SHARE * trained))
    if config.evaluate.every < epochs or config.max_steps is not None or epochs < 2 or images < FEWEST:
        return None
    return Midway(epochs // 2 - 1, images)


def sample(images: Dataset, count: int) -> Dataset:
    """So many of the images, of every class its share and evenly spread over it: the same ones for every seed."""
    by_class, mask = np.argsort(images.labels, stable=True), np.zeros(len(images), dtype=bool)
    mask[by_class[np.arange(count) * len(images) // count]] = True
    return images.part(mask, "midway")
