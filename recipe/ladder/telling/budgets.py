"""How what each ingredient is worth changes with the budget: in sentences, as a table, as a section of the page."""

import textwrap
from collections.abc import Iterator, Sequence
from html import escape

from recipe.ladder.comparing.budgets import Series
from recipe.ladder.comparing.crossing import At, Piece, pieces, zero
from recipe.ladder.telling import layout
from recipe.ladder.telling.layout import Column
from recipe.ladder.telling.markup import Cell, table, told
from recipe.ladder.telling.wording import signed

VERBS = {1: "helps", -1: "hurts", 0: "is unresolved"}


def title(series: Series) -> str:
    """Of its part of a report."""
    return f"{series.comparisons[-1].title.partition(' (')[0]}: gain against {series.axis}"


def sentences(series: Series) -> Iterator[str]:
    """What each ingredient does as budgets grow."""
    for one in series.ingredients:
        yield f"{one.label} {_said(pieces(one.gains), zero(one.gains), series.axis)}."


def text(series: Series, width: int) -> str:
    """Heading, findings and table for a terminal."""
    said = [textwrap.fill(line, width, break_long_words=False) for line in (title(series), *sentences(series))]
    return "\n".join([*said, "", *layout.lines(layout.fitted(columns(series), width))])


def markdown(series: Series) -> str:
    """The same as Markdown."""
    shown = columns(series)
    rows = [[column.header for column in shown], ["---"] * len(shown), *zip(*(c.cells for c in shown), strict=True)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## {title(series)}\n\n{' '.join(sentences(series))}\n\n{lines}"


def section(series: Series, figure: str) -> str:
    """The same as HTML, with its figure, which is HTML already."""
    shown = columns(series)
    rows = zip(*(column.cells for column in shown), strict=True)
    cells = [[Cell(label, place), *map(told, texts)] for place, (label, *texts) in enumerate(rows)]
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences(series))
    caption = f"Gain in points with its 95% interval, by {series.axis}"
    heading = f"<section>\n<h2>{escape(title(series))}</h2>\n<ul>{said}</ul>"
    figures = f'<div class="figures">\n{figure}\n</div>\n</section>'
    return "\n".join([heading, table(caption, [column.header for column in shown], cells), figures])


def columns(series: Series) -> list[Column]:
    """Of the table: a column for each budget; its cells are empty where a setting was not run."""
    at = [{gain.budget: gain for gain in one.gains} for one in series.ingredients]
    first = Column("label", "setting", [one.label for one in series.ingredients], 100)
    each = [Column("", short(budget), [_cell(gains.get(budget)) for gains in at], 90) for budget in budgets(series)]
    return [first, *each]


def budgets(series: Series) -> list[float]:
    """All budgets of a series; ladders whose rungs differ in length have more of them than comparisons."""
    return sorted({gain.budget for one in series.ingredients for gain in one.gains})


def short(number: float) -> str:
    """A number of images, as in 240k or 1.2M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * unit:
            return f"{number / unit:.3g}{letter}"
    return f"{number:.3g}"


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
