"""Figures from predictions: intervals, classes, confusions. All counts are of images, all shares from 0 to 1."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Z = 1.959963984540054  # of the standard normal distribution: 95% lie within ± Z


class Interval(NamedTuple):
    """Ends of a 95% interval."""

    low: float
    high: float


class ClassScore(NamedTuple):
    """What the network makes of one class. NaN where a figure has nothing to divide by."""

    name: str
    images: int
    hits: int
    recall: float  # share of the class's images that are taken for it
    recall_interval: Interval
    precision: float  # share of the images taken for the class that are of it
    f1: float  # 2·precision·recall / (precision + recall) = 2·hits / (images + taken for it)
    confused_with: str | None  # the class that its other images are most often taken for; None: no image is
    confused: int  # how many are


def wilson(hits: int, count: int) -> Interval:
    """95% interval of a share, hits of count (Wilson, 1927): unlike ± standard error it stays within 0 and 1.

    centre = (p + z²/2n) / (1 + z²/n), half width = z·√(p(1−p)/n + z²/4n²) / (1 + z²/n). NaN for a count of 0.
    """
    if count == 0:
        return Interval(math.nan, math.nan)
    share, shrink = hits / count, 1 + Z * Z / count
    centre = (share + Z * Z / (2 * count)) / shrink
    half = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count)) / shrink
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def predicted_classes(logits: np.ndarray, labels: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """The class that each image is taken for, (images,) int64.

    Logits are kept as float16, where two classes may share the largest value; `correct` was counted before rounding
    and decides whether the label was the larger one.

    Args:
        logits: (images, classes); labels: (images,) int64; correct: (images,) bool.
    """
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return np.where(correct, labels, others.argmax(1))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """(classes, classes) int64: images of each class (row) that are taken for each class (column)."""
    pairs = labels * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes * num_classes).reshape(num_classes, num_classes)


def class_scores(confusion: np.ndarray, classes: Sequence[str]) -> list[ClassScore]:
    """The figures of every class, in their order."""
    images, taken, hits = confusion.sum(1), confusion.sum(0), confusion.diagonal()
    wrong = confusion - np.diag(hits)
    worst = wrong.argmax(1)
    scores = []
    for number, name in enumerate(classes):
        right, count = int(hits[number]), int(images[number])
        confused = int(wrong[number, worst[number]])
        scores.append(
            ClassScore(
                name=name,
                images=count,
                hits=right,
                recall=_share(right, count),
                recall_interval=wilson(right, count),
                precision=_share(right, int(taken[number])),
                f1=_share(2 * right, count + int(taken[number])),
                confused_with=classes[int(worst[number])] if confused else None,
                confused=confused,
            )
        )
    return scores


def macro_f1(scores: Sequence[ClassScore]) -> float:
    """The mean F1 of the classes that have images."""
    return float(np.mean([score.f1 for score in scores if score.images]))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
