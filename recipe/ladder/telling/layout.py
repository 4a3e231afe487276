"""Columns of text laid out for a terminal of any width."""

from collections.abc import Sequence
from typing import NamedTuple

GAP = "  "
NARROWEST = 12  # to which a label is cut where a terminal is too narrow for the columns that must stay
KEPT = 80  # columns of this importance and above are never dropped
LEFT = {"label", "verdict", "over"}  # columns of words


class Column(NamedTuple):
    """A column of a table."""

    key: str  # of its note
    header: str
    cells: list[str]
    importance: int  # the least important are dropped first
    short: list[str] | None = None  # cells for a narrow terminal


def fitted(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that fit: with short cells first, then fewer of them, at last with the first column cut."""
    shown = list(columns)
    if width_of(shown) > width:
        shown = [column._replace(cells=column.short or column.cells) for column in shown]
    while width_of(shown) > width and (least := min(shown, key=lambda column: column.importance)).importance < KEPT:
        shown.remove(least)
    if width_of(shown) > width:
        room = max(NARROWEST, width - width_of(shown[1:]) - len(GAP))
        header, *cells = (_cut(cell, room) for cell in (shown[0].header, *shown[0].cells))
        shown[0] = shown[0]._replace(header=header, cells=cells)
    return shown


def width_of(shown: Sequence[Column]) -> int:
    """Characters of a line."""
    return sum(max(map(len, (column.header, *column.cells))) for column in shown) + len(GAP) * (len(shown) - 1)


def lines(shown: Sequence[Column]) -> list[str]:
    """Header, a rule and a line for each row: words to the left, figures to the right."""
    cells = [[column.header, *column.cells] for column in shown]
    widths = [max(map(len, column)) for column in cells]
    padded = [
        [cell.ljust(width) if column.key in LEFT else cell.rjust(width) for cell in texts]
        for column, texts, width in zip(shown, cells, widths, strict=True)
    ]
    found = [GAP.join(line).rstrip() for line in zip(*padded, strict=True)]
    return [found[0], "-" * max(map(len, found)), *found[1:]]


def _cut(cell: str, room: int) -> str:
    return cell if len(cell) <= room else f"{cell[: room - 1]}…"
