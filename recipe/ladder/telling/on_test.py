"""What a comparison says on test images, beside what it says on the validation images."""

import textwrap
from collections.abc import Sequence
from html import escape

from recipe.ladder.comparing.comparison import Comparison, Row
from recipe.ladder.telling import layout
from recipe.ladder.telling.data_sets.tables import markdown_table
from recipe.ladder.telling.layout import Column
from recipe.ladder.telling.markup import Cell, table, told
from recipe.ladder.telling.wording import headline, interval, points, signed
from recipe.output import count

SHOWN = ("label", "n", "top1", "gain", "p", "paired", "verdict", "over", "total")  # of an ordinary table's columns


def text(comparison: Comparison, of_test: Sequence[Column], width: int) -> str:
    """Findings and table for a terminal; the columns are those that `columns` takes."""
    said = [textwrap.fill(line, width, break_long_words=False) for line in findings(comparison)]
    return "\n".join([*said, "", *layout.lines(layout.fitted(columns(comparison, of_test), width))])


def markdown(comparison: Comparison, of_test: Sequence[Column]) -> str:
    """The same as Markdown."""
    return f"{' '.join(findings(comparison))}\n\n{markdown_table(columns(comparison, of_test))}"


def section(comparison: Comparison, of_test: Sequence[Column]) -> str:
    """The same as HTML."""
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in findings(comparison))
    shown = columns(comparison, of_test)
    rows = zip(*(column.cells for column in shown), strict=True)
    cells = [[Cell(label, place), *map(told, texts)] for place, (label, *texts) in enumerate(rows)]
    caption = "On test images: top-1 in percent, gains in percentage points"
    found = table(caption, [column.header for column in shown], cells)
    return f"<h3>On test images</h3>\n<ul>{said}</ul>\n{found}"


def findings(comparison: Comparison) -> list[str]:
    """What was found on the test images, in sentences, and where that is other than on the validation images."""
    found = comparison.on_test
    assert found is not None
    images = f" ({count(found.images, 'image')}, which chose nothing)" if found.images else " (which chose nothing)"
    first, *more = headline(found)
    said = [f"On test images{images}: {first[:1].lower()}{first[1:]}", *more]
    lacking = sum(len(row.others) for row in found.rows) - sum(len(row.others) for row in comparison.rows)
    if lacking > 0:
        said.append(f"Not evaluated on them: {count(lacking, 'run')} (recipe evaluate RUN split=test).")
    pairs = list(zip(found.rows, comparison.rows, strict=True))
    other = [
        f"{row.label} {_word(row)} (validation: {_word(before)})" for row, before in pairs if _differs(row, before)
    ]
    if other:
        said.append(f"Other than on the validation images: {'; '.join(other)}.")
    elif any(row.gain for row in found.rows):
        said.append("The verdicts are those of the validation images.")
    return said


def columns(comparison: Comparison, of_test: Sequence[Column]) -> list[Column]:
    """The columns of the table on test images, with the gains on the validation images beside theirs.

    Args:
        of_test: those of the ordinary table of `comparison.on_test`.
    """
    found = comparison.on_test
    assert found is not None
    kept = [column for column in of_test if column.key in SHOWN]
    before = [f"{signed(points(row.gain))} {_word(row)}" if row.gain else "" for row in comparison.rows]
    over = [interval(*row.gain.over_images) if row.gain and row.gain.over_images else "" for row in found.rows]
    return [
        *kept,
        Column("verdict", "on validation images", before, 72),
        *([Column("images", "incl. other images", over, 68)] if any(over) else []),
    ]


def _differs(row: Row, before: Row) -> bool:
    return row.gain is not None and before.gain is not None and _word(row) != _word(before)


def _word(row: Row) -> str:
    verdict = row.gain.verdict if row.gain else ""
    return "not compared" if verdict.startswith("not") else verdict.partition(" ")[0]
