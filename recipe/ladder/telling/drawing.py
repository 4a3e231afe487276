"""A figure of a report that has been drawn."""

from pathlib import Path
from typing import NamedTuple


class Drawing(NamedTuple):
    """A figure of a report, as files."""

    comparison: int  # its number in the report, from 0; from -1 down of `report.across`, then of `report.series`
    kind: str  # ladder, gains, response, learning_curves, loss_curves, cost, data_sets, budgets
    caption: str
    svg: Path
    png: Path
