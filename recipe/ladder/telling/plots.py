"""The figures of a comparison. Each draws on axes and returns its caption, or None where the runs do not allow it."""

import math
import textwrap
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from scipy import stats

from recipe.ladder.comparing.comparison import Comparison, Gain, Row
from recipe.ladder.comparing.statistics import CONFIDENCE
from recipe.ladder.reading import histories
from recipe.ladder.telling.wording import points, signed, time_unit

# The colour-blind-safe colours of Okabe and Ito (2008).
BLUE, ORANGE, GREY, BLACK = "#0072B2", "#D55E00", "#8C8C8C", "#222222"
LINES = (BLACK, BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00")
DASHED = {  # what the lines are that come from the training
    "acc1": "Dashed: on the training images as trained on; of mixed ones, by the label of the larger share. ",
    "loss": "Dashed: the loss that is minimised, of images as trained on (mixed, smoothed). ",
}
VERDICTS = {
    "helps": BLUE,
    "hurts": ORANGE,
    "unresolved": GREY,
}  # small gains are grey too


def ladder(axes: Any, comparison: Comparison) -> str | None:
    """Top-1 of every setting: mean, 95% interval and the single runs."""
    rows = comparison.rows
    if not any(row.acc1 for row in rows):
        return None
    _rows_on_y(axes, [row.label for row in rows])
    for y, row in enumerate(rows):
        axes.plot(row.acc1, [y] * len(row.acc1), "o", color=BLUE, alpha=0.25, markersize=8, markeredgewidth=0)
        if row.acc1:
            axes.errorbar(row.mean, y, xerr=half_interval(row), fmt="D", color=BLACK, markersize=7, capsize=5)
        if row.published.shown and row.published.acc1 is not None:
            axes.plot(row.published.acc1, y, "x", color=ORANGE, markersize=9, markeredgewidth=2)
    if rows[0].acc1:
        axes.axvline(rows[0].mean, color=GREY, linestyle="--", linewidth=1)
    left, right = axes.get_xlim()
    axes.set_xlim(max(left, -2), min(right, 102))  # an interval of two runs may be longer than there are percents
    axes.set_xlabel("top-1, %")
    published = [row.published for row in rows if row.published.shown and row.published.acc1 is not None]
    epochs = {"of the best epoch" if one.is_of_best_epoch else "of the last epoch" for one in published}
    return (
        f"Top-1 of {'every rung' if comparison.shape == 'ladder' else 'every setting'}: mean over its runs (diamond), "
        "95% interval of the mean (bar; none for a single run) and the runs themselves (dots). "
        f"Dashed: {rows[0].label}." + (f" Crosses: as published, {' or '.join(sorted(epochs))}." if published else "")
    )


def gains(axes: Any, comparison: Comparison) -> str | None:
    """What each setting adds to the one it is compared with; for a ladder as a waterfall from the baseline."""
    rows = [row for row in comparison.rows[1:] if row.gain is not None and not math.isnan(points(row.gain))]
    if not rows:
        return None
    waterfall, first, last = comparison.shape == "ladder", comparison.rows[0], rows[-1]
    total = last.total if waterfall and len(rows) > 1 else None
    _rows_on_y(axes, [row.label for row in rows] + ([f"all, over {first.label}"] if total else []))
    ends = {first.name: 0.0}
    for y, row in enumerate(rows):
        gain = row.gain
        assert gain is not None
        start = ends.get(gain.over, 0.0) if waterfall else 0.0
        ends[row.name] = start + points(gain)
        _bar(axes, y, start, gain)
        if waterfall and y + 1 < len(rows):
            axes.plot([ends[row.name]] * 2, [y, y + 1], color=GREY, linewidth=1)
    if total is not None:
        _bar(axes, len(rows), 0.0, total)
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_xlabel(f"top-1 over {first.label}, points" if waterfall else "gain in top-1, points")
    axes.margins(x=0.12)
    for verdict, colour in VERDICTS.items():
        axes.bar(0, 0, color=colour, label=verdict)
    axes.figure.legend(loc="outside lower right", ncols=3, frameon=False)
    return _about_gains(waterfall, first.label, any(row.gain and row.gain.difference.n > 1 for row in rows))


def response(axes: Any, comparison: Comparison) -> str | None:
    """Top-1 against the value of the one key that a sweep varies."""
    rows = sorted(
        (row for row in comparison.rows if row.value is not None and row.acc1), key=lambda row: row.value or 0
    )
    values = [row.value for row in rows if row.value is not None]
    if len(set(values)) < 2 or len(comparison.varied) > 1:
        return None
    axes.plot(values, [row.mean for row in rows], color=BLUE, linewidth=2)
    for row in rows:
        axes.plot([row.value] * len(row.acc1), row.acc1, "o", color=BLUE, alpha=0.25, markersize=8, markeredgewidth=0)
        axes.errorbar(row.value, row.mean, yerr=half_interval(row), fmt="D", color=BLUE, markersize=7, capsize=5)
    reference = comparison.rows[0]
    if reference in rows:
        axes.plot(
            reference.value, reference.mean, "o", markersize=17, color=ORANGE, fillstyle="none", markeredgewidth=2
        )
        axes.axhline(reference.mean, color=GREY, linestyle="--", linewidth=1)
    if spaced_logarithmically(values):
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    if len(values) <= 8:
        axes.set_xticks(values, [f"{value:g}" for value in values])
    key = comparison.varied[0] if comparison.varied else "value"
    axes.set_xlabel(key)
    axes.set_ylabel("top-1, %")
    return (
        f"Top-1 against {key}: mean (diamonds), its 95% interval (bars) and the single runs (dots). Ringed and dashed: "
        f"{reference.label}, with which the others are compared."
    )


def learning_curves(axes: Any, comparison: Comparison) -> str | None:
    """Top-1 while training: means over the runs, and the band from the lowest to the highest of them."""
    return _curves(axes, comparison, "acc1", "top-1, %")


def loss_curves(axes: Any, comparison: Comparison) -> str | None:
    """The same of the loss."""
    return _curves(axes, comparison, "loss", "loss")


def _curves(axes: Any, comparison: Comparison, figure: str, what: str) -> str | None:
    found = {row.name: histories.validation(row.runs.values(), figure) for row in comparison.rows}
    bands = {name: band for name, band in found.items() if len(band.steps)}
    rows = [row for row in comparison.rows if row.name in bands]
    if not any(len(band.steps) > 1 for band in bands.values()):
        return None
    same_length = len({(round(row.images), bands[row.name].steps[-1]) for row in rows}) == 1
    unit, label = ("epochs", "epochs") if same_length else ("images_seen", "training images seen")
    named = _most_telling(rows)
    others = [row for row in rows if row not in named]
    ends = [bands[row.name].mean[-1] for row in rows]
    lines, dashes = {}, 0
    for row in [*others, *named]:  # the named ones on top
        band, colour = bands[row.name], LINES[named.index(row)] if row in named else "#C8C8C8"
        each = histories.per_step(row.runs.values(), unit) or 1
        style = {"color": colour, "linewidth": 2.5 if row in named else 1.2, "marker": "o" * (len(band.steps) == 1)}
        (lines[row.name],) = axes.plot(band.steps * each, band.mean, label=textwrap.fill(row.label, 40), **style)
        if row in named and len(row.runs) > 1:
            axes.fill_between(band.steps * each, band.low, band.high, color=colour, alpha=0.15, linewidth=0)
        trained = histories.training(row.runs.values(), figure) if row in named else band._replace(steps=band.steps[:0])
        if len(trained.steps) > 1:
            axes.plot(trained.steps * each, trained.mean, color=colour, linewidth=1.5, linestyle=(0, (4, 2)))
            ends.append(trained.mean[-1])
            dashes += 1
    axes.set_xlabel(label)
    axes.set_ylabel(what)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    if not same_length:
        axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
    _cut_beginnings(axes, ends, upwards=figure == "acc1")
    handles = [lines[row.name] for row in named]
    if others:
        handles.append(lines[others[0].name])
        handles[-1].set_label(others[0].label if len(others) == 1 else f"the other {len(others)}")
    if dashes:
        handles.append(Line2D([], [], color=GREY, linewidth=1.5, linestyle=(0, (4, 2)), label="dashed: in training"))
    axes.figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False)
    once = [row.label for row in rows if len(bands[row.name].steps) == 1]
    return (
        f"{'Top-1' if figure == 'acc1' else 'Loss'} on the validation images while training, against {label}: mean "
        "over the runs, and the band from the lowest to the highest of them. "
        + (DASHED[figure] if dashes else "")
        + (f"Evaluated once: {', '.join(once)}. " if once else "")
        + "The steep beginnings may be cut off."
    )


