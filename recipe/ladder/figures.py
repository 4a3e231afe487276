"""Figures, by matplotlib (the extra `report`). Large type: they are read on slides and in columns."""

import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from recipe.errors import RunError

try:
    import matplotlib
except ImportError as error:
    raise RunError("figures need matplotlib: pip install 'recipe-ladder[report]'") from error

matplotlib.use("agg")  # no display
from matplotlib import pyplot as plt

STYLE: dict[Any, Any] = {
    "font.size": 14,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
}
AXES = {"val_resize": "validation resize: shorter side, px", "val_crop": "validation crop, px"}


class Curve(NamedTuple):
    """A line of a figure."""

    label: str
    x: list[float]
    y: list[float]
    error: list[float]  # half the length of the bars


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
