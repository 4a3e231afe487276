"""Comparisons as tables: for a terminal of any width, and as Markdown."""

import math
import os
import re
import textwrap
from collections.abc import Iterable, Sequence

from recipe.ladder.comparing.comparison import Comparison, Gain, Row
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.records import RunRecord
from recipe.ladder.telling import beside_tables, budgets, compared, layout, looks, losses_table, on_test, why
from recipe.ladder.telling.data_sets import tables as data_sets
from recipe.ladder.telling.layout import Column
from recipe.ladder.telling.wording import about_spreads, headline, p_value, points, signed, time_unit

TELLING = 70  # importance of the columns that no table should do without
NOTES = {
    "gain": "gain: mean over shared seeds (or folds), with its 95% interval (Student's t)",
    "p": "p: t-test, adjusted for the table's several gains (Holm)",
    "paired": "paired p: likewise, by the spread of each difference alone; p and interval go by all rows' runs "
    "(docs/STATISTICS.md)",
    "verdict": "verdict: helps or hurts where p < 0.05; otherwise how many seeds would tell a gain of the size seen "
    "(recipe report --why: how each comes about)",
    "total": "total: gain over the first row",
    "highest": "highest: the highest top-1 of the runs",
    "best_epoch": "best epoch: its top-1, mean over the runs (the luckiest epoch of many: compare last with last)",
    "published": "published: top-1 and gain in the recipe's source, of the same data and size alone",
    **losses_table.NOTES,
}
FOLDS = "runs are folds, whose training sets overlap: intervals and p are widened for it (Nadeau and Bengio, 2003)"


def text(report: Report, width: int, with_why: bool = False) -> str:
    """All tables for a terminal, with what was found above each and what is missing below.

    Args:
        with_why: tell why each verdict is what it is, too.
    """
    parts = [data_sets.text(across, width) for across in report.across]
    parts += [budgets.text(series, width) for series in report.series]
    seen: set[str] = set()
    for comparison in report.comparisons:
        shown, table = fitted(comparison, width)
        of_losses = losses_table.columns(comparison)
        seen |= {column.key for column in (*shown, *of_losses)}
        said = [_filled(line, width) for line in (comparison.title, *findings(comparison))]
        below, more = _below(comparison, report), [*_losses(comparison, of_losses, width), *_beside(comparison, width)]
        reasons = list(why.as_lines(comparison)) if with_why else []
        more += [_filled(line, width, "    ") for line in (["", f"{why.TITLE}:", *reasons] if reasons else [])]
        parts.append("\n".join([*said, "", *table, *([""] if below else []), *below, *more]))
        if comparison.on_test is not None:
            parts.append(on_test.text(comparison, columns(comparison.on_test), width))
    parts.extend("\n".join(["In no table:", *lines]) for lines in [_in_no_table(report)] if lines)
    parts.append("\n".join(_filled(note, width) for note in notes(report, seen)))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown(report: Report, pictures: Iterable[tuple[int, str, str]] = (), least: int = 0) -> str:
    """All tables as a Markdown document.

    Args:
        pictures: number of the comparison, caption and path of each; -1 and below: of `report.across`, then of
            `report.series`.
        least: importance of a column that is shown; 0: all are.
    """
    pictures = list(pictures)
    parts = [f"# Report on {', '.join(map(str, report.roots))}"]
    for place, across in enumerate(report.across):
        parts.append(data_sets.markdown(across))
        parts += [f"![{caption}]({path})\n\n{caption}" for of, caption, path in pictures if of == -1 - place]
    for place, series in enumerate(report.series, len(report.across)):
        parts.append(budgets.markdown(series))
        parts += [f"![{caption}]({path})\n\n{caption}" for of, caption, path in pictures if of == -1 - place]
    seen: set[str] = set()
    for number, comparison in enumerate(report.comparisons):
        shown = [column for column in columns(comparison) if column.importance >= least]
        seen |= {column.key for column in shown}
        parts.append(f"## {comparison.title}\n\n" + " ".join(findings(comparison)))
        head = [" | ".join(column.header for column in shown), " | ".join(["---"] * len(shown))]
        body = [" | ".join(cells) for cells in _transposed(shown)]
        parts.append("\n".join(f"| {line} |" for line in [*head, *body]))
        parts.append(_as_markdown(_below(comparison, report)))
        if found := losses_table.columns(comparison):
            seen |= {column.key for column in found}
            named = [Column("label", *_labels(comparison), 100), *found]
            parts.append(_titled(losses_table.TITLE, [[column.header for column in named], *_transposed(named)]))
        if comparison.beside:
            names = beside_tables.names_of(comparison.beside)
            lines = [beside_tables.header(names), *beside_tables.rows(comparison.beside, names, repeat=True)]
            parts.append(_titled(beside_tables.TITLE, lines))
        if comparison.on_test is not None:
            parts.append(on_test.markdown(comparison, columns(comparison.on_test)))
        if not least:
            parts.append(_reasons(comparison))
        parts += [f"![{caption}]({path})\n\n{caption}" for of, caption, path in pictures if of == number]
    parts.extend(f"## In no table\n\n{_as_markdown(lines)}" for lines in [_in_no_table(report)] if lines)
    parts.append("\n".join(f"- {note}" for note in notes(report, seen)))
    return "\n\n".join(part for part in parts if part) + "\n"


