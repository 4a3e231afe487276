"""A run's curves as text, for a terminal: top-1 and loss against epochs, side by side, eight lines high.

Lines are drawn in braille letters, of which each has two by four dots. A figure's name and last value stand at the end
of its line; the training's is dotted.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from recipe.ladder.reading import histories
from recipe.ladder.reading.histories import Series

ROWS = 6  # of letters; a title above and an axis below
NARROWEST, WIDEST = 72, 120  # columns of both panels
BETWEEN = 3  # columns
WITHOUT_BRAILLE = ("", "dumb", "linux")  # values of TERM: the last is the console without windows
DOTTED = 3  # columns of dots from one of a dotted line to its next
BRAILLE = 0x2800  # its letter without dots; some fonts draw hollow ones there, so a space takes its place
DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])  # of a letter, by row and column
PANELS = {
    "top-1, %": {"val/acc1": "val", "ema/acc1": "EMA", "train/acc1": "train"},
    "loss": {"val/loss": "val", "ema/loss": "EMA", "train/loss": "train"},
}


class Trace(NamedTuple):
    """A curve of a panel."""

    name: str
    points: Series  # epochs done: figure


def of_run(folder: Path, stream: TextIO) -> list[str]:
    """Lines to print, an empty one first; none where the stream is no terminal, cannot show them, or there is no curve.

    Args:
        folder: of the run.
        stream: to be printed to.
    """
    columns = shutil.get_terminal_size().columns
    if not stream.isatty() or not shows_braille(stream.encoding, os.environ.get("TERM", "")) or columns < NARROWEST:
        return []
    lines = drawn(histories.by_epoch(folder), columns - 1)
    return ["", *lines] if lines else []


def shows_braille(encoding: str | None, term: str) -> bool:
    """Whether a terminal has these letters, by its encoding and its kind ($TERM)."""
    return (encoding or "").lower().replace("-", "") == "utf8" and term not in WITHOUT_BRAILLE


def drawn(series: Mapping[str, Series], columns: int) -> list[str]:
    """The panels side by side, in lines of equal height; empty where no figure has two epochs.

    Args:
        series: as `histories.by_epoch` gives them.
        columns: that may be used.
    """
    found = {
        title: [Trace(name, series[tag]) for tag, name in tags.items() if series.get(tag)]
        for title, tags in PANELS.items()
    }
    shown = {title: lines for title, lines in found.items() if any(len(line.points) > 1 for line in lines)}
    if not shown:
        return []
    epochs = [epoch for lines in shown.values() for line in lines for epoch in line.points]
    width = (min(columns, WIDEST) - BETWEEN) // 2
    panels = [_panel(title, lines, (min(epochs), max(epochs)), width) for title, lines in shown.items()]
    return [(" " * BETWEEN).join(parts).rstrip() for parts in zip(*panels, strict=True)]


def _panel(title: str, lines: Sequence[Trace], epochs: tuple[int, int], width: int) -> list[str]:
    """Title, ROWS of letters and an axis, `width` columns each."""
    form = ".1f" if "%" in title else ".2f"
    figures = [figure for line in lines for figure in line.points.values()]
    low, high = min(figures), max(figures)
    names = [f"{line.name} {format(line.points[max(line.points)], form)}" for line in lines]
    scale = [format(high, form), *[""] * (ROWS - 2), format(low, form)]
    left, right = max(map(len, scale)), max(map(len, names))
    dots = np.zeros((4 * ROWS, 2 * (width - left - right - 3)), dtype=bool)
    ends = []
    for line in lines:
        rows = _rows(line.points, epochs, (low, high), dots.shape)
        ends.append(rows[max(rows)])
        drawn_line = _connected(rows, dots.shape)
        if line.name == "train":
            drawn_line[:, np.arange(dots.shape[1]) % DOTTED > 0] = False
        dots |= drawn_line
    named = dict(zip(_apart(ends), names, strict=True))
    axis = f"{' ' * left} └{_axis(epochs, dots.shape[1] // 2)}"
    letters = zip(scale, _letters(dots), strict=True)
    body = [
        f"{tick:>{left}} {'┤' if tick else '│'}{row} {named.get(number, '')}"
        for number, (tick, row) in enumerate(letters)
    ]
    return [text.ljust(width) for text in (f"{' ' * left} {title}", *body, axis)]


def _rows(points: Series, epochs: tuple[int, int], span: tuple[float, float], shape: tuple[int, int]) -> dict[int, int]:
    """The row of dots of a curve in each column that has a figure, from the top and the left; the mean of several."""
    (first, last), (low, high), (height, width) = epochs, span, shape
    found: dict[int, list[float]] = {}
    for epoch in sorted(points):
        found.setdefault(round((epoch - first) / max(1, last - first) * (width - 1)), []).append(points[epoch])
    unit = (high - low) or 1.0
    return {column: round((high - float(np.mean(some))) / unit * (height - 1)) for column, some in found.items()}


def _connected(rows: Mapping[int, int], shape: tuple[int, int]) -> np.ndarray:
    """The dots of a curve, (height, width) bool, with straight lines between its figures."""
    dots = np.zeros(shape, dtype=bool)
    for column, row in rows.items():
        dots[row, column] = True
    for (left, above), (right, below) in pairwise(rows.items()):
        steps = max(right - left, abs(below - above))
        for step in range(1, steps):
            dots[round(above + (below - above) * step / steps), round(left + (right - left) * step / steps)] = True
    return dots


def _letters(dots: np.ndarray) -> list[str]:
    """Lines of braille letters that show the dots, (height, width) bool."""
    height, width = dots.shape
    cells = dots.reshape(height // 4, 4, width // 2, 2).transpose(0, 2, 1, 3)
    codes = (cells * DOTS).sum((2, 3)).tolist()
    return ["".join(chr(BRAILLE + code) if code else " " for code in row) for row in codes]


def _apart(ends: Sequence[int]) -> list[int]:
    """A row of letters for the name of each line: that of its end, given in dots, or the next that is free."""
    order = sorted(range(len(ends)), key=lambda place: ends[place])
    found = [0] * len(ends)
    for number, place in enumerate(order):
        free = found[order[number - 1]] + 1 if number else 0
        found[place] = min(max(ends[place] // 4, free), ROWS - len(order) + number)
    return found


def _axis(epochs: tuple[int, int], width: int) -> str:
    """The axis below the letters: the first and the last epoch."""
    first, last = f" {epochs[0]} ", f" {epochs[1]} epochs"
    return first + "─" * (width - len(first) - len(last)) + last
