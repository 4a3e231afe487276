"""Pictures of an evaluation, by matplotlib (the extra `report`): who is taken for whom, and how sure the network is."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("agg")  # no display
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.font_manager import FontProperties, fontManager

from recipe.finished.evaluation.measures import Measures
from recipe.logs import lettering

# The same figures give the same file; a $ in a class's name is a $.
STYLE: dict[Any, Any] = {"font.size": 14, "svg.hashsalt": "recipe-ladder", "text.parse_math": False}
BLUE, GREEN, PALE = "#0072B2", "#009E73", "#F2C6A0"  # colour-blind-safe (Okabe and Ito, 2008)
COUNTED = 20  # classes up to which each cell tells its count
LABELLED = 120  # classes up to which each is named
INCH_PER_LABEL = 0.17  # room for 9 points
LONGEST = 24  # characters of a name on an axis


def confusion(measures: Measures, folder: Path) -> None:
    """confusion.png and .svg: of each class's images (row), the share that is taken for each class (column)."""
    count = len(measures.classes)
    images = measures.confusion.sum(1, keepdims=True)
    share = 100 * measures.confusion / np.maximum(images, 1)
    side = max(7.0, 0.55 * count if count <= COUNTED else INCH_PER_LABEL * count if count <= LABELLED else 12.0)
    with plt.rc_context({**STYLE, "font.family": _fonts(measures.classes)}):
        figure, axes = plt.subplots(figsize=(side + 3, side + 2), layout="constrained")
        shown = np.ma.masked_equal(share, 0)
        if count <= COUNTED:
            picture = axes.imshow(shown, cmap="Blues", vmin=0, vmax=100)
            _count_cells(axes, measures.confusion, share)
        else:  # single confusions stay visible: the scale is logarithmic, and pale colours are left out
            colours = matplotlib.colormaps["viridis_r"].copy()
            norm = LogNorm(vmin=min(1.0, shown.min() if shown.count() else 1.0), vmax=100)
            picture = axes.imshow(_grown(shown), cmap=colours, norm=norm, interpolation="nearest")
            picture.set_extent((-0.5, count - 0.5, count - 0.5, -0.5))
        bar = figure.colorbar(picture, ax=axes, shrink=0.7, pad=0.02)
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        bar.set_label("% of the class's images")
        if count <= LABELLED:
            names = [_short(lettering.drawn(name)) for name in measures.classes]
            size = 12 if count <= COUNTED else 9
            axes.set_xticks(range(count), names, rotation=90, fontsize=size)
            axes.set_yticks(range(count), names, fontsize=size)
            axes.set_xlabel("taken for")
            axes.set_ylabel("is")
        else:
            axes.set_xlabel("taken for class number (row of classes.csv, from 0)")
            axes.set_ylabel("is class number")
        axes.set_title(_title(measures), fontsize=14)
        _save(figure, folder / "confusion", dpi=150)


def reliability(measures: Measures, folder: Path) -> None:
    """reliability.png and .svg: accuracy against confidence, and how many images have which confidence."""
    if measures.calibration is None:
        return
    bins = [b for b in measures.calibration.bins if b.images]
    with plt.rc_context(STYLE):
        figure, (axes, below) = plt.subplots(
            2, 1, figsize=(8, 8), layout="constrained", sharex=True, height_ratios=(3, 1)
        )
        width = bins[0].high - bins[0].low
        middles = [100 * (b.low + b.high) / 2 for b in bins]
        accuracy, sure = 100 * np.array([[b.accuracy, b.confidence] for b in bins]).T
        both = np.minimum(accuracy, sure)
        axes.bar(middles, both, 96 * width, color=BLUE, label="accuracy")
        axes.bar(middles, accuracy - both, 96 * width, both, color=GREEN, label="accuracy above the mean confidence")
        axes.bar(middles, sure - both, 96 * width, both, color=PALE, label="mean confidence above the accuracy")
        axes.plot([0, 100], [0, 100], "--", color="#222222", linewidth=1.5, label="perfect calibration")
        axes.set_ylabel("accuracy, %")
        axes.set_ylim(0, 100)
        axes.set_xlim(0, 100)
        figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=12)  # below: bars are anywhere above
        below.bar(middles, [b.images for b in bins], 96 * width, color="#8C8C8C")
        below.set_xlabel("confidence, %: probability of the class it is taken for")
        below.set_ylabel("images")
        for part in (axes, below):
            part.spines[["top", "right"]].set_visible(False)
        error = f"expected calibration error {100 * measures.calibration.ece:.2f} points"
        axes.set_title(f"{_title(measures)}\n{error}", fontsize=14)
        _save(figure, folder / "reliability", dpi=150)


def _count_cells(axes: Any, confusion: np.ndarray, share: np.ndarray) -> None:
    for row, column in zip(*confusion.nonzero(), strict=True):
        colour = "white" if share[row, column] > 55 else "black"
        axes.text(column, row, f"{confusion[row, column]:,}", ha="center", va="center", color=colour, fontsize=11)


def _grown(share: Any) -> Any:
    """Shares of very many classes, each cell the largest of its neighbours: a single one would be too small a dot."""
    count, plain = len(share), share.filled(0)
    reach = count // 400
    grown = np.pad(plain, reach)
    for axis in (0, 1):
        grown = np.max([np.roll(grown, step, axis) for step in range(-reach, reach + 1)], axis=0)
    grown = grown[reach : reach + count, reach : reach + count]
    return np.ma.masked_equal(np.where(plain > 0, plain, grown), 0)


def _title(measures: Measures) -> str:
    s = measures.setting
    images = f"{s['split']} of {_end_of(s['data'], 40)}" if "data" in s else s["split"]
    where = f"{images}, {s['weights']} weights, {s['val_crop']} of {s['val_resize']} px"
    return f"{_short(measures.title, 60)}\n{where}: {measures.images:,} images, top-1 {measures.figures['acc1']:.2f}"


def _short(name: str, length: int = LONGEST) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


def _end_of(path: str, length: int) -> str:
    return path if len(path) <= length else "…" + path[1 - length :]


def _fonts(names: Sequence[str]) -> list[str]:
    """Matplotlib's own font, and those of the system that have what it lacks."""
    paths = lettering.files(names)
    for path in paths:
        fontManager.addfont(path)
    return list(dict.fromkeys(["DejaVu Sans", *(FontProperties(fname=path).get_name() for path in paths)]))


def _save(figure: Any, path: Path, dpi: int) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the report has a line of it
        for suffix in (".png", ".svg"):
            metadata = {"Date": None} if suffix == ".svg" else None
            figure.savefig(path.with_suffix(suffix), dpi=dpi, metadata=metadata)
    plt.close(figure)
