"""Which classes and which images one setting wins and loses against another, as HTML."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from recipe.ladder.comparing import flips
from recipe.ladder.comparing.comparison import Comparison, Row
from recipe.ladder.telling.markup import Cell, number, signed, table

if TYPE_CHECKING:
    from recipe.ladder.telling.thumbnails import Thumbnail

EXTREMES = 6  # classes that gain most, and that lose most
MOST_FLIPS = 12  # images that changed most


def classes_and_images(comparison: Comparison, thumbnails: Mapping[int, "Thumbnail"]) -> str:
    """Which classes and which images each setting wins and loses. Empty without predictions of the same images."""
    pairs = flips.compared_rows(comparison)
    found = [_classes_of(row, over, comparison.classes, thumbnails) for row, over in pairs]
    told = "\n".join(each for each in found if each)
    return f"<h3>Which classes and images gain and lose</h3>\n{told}" if told else ""


def _classes_of(row: Row, over: Row, classes: Sequence[str], thumbnails: Mapping[int, "Thumbnail"]) -> str:
    gains = flips.class_gains(row, over, classes)
    if not gains:
        return ""
    extremes = gains if len(gains) <= 2 * EXTREMES else gains[:EXTREMES] + gains[-EXTREMES:]
    of_classes = table(
        f"Recall in percent, {'every class' if extremes is gains else f'the {EXTREMES} classes at either end'}",
        ["class", "images", "before", "after", "gain"],
        [
            [Cell(c.name), number(c.images, "d"), number(c.before, ".1f"), number(c.after, ".1f"), signed(c.gain)]
            for c in extremes
        ],
    )
    changed = flips.most_changed(row, over, classes, MOST_FLIPS)
    of_images = table(
        "Images that changed most: the share of the runs that are right about them, percent",
        ["image", "class", "before", "after"],
        [
            [
                _image(f.image, thumbnails.get(f.image)),
                Cell(f.name, style="text"),
                number(100 * f.before, ".0f"),
                number(100 * f.after, ".0f"),
            ]
            for f in changed
        ],
    )
    summary = escape(f"{row.label}, over {over.label}")
    both = f'<div class="figures"><div>{of_classes}</div><div>{of_images}</div></div>'
    return f"<details><summary>{summary}</summary>{both}</details>"


def _image(image: int, thumbnail: "Thumbnail | None") -> Cell:
    """A validation image: its number, or where the report was asked for images, what it shows and its file."""
    if thumbnail is None:
        return Cell(f"no. {image}", image)
    return Cell(thumbnail.name, image, picture=thumbnail.jpeg)
