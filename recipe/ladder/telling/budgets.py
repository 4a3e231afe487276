"""How what each ingredient is worth changes with the budget: in sentences, as cells of a table, as a figure."""

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib import ticker

from recipe.ladder.comparing.budgets import Ingredient, Series
from recipe.ladder.comparing.crossing import At, Piece, pieces, zero
from recipe.ladder.telling.wording import signed

BLUE, ORANGE, GREY, BLACK = "#0072B2", "#D55E00", "#8C8C8C", "#222222"
VERBS = {1: "helps", -1: "hurts", 0: "is unresolved"}


def title(series: Series) -> str:
    """Of its part of a report."""
    return f"{series.comparisons[-1].title.partition(' (')[0]}: gain against {series.axis}"


def sentences(series: Series) -> Iterator[str]:
    """What each ingredient does as budgets grow."""
    for one in series.ingredients:
        yield f"{one.label} {_said(pieces(one.gains), zero(one.gains), series.axis)}."


def header(series: Series) -> list[str]:
    """Of the table: a column for each budget."""
    return ["setting", *(short(budget) for budget in budgets(series))]


def rows(series: Series) -> Iterator[list[str]]:
    """Cells of each ingredient: its gain with the 95% interval at each budget; empty where it was not run."""
    for one in series.ingredients:
        at = {gain.budget: gain for gain in one.gains}
        yield [one.label, *(_cell(at.get(budget)) for budget in budgets(series))]


def budgets(series: Series) -> list[float]:
    """All budgets of a series; ladders whose rungs differ in length have more of them than comparisons."""
    return sorted({gain.budget for one in series.ingredients for gain in one.gains})


def short(number: float) -> str:
    """A number of images, as in 240k or 1.2M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{letter}"
    return f"{number:.3g}"


def draw(figure: Any, series: Series) -> str:
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


def _said(found: Sequence[Piece], crossing: float | None, axis: str) -> str:
    """The predicate of a sentence."""
    signs = [piece.sign for piece in found]
    first, last = found[0], found[-1]
    if len(found) == 1:
        return f"{VERBS[first.sign]} at every budget from {short(first.first)} to {short(first.last)} {axis}"
    if signs in ([-1, 0, 1], [1, 0, -1]):
        middle = found[1]
        about = f", the mean crosses 0 at {short(crossing)}" if crossing is not None else ""
        return (
            f"{VERBS[first.sign]} up to {short(first.last)} {axis} and {VERBS[last.sign]} from {short(last.first)} on"
            f" (the crossing is between {short(middle.first)} and {short(middle.last)} with 95% confidence{about})"
        )
    if len(found) == 2:
        end = f"(tried: {short(first.first)} to {short(last.last)})"
        return f"{VERBS[first.sign]} up to {short(first.last)} {axis} and {VERBS[last.sign]} beyond that {end}"
    told = [f"{VERBS[piece.sign]} between {short(piece.first)} and {short(piece.last)}" for piece in found]
    return f"{', '.join(told)} {axis}"


def _cell(at: At | None) -> str:
    return "" if at is None else f"{signed(at.mean)} [{signed(at.low)}, {signed(at.high)}]"
