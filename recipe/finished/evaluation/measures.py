"""What an evaluation measures: accuracies, classes and confusions, calibration. Knows neither data nor networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipe.finished.evaluation.calibration import Calibration, Temperature, calibration, temperature
from recipe.finished.evaluation.scores import ClassScore, class_scores, confusion_matrix, predicted_classes


@dataclass(frozen=True)
class Measures:
    """What one evaluation of one network comes to."""

    title: str  # which run
    setting: dict[str, Any]  # split, weights, val_resize, val_crop; data: the images' folder, if not the run's own
    classes: Sequence[str]
    figures: dict[str, float]  # acc1, acc5, balanced_acc1 in percent; loss
    confusion: np.ndarray  # (classes, classes) int64
    scores: list[ClassScore]
    calibration: Calibration | None  # None where logits are infinite or NaN, of a network that has diverged
    temperature: Temperature | None

    @property
    def images(self) -> int:
        """Number of images that were evaluated."""
        return int(self.confusion.sum())


def describe(
    title: str,
    setting: dict[str, Any],
    classes: Sequence[str],
    figures: dict[str, float],
    predictions: tuple[np.ndarray, np.ndarray, np.ndarray],
    halves: tuple[np.ndarray, np.ndarray],
) -> Measures:
    """All measures of some predictions.

    Args:
        figures: acc1, acc5, balanced_acc1 in percent, loss: from before the logits were rounded.
        predictions: logits (images, classes) float16, labels (images,) int64, correct (images,) bool.
        halves: indices of images, to choose a temperature on and to tell what it is worth on.
    """
    logits, labels, correct = predictions
    confusion = confusion_matrix(labels, predicted_classes(logits, labels, correct), len(classes))
    usable = bool(np.isfinite(logits).all())
    return Measures(
        title=title,
        setting=setting,
        classes=classes,
        figures=figures,
        confusion=confusion,
        scores=class_scores(confusion, classes),
        calibration=calibration(*predictions) if usable else None,
        temperature=temperature(*predictions, *halves) if usable and all(map(len, halves)) else None,
    )
