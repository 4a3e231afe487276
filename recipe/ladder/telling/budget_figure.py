"""The figure of gains against budgets: a panel for each ingredient."""

from typing import Any

from matplotlib import ticker

from recipe.ladder.comparing.budgets import Ingredient, Series
from recipe.ladder.comparing.crossing import pieces
from recipe.ladder.telling.budgets import short
from recipe.ladder.telling.plots import BLACK, BLUE, GREY, ORANGE


def gain_by_budget(figure: Any, series: Series) -> str:
    """A panel for each ingredient on an empty figure: gains with intervals, crossings shaded. Returns the caption."""
    count = len(series.ingredients)
    columns = 2 if count == 4 else min(3, count)
    lines = -(-count // columns)
    figure.set_size_inches(1.5 + 3.6 * columns, 0.8 + 2.9 * lines)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, one in zip(panels, series.ingredients, strict=False):
        _panel(axes, one)
    for number, axes in enumerate(panels):
        axes.set_visible(number < count)
        axes.tick_params(labelbottom=number + columns >= count)  # the lowest of its column that is shown
    figure.supxlabel(series.axis, fontsize=13)
    figure.supylabel("gain in top-1, points", fontsize=13)
    return (
        f"What each setting is worth, in points of top-1, against {series.axis}: mean and 95% interval. Blue: helps, "
        "orange: hurts, grey: may do either; shaded: where a crossing of 0 may lie."
    )


def _panel(axes: Any, one: Ingredient) -> None:
    x, y = [at.budget for at in one.gains], [at.mean for at in one.gains]
    axes.axhline(0, color=BLACK, linewidth=1)
    axes.plot(x, y, color=GREY, linewidth=1.5)
    for at in one.gains:
        colour = BLUE if at.low > 0 else ORANGE if at.high < 0 else GREY
        axes.errorbar(at.budget, at.mean, [[at.mean - at.low], [at.high - at.mean]], fmt="o", color=colour, capsize=4)
    signs = pieces(one.gains)
    for before, piece, after in zip(signs, signs[1:], signs[2:], strict=False):
        if piece.sign == 0 and before.sign != after.sign:
            axes.axvspan(piece.first, piece.last, color=GREY, alpha=0.15, linewidth=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.set_xticks(x)
    axes.set_title(one.label, fontsize=12)
