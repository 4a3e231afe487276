"""Figures, by matplotlib (the extra `report`). Large type: they are read on slides and in columns."""

import textwrap
from collections.abc import Callable
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
    kinds: dict[str, Callable[[Any, Comparison], str | None]] = {
        "ladder": plots.ladder,
        "gains": plots.gains,
        "response": plots.response,
        "learning_curves": plots.learning_curves,
        "loss_curves": plots.loss_curves,
        "cost": plots.cost,
    }
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[str, Drawing] = {}
    for number, comparison in enumerate(report.comparisons):
        for kind, function in kinds.items():
            with plt.rc_context(STYLE):
                figure, axes = plt.subplots(figsize=(WIDTH, 5), layout="constrained")
                caption = function(axes, comparison)
                if caption is not None:
                    name = prefix(report, number) + kind
                    files = folder / f"{name}.svg", folder / f"{name}.png"
                    for file in files:
                        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
                    drawings[name] = Drawing(number, kind, caption, *files)
                plt.close(figure)
    return drawings | _of_data_sets(report, folder)


def _of_data_sets(report: Report, folder: Path) -> dict[str, Drawing]:
    """A figure for what several data sets say together."""
    drawings = {}
    for number, across in enumerate(report.across):
        with plt.rc_context(STYLE):
            figure, axes = plt.subplots(figsize=(WIDTH, 5), layout="constrained")
            caption = forest(axes, across)
            name = f"data_sets{f'-{number + 1}' if number else ''}"
            files = folder / f"{name}.svg", folder / f"{name}.png"
            for file in files:
                figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)
            drawings[name] = Drawing(-1 - number, "data_sets", caption, *files)
            plt.close(figure)
    return drawings


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
