"""The least spread that a measurement can have: accuracies are counts of images, so no spread is 0.

A few runs may agree by chance, to the last image on a small validation set. What they would have to differ by is known
all the same: from the step of the count, and from the images on which single runs disagree.
"""

import math
from collections.abc import Sequence

import numpy as np


def of_run(images: int, correct: np.ndarray | None = None) -> float:
    """The least standard deviation of a setting's accuracy over seeds, points.

    A step of the count, one image. With predictions, what images that err independently of one another make:
    √Σ p(1 - p) / images, p each image's rate of being right over the seeds (Jordan, 2024, arXiv 2304.01910, finds that
    trained networks come close to it). The sampling error of the validation set is no part of it: all seeds have the
    same images.

    Args:
        images: in the validation set; 0: not known, and there is no floor.
        correct: (runs, images) bool, which images each run is right about.
    """
    return max(100 / images, _from_images(correct)) if images else 0.0


def of_difference(images: int, gained: np.ndarray | None = None) -> float:
    """The least standard deviation of the difference of two settings over seeds, points.

    Args:
        images: as for `of_run`.
        gained: (seeds, images): on each image 1 where only the new setting is right, -1 where only the old one is.
    """
    return max(math.sqrt(2) * 100 / images, _from_images(gained)) if images else 0.0


def _from_images(figures: np.ndarray | None) -> float:
    if figures is None or len(figures) < 2:
        return 0.0
    return 100 * math.sqrt(float(figures.var(axis=0, ddof=1, dtype=np.float32).sum())) / figures.shape[1]


def of_figures(figures: Sequence[float] | np.ndarray) -> float:
    """The same as `of_difference` from accuracies alone, whose least step is at most the smallest gap between them.

    0 where all are equal: nothing is known.
    """
    gaps = np.diff(np.unique(np.round(np.asarray(figures, dtype=float), 9)))
    return math.sqrt(2) * float(gaps.min()) if len(gaps) else 0.0
