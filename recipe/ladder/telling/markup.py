"""Tables and figures as HTML. Every text is escaped here."""

import base64
import math
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from recipe.ladder.telling import wording

if TYPE_CHECKING:
    from recipe.ladder.telling.drawing import Drawing

LONG = 14  # characters of a header


class Cell(NamedTuple):
    """One cell of a table."""

    text: str
    value: float | None = None  # to sort by, where it is a number
    style: str = ""  # class names of page.css
    picture: bytes = b""  # a JPEG, above the text


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that a click on a header sorts. The first cell of each row names it."""
    rows = [list(row) for row in rows]
    head = "".join(
        f'<th{_style(name, [row[place] for row in rows])} scope="col">'
        f'<button type="button">{escape(name)}</button></th>'
        for place, name in enumerate(header)
    )
    body = "".join(f"<tr>{''.join(_cell(cell, first=not i) for i, cell in enumerate(row))}</tr>\n" for row in rows)
    return (
        f'<p class="about">{escape(caption)}</p>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def _style(header: str, cells: Sequence[Cell]) -> str:
    """A header's attribute: it stands as its cells do, and goes on in the next line where it is long."""
    names = ["text"] * any("text" in cell.style for cell in cells) + ["long"] * (len(header) >= LONG)
    return f' class="{" ".join(names)}"' if names else ""


def _cell(cell: Cell, first: bool) -> str:
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    style = f' class="{cell.style}"' if cell.style else ""
    known = cell.value is not None and math.isfinite(cell.value)
    value = f' data-value="{cell.value:.10g}"' if known else ""
    text = escape(cell.text).replace("_", "_<wbr>" if first else "_")  # where a long name may go on in the next line
    if cell.picture:
        text = f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(cell.picture).decode()}"><br>{text}'
    return f"<{tag}{scope}{style}{value}>{text}</{tag}>"


def told(text: str) -> Cell:
    """A cell with the text of a terminal table: sorted by the number that it begins with, where there is one."""
    found = re.match(r"(?:< )?([+−]?\d[\d,]*\.?\d*)", text)
    if found is None:
        return Cell(text, style=f"text {text}" if text in ("helps", "hurts") else "text")
    return Cell(text, float(found[1].replace("−", "-").replace(",", "")))


def number(value: float | None, form: str = ".2f") -> Cell:
    """A number in a format; an empty cell, which is sorted last, for None, NaN and infinities."""
    known = value is not None and math.isfinite(value)
    return Cell(format(value, form).replace("-", "−") if known else "", value)


def signed(value: float) -> Cell:
    """A cell with a gain; empty for NaN."""
    return Cell(wording.signed(value), value)


def figure(drawing: "Drawing") -> str:
    """A figure with its caption; wide, it scrolls in its own box."""
    picture = base64.b64encode(drawing.svg.read_bytes()).decode()
    return (
        f'<figure><div class="scroll" tabindex="0"><img alt="{escape(drawing.caption)}" '
        f'src="data:image/svg+xml;base64,{picture}"></div><figcaption>{escape(drawing.caption)}</figcaption></figure>'
    )
