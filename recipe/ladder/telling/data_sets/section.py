"""What several data sets say together, as a section of the HTML page."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from recipe.ladder.comparing.report import Report
from recipe.ladder.telling.data_sets import tables
from recipe.ladder.telling.markup import Cell, figure, table, told

if TYPE_CHECKING:
    from recipe.ladder.telling.drawing import Drawing


def sections(report: Report, drawings: Sequence["Drawing"]) -> Iterator[str]:
    """One for each of `report.across`, with its figure."""
    for number, across in enumerate(report.across):
        first, *others = tables.findings(across)
        shown = tables.columns(across)
        rows = zip(*(column.cells for column in shown), strict=True)
        cells = [[Cell(label, place), *map(told, texts)] for place, (label, *texts) in enumerate(rows)]
        caption = "Gains in percentage points by data set, and their mean"
        yield "\n".join(
            [
                f"<section>\n<h2>{escape(tables.title(across))}</h2>",
                f'<p class="headline">{escape(first)}</p>',
                "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in others) + "</ul>",
                table(caption, [column.header for column in shown], cells),
                '<div class="figures">',
                *(figure(drawing) for drawing in drawings if drawing.comparison == -1 - number),
                "</div>",
                "</section>",
            ]
        )