def _cut_beginnings(axes: Any, ends: list[float], upwards: bool) -> None:
    """Leave room for what is to be compared, the ends: the steep beginning may fall off."""
    apart = max(ends) - min(ends)
    if upwards:
        axes.set_ylim(bottom=max(axes.get_ylim()[0], min(ends) - 1.5 * max(apart, 10)))
    else:
        low = min(min(line.get_ydata(), default=math.inf) for line in axes.lines)
        top = min(axes.get_ylim()[1], max(ends) + 1.5 * max(apart, 0.5 * max(ends)))
        axes.set_ylim(low - 0.05 * (top - low), top)


def cost(axes: Any, comparison: Comparison) -> str | None:
    """Top-1 against the time that a run takes, and the front of the settings that none beats for less."""
    rows = [row for row in comparison.rows if row.acc1 and row.device_hours > 0]
    if len(rows) < 2 or max(row.device_hours for row in rows) < 1.05 * min(row.device_hours for row in rows):
        return None
    per_hour, unit = time_unit(max(row.device_hours for row in rows))
    x, y = [row.device_hours * per_hour for row in rows], [row.mean for row in rows]
    labels = [textwrap.fill(row.label, 30) for row in rows]
    axes.figure.set_figheight(max(5.5, 0.42 * len(rows) + 2, 0.3 * sum(label.count("\n") + 1 for label in labels) + 2))
    front = sorted((row for row in rows if row.on_front), key=lambda row: row.device_hours)
    if front:  # a staircase: what the money of a point buys, no better setting being known
        steps = [row.device_hours * per_hour for row in front] + [max(x)]
        axes.step(steps, [row.mean for row in front] + [front[-1].mean], where="post", color=BLUE, linewidth=2)
    for row, a, b in zip(rows, x, y, strict=True):
        axes.plot(a, b, "o", color=BLUE if row.on_front else GREY, markersize=9)
    if max(x) > 10 * min(x):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(ticker.LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    axes.set_xlabel(f"device-{unit} of a run")
    axes.set_ylabel("top-1, %")
    axes.margins(x=0.1, y=0.1)
    place_labels(axes, labels, x, y, list(axes.lines))
    return (
        f"Mean top-1 against what a run costs in device-{unit} (devices times time, evaluations included). Blue: the "
        "front; every other setting costs at least as much as one that is as accurate."
    )


def half_interval(row: Row) -> float | None:
    """Half the 95% interval of a setting's mean (Student's t); None for a single run.

    Folds of a cross-validation share most of their training images: for them it is widened as the gains' intervals are.
    """
    n = len(row.acc1)
    if n < 2:
        return None
    folds = next(iter(row.runs.values())).environment["config"].get("data.folds")
    variance = row.sd**2 * (1 / n + (1 / (folds - 1) if folds else 0))
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * math.sqrt(variance)


def spaced_logarithmically(values: list[float]) -> bool:
    """Whether values such as 0.1, 0.2, 0.4 are more evenly spaced by their ratios than by their differences."""
    spaced = np.unique(values)
    if len(spaced) < 3 or spaced[0] <= 0 or spaced[-1] < 4 * spaced[0]:
        return False
    ratios, differences = np.diff(np.log(spaced)), np.diff(spaced)
    return bool(ratios.std() / ratios.mean() < differences.std() / differences.mean())


def place_labels(axes: Any, labels: list[str], x: list[float], y: list[float], lines: list[Any]) -> None:
    """Write each label beside its point, at the nearest place where it covers no point, line or other label.

    The layout is frozen by it: nothing may be drawn afterwards.
    """
    figure = axes.figure
    figure.canvas.draw()  # the layout is known from here on
    figure.set_layout_engine("none")
    axes.set_autoscale_on(False)
    renderer, frame, pixel = figure.canvas.get_renderer(), axes.get_window_extent(), 72 / figure.dpi  # points
    positions = axes.transData.transform(list(zip(x, y, strict=True)))
    taken = [Bbox.from_bounds(px - 7, py - 7, 14, 14) for px, py in positions]
    for line in lines:
        path = line.get_transform().transform_path(line.get_path()).vertices
        for (ax, ay), (bx, by) in pairwise(path):
            shares = np.linspace(0, 1, 2 + int(math.hypot(bx - ax, by - ay) / 8))
            taken += [Bbox.from_bounds(ax + t * (bx - ax) - 3, ay + t * (by - ay) - 3, 6, 6) for t in shares]
    for number in np.argsort(-positions[:, 1]):
        px, py = positions[number]
        text = axes.annotate(labels[number], (x[number], y[number]), (0, 0), textcoords="offset points", va="center")
        text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0})  # over the lines to other labels
        size = text.get_window_extent(renderer)
        for distance, angle in ((d, a) for d in range(14, 900, 7) for a in range(0, 360, 15)):
            dx = distance * math.cos(math.radians(angle)) - (size.width if 90 < angle < 270 else 0)
            dx -= size.width / 2 if angle in (90, 270) else 0
            dy = distance * math.sin(math.radians(angle))
            box = Bbox.from_bounds(px + dx, py + dy - size.height / 2, size.width, size.height)
            inside = box.x0 > frame.x0 and box.y0 > frame.y0 and box.y1 < frame.y1 and box.x1 < frame.x1
            if inside and not any(box.padded(3).overlaps(other) for other in taken):
                text.set_position((dx * pixel, dy * pixel))
                taken.append(box)
                nearest = min(max(px, box.x0), box.x1), min(max(py, box.y0), box.y1)
                ends = axes.transData.inverted().transform([(px, py), nearest])
                axes.plot(*ends.T, color=GREY, linewidth=0.8, zorder=1)
                break