def findings(comparison: Comparison) -> list[str]:
    """What was found, in sentences: ingredients, what this design could have found, what is missing."""
    said = [*headline(comparison), *looks.sentences(comparison)]
    said += [*about_spreads(comparison), *compared.which(comparison)]
    others = sum(len(row.others) for row in comparison.rows)
    missing = sum(len(row.missing) for row in comparison.rows)
    if others or missing:
        finished = sum(len(row.runs) for row in comparison.rows)
        said.append(f"Runs: {finished} finished, {others} unfinished or unreadable, {missing} without a folder.")
    if comparison.correlation is not None:
        on = next((f" {row.published.instead}" for row in comparison.rows if row.published.instead), "")
        correlation = signed(comparison.correlation)
        said.append(f"Rank correlation with the top-1 published{on} (Spearman): {correlation}.")
    return [*said, *beside_tables.sources(comparison)]


def columns(comparison: Comparison) -> list[Column]:
    """What a table shows, in order; columns that would be empty are left out."""
    rows = comparison.rows
    gains, totals = [row.gain for row in rows], [row.total for row in rows]
    factor, unit = time_unit(max((row.device_hours for row in rows if row.runs), default=0.0))
    verdicts = [gain.verdict if gain else "" for gain in gains]
    found = [
        Column("label", *_labels(comparison), 100),
        Column("n", "n", [_runs(row) for row in rows], 80),
        Column(
            "top1",
            "top-1 ± sd" if any(len(row.runs) > 1 for row in rows) else "top-1",
            [_spread(row) for row in rows],
            95,
        ),
        Column("gain", "gain [95%]", [_with_interval(gain) for gain in gains], 90),
        Column("p", "p", [p_value(gain.adjusted) if gain else "" for gain in gains], 70),
        Column("paired", "paired p", [_paired(gain) for gain in gains] if comparison.is_pooled else [], 42),
        Column("verdict", "verdict", verdicts, 85, [_shortened(verdict) for verdict in verdicts]),
        Column("over", "over", _over(comparison), 65),
        Column("total", "total", [_points(total) for total in totals] if comparison.has_totals else [], 60),
        Column("best_epoch", "best epoch", [_two(row.best_acc1) for row in rows], 78 if _reports_best(rows) else 42),
        Column("highest", "highest", [_two(row.highest) if len(row.runs) > 1 else "" for row in rows], 40),
        Column("top5", "top-5", [_two(row.acc5) for row in rows], 45),
        Column("published", "published", *_published(rows)),
        Column("cost", f"device-{unit}", [_two(factor * row.device_hours) for row in rows], 55),
    ]
    return [column for column in found if any(column.cells)]


def fitted(comparison: Comparison, width: int) -> tuple[list[Column], list[str]]:
    """The columns that fit, and the table of them."""
    shown = layout.fitted(columns(comparison), width)
    return shown, layout.lines(shown)


def notes(report: Report, seen: Iterable[str]) -> list[str]:
    """What the columns mean, by their keys."""
    folds = any(row.gain and row.gain.difference.folds for each in report.comparisons for row in each.rows)
    return [*(note for key, note in NOTES.items() if key in set(seen)), *([FOLDS] if folds else [])]


def _below(comparison: Comparison, report: Report) -> list[str]:
    """The runs that a table lacks, by reason."""
    reasons: dict[str, list[str]] = {}
    for row in comparison.rows:
        for run in row.others:
            reasons.setdefault(str(run.problem), []).append(_where(run, report))
        if row.missing:
            units = ", ".join(f"{seed}" if fold is None else f"{seed}, fold {fold}" for seed, fold in row.missing)
            reasons.setdefault("no folder", []).append(f"{row.name}, seed {units}")
    return _listed(reasons)


def _in_no_table(report: Report) -> list[str]:
    """The runs with problems that no table counts: trials, repeated ones, those of unknown settings."""
    shown = {run.folder for comparison in report.comparisons for row in comparison.rows for run in row.others}
    reasons: dict[str, list[str]] = {}
    for run in report.problems:
        if run.folder not in shown:
            reasons.setdefault(str(run.problem), []).append(_where(run, report))
    return _listed(reasons)


def _listed(reasons: dict[str, list[str]]) -> list[str]:
    return [line for reason, places in reasons.items() for line in (f"{reason}:", *(f"  {place}" for place in places))]


def _where(run: RunRecord, report: Report) -> str:
    """The run's folder, below the one that was reported on where that is a single one."""
    return os.path.relpath(run.folder, report.roots[0]) if len(report.roots) == 1 else str(run.folder)


