"""Training and validation losses of settings, as a table of its own: the main one is wide enough."""

import math

from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.reading import losses
from recipe.ladder.telling.layout import Column

TITLE = "Losses in the last epoch and in the best one (mean over the runs)"
NOTES = {
    "train": "train: the loss that is minimised, of images as trained on (mixed, smoothed): not to be compared between "
    "settings that mix or smooth differently",
    "val": "val: cross entropy on the validation images, the same for all settings",
    "train_acc1": "train top-1: on the training images as trained on; of mixed ones, by the label of the larger share",
}
FIGURES = {  # of reading.losses.Losses: header, format, key of its note, importance
    "train": ("train, last", ".3f", "train", 90),
    "val": ("val, last", ".3f", "val", 90),
    "best_train": ("train, best", ".3f", "train", 50),
    "best_val": ("val, best", ".3f", "val", 60),
    "best_epoch": ("epoch", ".4g", "", 40),
    "train_acc1": ("train top-1", ".2f", "train_acc1", 30),
}


def columns(comparison: Comparison) -> list[Column]:
    """All columns that some row fills."""
    found = [losses.of_runs(row.runs.values()) for row in comparison.rows]
    every = []
    for name, (header, form, key, importance) in FIGURES.items():
        values = [float(getattr(each, name)) for each in found]
        every.append(Column(key, header, ["" if math.isnan(v) else format(v, form) for v in values], importance))
    return [column for column in every if any(column.cells)]
