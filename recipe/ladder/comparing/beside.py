"""What was published of an epoch, of the best one and of other evaluations, beside the same figures of the runs."""

import math
from collections.abc import Iterator, Sequence

from recipe.ladder.comparing.comparison import Beside, Row
from recipe.ladder.reading import evaluations, histories
from recipe.ladder.reading.records import RunRecord
from recipe.plan.published import command_of, figures_of


def beside(rows: Sequence[Row]) -> list[Beside]:
    """Lines for the settings whose published figures may be shown; none where a last epoch's top-1 is all there is."""
    shown = [row for row in rows if row.published.shown and row.runs]
    if not any(_is_more(row) for row in shown):
        return []
    return [line for row in shown for line in _of_row(row)]


def _is_more(row: Row) -> bool:
    published = row.published
    return bool(published.by_epoch or published.evaluated or published.figures.keys() - {"acc1", "acc5"})


def _of_row(row: Row) -> Iterator[Beside]:
    runs, published = list(row.runs.values()), row.published
    series = [histories.by_epoch(run.folder) for run in runs] if published.by_epoch else []
    for epoch, figures in sorted(published.by_epoch.items()):
        here = {
            name: [one.get(_tag(name, run), {}).get(epoch) for one, run in zip(series, runs, strict=True)]
            for name in figures
        }
        yield Beside(
            row.label, f"epoch {epoch}", {name: (figure, _mean(here[name])) for name, figure in figures.items()}
        )
    last = {name: figure for name, figure in published.figures.items() if name != "best_acc1"}
    if last and runs[0].environment["config"].get("epochs") not in published.by_epoch:
        results = [run.result or {} for run in runs]
        here = {name: [result.get(name) for result in results] for name in last}
        yield Beside(row.label, "last epoch", {name: (figure, _mean(here[name])) for name, figure in last.items()})
    if published.is_of_best_epoch:
        yield Beside(row.label, "best epoch", {"acc1": (published.figures["best_acc1"], row.best_acc1)})
    for entry in published.evaluated:
        found = [evaluations.matching(run, entry) for run in runs]
        evaluated = {
            name: (value, _mean([one.get(name) for one in found])) for name, value in figures_of(entry).items()
        }
        yield Beside(row.label, command_of(entry), evaluated)


def _tag(figure: str, run: RunRecord) -> str:
    """What a figure of an epoch is called in the runs' metrics."""
    if figure.startswith("train_"):
        return f"train/{figure.removeprefix('train_')}"
    return f"{histories.accuracy_tag(run).partition('/')[0]}/{figure}"


def _mean(figures: Sequence[float | None]) -> float:
    """NaN where a run has none: a mean over fewer runs than the table has would be taken for theirs."""
    known = [figure for figure in figures if isinstance(figure, int | float)]
    return sum(known) / len(known) if known and len(known) == len(figures) else math.nan
