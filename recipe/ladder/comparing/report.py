"""All that a report says: comparisons, what several data sets say together, and the runs that they were made of."""

from dataclasses import dataclass, field
from pathlib import Path

from recipe.ladder.comparing.budgets import Series
from recipe.ladder.comparing.comparison import AcrossData, Comparison
from recipe.ladder.reading.records import RunRecord


@dataclass
class Report:
    """All that run folders say."""

    roots: list[Path]
    comparisons: list[Comparison]
    runs: list[RunRecord]  # all, those with problems included
    across: list[AcrossData] = field(default_factory=list)  # the comparisons that several data sets have
    series: list[Series] = field(default_factory=list)  # and those that were made at several budgets

    @property
    def problems(self) -> list[RunRecord]:
        """The runs whose figures are not used."""
        return [run for run in self.runs if run.problem is not None]
