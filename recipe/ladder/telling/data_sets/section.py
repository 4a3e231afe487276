"""What several data sets say together, as a section of the HTML page."""

from collections.abc import Iterator, Sequence
from html import escape

from recipe.ladder.comparing.report import Report
from recipe.ladder.telling.data_sets import tables
from recipe.ladder.telling.markup import Cell, table, told


def sections(report: Report, figures: Sequence[str]) -> Iterator[str]:
    """One for each of `report.across`, with its figure, which is HTML already."""
    for across, figure in zip(report.across, figures, strict=True):
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
                figure,
                "</div>",
                "</section>",
            ]
        )