def _as_markdown(lines: Sequence[str]) -> str:
    return "\n".join(f"  - `{line.strip()}`" if line.startswith("  ") else f"- {line}" for line in lines)


def _labels(comparison: Comparison) -> tuple[str, list[str]]:
    """Header and cells of the first column. A sweep over one key has its values there."""
    labels = [row.label for row in comparison.rows]
    if len(comparison.varied) == 1:
        return comparison.varied[0], [label.partition("=")[2] for label in labels]
    return {"ladder": "rung", "sweep": "values"}.get(comparison.shape, "setting"), labels


def _over(comparison: Comparison) -> list[str]:
    """What each row is compared with, where that is not plain from the table."""
    rows = comparison.rows
    labels = {row.name: row.label for row in rows}
    expected = rows[:-1] if comparison.shape == "ladder" else rows[:1] * (len(rows) - 1)
    if all(row.parent == usual.name for row, usual in zip(rows[1:], expected, strict=True)):
        return []
    return [labels[row.parent] if row.parent else "" for row in rows]


def _beside(comparison: Comparison, width: int) -> list[str]:
    """Published figures beside those of the runs, as many of them as fit."""
    lines, names = comparison.beside, beside_tables.names_of(comparison.beside)
    if not lines:
        return []
    while True:
        head, *body = zip(*[beside_tables.header(names), *beside_tables.rows(lines, names, repeat=False)], strict=True)
        shown = [Column("label" if n < 2 else "", c[0], list(c[1:]), 0) for n, c in enumerate([head, *body])]
        if layout.width_of(shown) <= width or len(names) == 1:
            return ["", f"{beside_tables.TITLE}:", *layout.lines(shown)]
        names.pop()


def _losses(comparison: Comparison, found: Sequence[Column], width: int) -> list[str]:
    """Losses, as many of them as fit."""
    header, labels = _labels(comparison)
    shown = layout.fitted([Column("label", header, labels, 100), *found], width)
    return ["", f"{losses_table.TITLE}:", *layout.lines(shown)] if found else []


def _transposed(shown: Sequence[Column]) -> list[list[str]]:
    """The cells of each row."""
    return [list(cells) for cells in zip(*(column.cells for column in shown), strict=True)]


def _reasons(comparison: Comparison) -> str:
    """Why each verdict is what it is, as something to unfold."""
    found = [f"- {verdict}\n" + "\n".join(f"  - {s}" for s in said) for verdict, said in why.verdicts(comparison)]
    if not found:
        return ""
    return "\n\n".join([f"<details><summary>{why.TITLE}</summary>", "\n".join(found), "</details>"])


def _titled(title: str, lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table below its title."""
    head, *body = lines
    return f"{title}:\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])


def _reports_best(rows: Sequence[Row]) -> bool:
    """Whether the source reports best epochs, which are then to stand beside the last ones here."""
    return any(row.published.is_of_best_epoch and row.published.shown for row in rows)


def _published(rows: Sequence[Row]) -> tuple[list[str], int, list[str]]:
    """Cells, their importance, and cells for a narrow terminal: top-1 with its gain, or what it was published on."""
    cells, short = [], []
    for row in rows:
        acc1, best = row.published.acc1, " best" * row.published.is_of_best_epoch
        figure = row.published.instead or (f"{acc1:.2f}{best}" if acc1 is not None else "")
        gain = "" if math.isnan(row.published_gain) else f" ({signed(row.published_gain)})"
        cells.append(f"{figure}{gain}")
        short.append(figure)
    return cells, 75 if any(row.published.shown for row in rows) else 35, short


def _runs(row: Row) -> str:
    return f"{len(row.runs)}" if row.planned == len(row.runs) else f"{len(row.runs)}/{row.planned}"


def _spread(row: Row) -> str:
    return f"{row.mean:.2f} ± {row.sd:.2f}" if len(row.runs) > 1 else _two(row.mean)


def _two(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _points(gain: Gain | None) -> str:
    return signed(points(gain)) if gain else ""


def _with_interval(gain: Gain | None) -> str:
    if gain is None or math.isnan(gain.interval[0]):
        return _points(gain)
    return f"{_points(gain)} [{signed(gain.interval[0])}, {signed(gain.interval[1])}]"


def _paired(gain: Gain | None) -> str:
    return p_value(gain.paired_adjusted) if gain else ""


def _shortened(verdict: str) -> str:
    seeds = re.search(r"about (\d+) (\w+)", verdict)
    if seeds:
        return f"open: ~{seeds[1]} {seeds[2]}"
    words = {
        "unresolved (one s": "one seed",
        "unresolved (one f": "one fold",
        "unresolved (no": "open",
        "not compared": "not compared",
    }
    return next((short for start, short in words.items() if verdict.startswith(start)), verdict)


def _filled(line: str, width: int, below: str = "") -> str:
    return textwrap.fill(line, width, break_long_words=False, subsequent_indent=below)