def _rows_on_y(axes: Any, labels: list[str]) -> None:
    """One line for each label, from the top, with room for all of them."""
    wrapped = [textwrap.fill(label, 32) for label in labels]
    lines = sum(label.count("\n") + 1 for label in wrapped)
    axes.figure.set_figheight(max(2.5, 0.36 * max(lines, len(labels)) + 1.3))
    axes.set_yticks(range(len(labels)), wrapped)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def _bar(axes: Any, y: int, start: float, gain: Gain) -> None:
    """A gain from `start` on, with its interval and its figure."""
    (low, high), mean = gain.interval, points(gain)
    colour = next((VERDICTS[word] for word in VERDICTS if gain.verdict.startswith(word)), GREY)
    axes.barh(y, mean, left=start, height=0.6, color=colour)
    ends = [start, start + mean]
    if not math.isnan(low):
        axes.plot([start + low, start + high], [y, y], color=BLACK, linewidth=1.5, marker="|", markersize=9)
        ends += [start + low, start + high]
    axes.annotate(signed(mean), (max(*ends, 0.0), y), (8, 0), textcoords="offset points", va="center", color=BLACK)


def _about_gains(waterfall: bool, first: str, several: bool) -> str:
    bars = " Thin bars: 95% intervals of each gain." if several else " One run of each: no intervals."
    if waterfall:
        return (
            f"Gain in top-1 of each rung over the one below, in percentage points, added up from {first}; coloured by "
            f"verdict.{bars}"
        )
    return f"Gain in top-1 over the setting it is compared with, in percentage points, coloured by verdict.{bars}"


def _most_telling(rows: list[Row]) -> list[Row]:
    """At most six for a name and a colour: the first, the last, the best, and those with the largest gains.

    In the order of their final top-1, the highest first.
    """
    by_gain = sorted(rows, key=lambda row: -abs(points(row.gain)) if row.gain else 0.0)
    chosen: dict[str, Row] = {}
    for row in [rows[0], rows[-1], max(rows, key=lambda row: row.mean), *by_gain]:
        if len(chosen) < len(LINES):
            chosen[row.name] = row
    return sorted(chosen.values(), key=lambda row: -row.mean)
