"""Published figures beside those of the runs, as cells: for a terminal, Markdown and HTML alike."""

import math
from collections.abc import Sequence
from itertools import groupby

from recipe.ladder.comparing.comparison import Beside, Comparison

TITLE = "Published, and here (mean over the runs)"
NAMES = {"acc1": "top-1", "loss": "loss", "acc5": "top-5", "train_loss": "train loss", "train_acc1": "train top-1"}


def names_of(lines: Sequence[Beside]) -> list[str]:
    """The figures that some line has, the most telling first."""
    return [name for name in NAMES if any(name in line.figures for line in lines)]


def header(names: Sequence[str]) -> list[str]:
    """Of the table: two columns for each figure."""
    return ["setting", "when", *(text for name in names for text in (NAMES[name], "here"))]


def rows(lines: Sequence[Beside], names: Sequence[str], repeat: bool) -> list[list[str]]:
    """Cells of each line.

    Args:
        repeat: name the setting in each of its lines, and not in the first alone.
    """
    found = []
    for setting, of_setting in groupby(lines, lambda line: line.setting):
        for number, line in enumerate(of_setting):
            figures = [line.figures.get(name, (math.nan, math.nan)) for name in names]
            cells = [figure(value, name) for name, pair in zip(names, figures, strict=True) for value in pair]
            found.append([setting if repeat or not number else "", line.when, *cells])
    return found


def figure(value: float, name: str) -> str:
    """A figure as text; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:.3f}" if name.endswith("loss") else f"{value:.2f}"


def sources(comparison: Comparison) -> list[str]:
    """Where the figures that are shown stand, by title."""
    shown = [row.published.source for row in comparison.rows if row.published.shown and row.published.source]
    return [f"Published in {title}." for title in dict.fromkeys(shown)]
