"""Pictures of single runs: accuracy and loss against epochs, of one run or of several in the same axes."""

from pathlib import Path
from typing import Any, NamedTuple

from recipe.ladder.reading import histories
from recipe.ladder.reading.records import RunRecord
from recipe.ladder.telling.figures import STYLE, plt
from recipe.ladder.telling.plots import BLUE, GREY, LINES, ORANGE
from recipe.plan.published import NOTHING, Published

DASHES = ("-", "--")  # six colours that the colour-blind tell apart, twice
MOST = len(LINES) * len(DASHES)
FIGURES = {"acc1": "top-1, %", "loss": "loss"}
RAW = {"acc1": "val/acc1", "loss": "val/loss"}
AVERAGED = {"acc1": "ema/acc1", "loss": "ema/loss"}
TAGS = {  # of each figure, how it is named and drawn in the picture of one run
    "acc1": {
        "val/acc1": ("validation", BLUE),
        "ema/acc1": ("validation, EMA", ORANGE),
        "train/acc1": ("training", GREY),
    },
    "loss": {
        "val/loss": ("validation", BLUE),
        "ema/loss": ("validation, EMA", ORANGE),
        "train/loss": ("training", GREY),
    },
}
LONGEST = 34  # characters of a label


class Marks(NamedTuple):
    """Published figures of a panel."""

    level: float | None  # of the last epoch, or of the best
    remark: str
    by_epoch: dict[str, dict[int, float]]  # figure → epochs done: value


class Line(NamedTuple):
    """A curve, and how it is drawn."""

    label: str
    points: dict[int, float]  # epochs done: figure
    colour: str
    dash: str = "-"


def is_drawable(run: RunRecord) -> bool:
    """Whether an epoch of it has ended."""
    return bool(histories.by_epoch(run.folder))


def draw_one(run: RunRecord, path: Path) -> None:
    """Top-1 and loss of a run: of trained weights, of averaged ones, and in training."""
    series = histories.by_epoch(run.folder)
    lines = {
        name: [Line(label, series[tag], colour) for tag, (label, colour) in tags.items() if tag in series]
        for name, tags in TAGS.items()
    }
    _draw(path, lines, published_of([run]), f"{_shortened(run.name, 60)}, seed {run.unit[0]}")


def draw_several(runs: list[RunRecord], path: Path) -> None:
    """Top-1 and validation loss of several runs, of the weights that count."""
    _draw(path, lines_of(runs), published_of(runs), None)


def lines_of(runs: list[RunRecord]) -> dict[str, list[Line]]:
    """A line of each run for each of FIGURES."""
    lines: dict[str, list[Line]] = {name: [] for name in FIGURES}
    for number, (run, label) in enumerate(zip(runs, _labels(runs), strict=True)):
        label += " (dashed)" if number >= len(LINES) else ""
        series = histories.by_epoch(run.folder)
        counting = AVERAGED if histories.accuracy_tag(run) == "ema/acc1" else RAW
        style = LINES[number % len(LINES)], DASHES[number // len(LINES)]
        for name in FIGURES:
            points = series.get(counting[name], series.get(RAW[name], {}))
            if points:
                lines[name].append(Line(label, points, *style))
    return lines


def _draw(path: Path, lines: dict[str, list[Line]], published: Published, title: str | None) -> None:
    """A panel for each figure, one below the other, each line named at its end."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(len(FIGURES), 1, figsize=(11, 10), layout="constrained", sharex=True)
        for axes, (name, unit) in zip(panels, FIGURES.items(), strict=True):
            _panel(axes, lines[name], marks_of(published, name))
            axes.set_ylabel(unit)
            axes.set_xlabel("epochs")
            axes.tick_params(labelbottom=True)
        if title is not None:
            figure.suptitle(title, fontsize=16)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
        finally:
            plt.close(figure)


def _panel(axes: Any, lines: list[Line], marks: Marks) -> None:
    for line in lines:
        epochs = sorted(line.points)
        marker = "o" if len(epochs) <= 25 else ""
        axes.plot(
            epochs,
            [line.points[epoch] for epoch in epochs],
            color=line.colour,
            linestyle=line.dash,
            linewidth=2.2,
            marker=marker,
            markersize=5,
        )
    ends = [(line.points[max(line.points)], line.label, line.colour, max(line.points)) for line in lines]
    last = max((end[3] for end in ends), default=1)
    for figure, points in marks.by_epoch.items():
        style = {"marker": "x" if figure != "train_loss" else "+", "markersize": 9, "markeredgewidth": 2, "zorder": 3}
        axes.plot(list(points), list(points.values()), color="#555555", linestyle="", **style)
    if marks.level is not None:
        axes.axhline(marks.level, color=GREY, linestyle=":", linewidth=2)
        ends.append((marks.level, f"published {marks.level:g}{marks.remark}", "#555555", last))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.margins(y=0.08)
    _name_ends(axes, ends, last)


def _name_ends(axes: Any, ends: list[tuple[float, str, str, int]], last: int) -> None:
    """Each line's name right of the axes at the height of its end; names that would overlap are moved apart."""
    low, high = axes.get_ylim()
    gap = 0.066 * (high - low)  # a line of type
    ends = sorted(ends)
    heights: list[float] = []
    for value, *_ in ends:
        heights.append(max(value, heights[-1] + gap) if heights else value)
    over = max(0.0, heights[-1] - high) if heights else 0.0
    heights = [height - over for height in heights]
    for number in range(len(heights) - 2, -1, -1):  # what was pushed up may leave room below
        heights[number] = min(heights[number], heights[number + 1] - gap)
    across = axes.get_yaxis_transform()
    for (value, label, colour, end), height in zip(ends, heights, strict=True):
        axes.annotate(
            label,
            (end, value),
            xytext=(1.03, height),
            textcoords=across,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "shrinkA": 0,
                "color": colour,
                "linewidth": 0.8,
                "alpha": 0.6,
            },
        )


def published_of(runs: list[RunRecord]) -> Published:
    """What was published of the runs, where all are the published experiment, on its data."""
    first, *others = (run.published for run in runs)
    return first if first.shown and all(one == first for one in others) else NOTHING


def marks_of(published: Published, name: str) -> Marks:
    """The published figures that belong into the panel of a figure."""
    best = name == "acc1" and published.is_of_best_epoch and "acc1" not in published.figures
    by_epoch = {
        figure: {epoch: figures[figure] for epoch, figures in published.by_epoch.items() if figure in figures}
        for figure in ((name, "train_loss") if name == "loss" else (name,))
    }
    level = published.figures.get("best_acc1" if best else name)
    return Marks(level, ", best epoch" if best else "", by_epoch)


def _labels(runs: list[RunRecord]) -> list[str]:
    """What tells the runs apart: their names, their seeds, or both."""
    names, units = {run.name for run in runs}, {run.unit for run in runs}
    by_recipe = len({run.recipe for run in runs}) == len(names)
    labels = []
    for run in runs:
        seed = f"seed {run.unit[0]}" + (f", fold {run.unit[1]}" if run.unit[1] is not None else "")
        name = run.name.partition("~")[2] if _same_recipe(runs) and "~" in run.name else run.name
        name = _shortened(run.recipe if by_recipe else name, LONGEST)
        labels.append(seed if len(names) == 1 else name if len(units) == 1 else f"{name}, {seed}")
    return labels


def _same_recipe(runs: list[RunRecord]) -> bool:
    return len({run.recipe for run in runs}) == 1


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
