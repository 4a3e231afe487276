"""The figure of gains on several data sets: settings by data sets, and their means (a forest plot)."""

import math
import textwrap
from typing import Any

from recipe.ladder.comparing.comparison import AcrossData
from recipe.ladder.telling.plots import BLACK, GREY, LINES

MARKERS = "osv^<>Pp*h"


def forest(axes: Any, across: AcrossData) -> str:
    """Draw each setting's gain on each data set, with its interval, and the mean below. Returns the caption."""
    number, gains = len(across.data), across.gains
    step = 0.8 / (number + 1)
    labels = [textwrap.fill(f"{gain.label} over {gain.over}", 34) for gain in gains]
    axes.figure.set_figheight(max(3.0, 1.6 + len(gains) * max(0.5, 0.2 * (number + 1))))
    ends = [0.0]
    for y, gain in enumerate(gains):
        for place, one in enumerate(gain.by_data):
            if one is None:
                continue
            at, colour = y - 0.4 + step * (place + 0.5), LINES[(place + 1) % len(LINES)]
            ends += [end for end in (one.gain, one.low, one.high) if not math.isnan(end)]
            label = across.data[place] if y == _first(across, place) else None
            marker = MARKERS[place % len(MARKERS)]
            axes.plot(one.gain, at, marker, color=colour, markersize=7, label=label)
            if not math.isnan(one.low):
                axes.plot([one.low, one.high], [at, at], color=colour, linewidth=1.5)
        ends.append(gain.mean)
    low, high = min(ends), max(ends)
    room = 0.25 * (high - low) or 1.0
    axes.set_xlim(low - room, high + room)
    cut = False
    for y, gain in enumerate(gains):
        at = y - 0.4 + step * (number + 0.5)
        if not math.isnan(gain.low):
            axes.plot([gain.low, gain.high], [at, at], color=BLACK, linewidth=2.5)
            cut = cut or gain.low < low - room or gain.high > high + room
        axes.plot(gain.mean, at, "D", color=BLACK, markersize=9, label="mean" if y == 0 else None)
        axes.axhline(y + 0.5, color=GREY, linewidth=0.5)
    axes.axvline(0, color=BLACK, linewidth=1)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("gain in top-1, points")
    axes.figure.legend(loc="outside lower right", ncols=min(4, number + 1), frameon=False)
    return (
        "Gain of each setting on each data set, with its 95% interval over seeds, and the mean over the data sets "
        "(diamond), with the 95% interval that takes the data sets for a sample of such data sets."
        + (" Intervals that reach the edge go on beyond it." if cut else "")
    )


def _first(across: AcrossData, place: int) -> int:
    """The first setting that was compared on a data set: it has the data set's line in the legend."""
    return next(y for y, gain in enumerate(across.gains) if gain.by_data[place] is not None)
