"""Figures, by matplotlib (the extra `report`). Large type: they are read on slides and in columns."""

import textwrap
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from recipe.errors import RunError
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.comparing.report import Report

try:
    import matplotlib
except ImportError as error:
    raise RunError("figures need matplotlib: pip install -e '.[report]'") from error

matplotlib.use("agg")  # no display
from matplotlib import pyplot as plt

from recipe.ladder.telling import plots
from recipe.ladder.telling.budget_figure import gain_by_budget
from recipe.ladder.telling.drawing import Drawing
from recipe.ladder.telling.forest import forest
from recipe.ladder.telling.wording import prefix

STYLE: dict[Any, Any] = {
    "font.size": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "svg.hashsalt": "recipe-ladder",  # the same figures give the same file
}
AXES = {"val_resize": "validation resize: shorter side, px", "val_crop": "validation crop, px"}
WIDTH = 9  # inches


KINDS: dict[str, Callable[[Any, Comparison], str | None]] = {  # of one comparison
    "ladder": plots.ladder,
    "gains": plots.gains,
    "response": plots.response,
    "learning_curves": plots.learning_curves,
    "loss_curves": plots.loss_curves,
    "cost": plots.cost,
}


class Curve(NamedTuple):
    """A line of a figure."""

    label: str
    x: list[float]
    y: list[float]
    error: list[float]  # half the length of the bars


def draw(report: Report, folder: Path) -> dict[str, Drawing]:
    """Every figure that the runs allow, as SVG and PNG in `folder`, by name.

    With several comparisons a name begins with its comparison's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[str, Drawing] = {}
    for name, place, kind, function in _figures(report):
        with plt.rc_context(STYLE):
            figure = plt.figure(figsize=(WIDTH, 5), layout="constrained")
            caption = function(figure)
            if caption is not None:
                files = folder / f"{name}.svg", folder / f"{name}.png"
                for file in files:
                    figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
                drawings[name] = Drawing(place, kind, caption, *files)
            plt.close(figure)
    return drawings


def _figures(report: Report) -> Iterator[tuple[str, int, str, Callable[[Any], str | None]]]:
    """Name, place as in Drawing, kind, and what draws on an empty figure and returns the caption."""
    for number, comparison in enumerate(report.comparisons):
        for kind, function in KINDS.items():
            yield prefix(report, number) + kind, number, kind, _on_axes(function, comparison)
    for number, across in enumerate(report.across):
        yield f"data_sets{f'-{number + 1}' if number else ''}", -1 - number, "data_sets", _on_axes(forest, across)
    for number, series in enumerate(report.series):
        place = -1 - len(report.across) - number
        yield f"budgets{f'-{number + 1}' if number else ''}", place, "budgets", partial(gain_by_budget, series=series)


def _on_axes(function: Callable[[Any, Any], str | None], what: Any) -> Callable[[Any], str | None]:
    return lambda figure: function(figure.subplots(), what)


def accuracy_by_resolution(path: Path, curves: list[Curve], axis: str) -> None:
    """Top-1, with its standard error over the images, against the resolution of the validation images.

    Args:
        path: file to write; its suffix chooses the format.
        curves: pixels against top-1 in percent.
        axis: what the pixels are, val_resize or val_crop.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(9, 6), layout="constrained")
        for curve in curves:
            label = textwrap.fill(curve.label, 80)
            line = axes.errorbar(curve.x, curve.y, curve.error, marker="o", linewidth=2, capsize=4, label=label)
            for bar in line[2]:
                bar.set_alpha(0.4)
        axes.set_xticks(sorted({pixels for curve in curves for pixels in curve.x}))
        axes.set_xlabel(AXES[axis])
        axes.set_ylabel("top-1, % (bars: standard error)")
        figure.legend(loc="outside lower left", frameon=False, fontsize=12)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=150)
        plt.close(figure)
