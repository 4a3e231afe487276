"""A report as one HTML page that needs nothing else: no network, no other files.

Names, classes and error texts come from run folders and may contain anything: every text goes through `html.escape`.
"""

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe import __version__
from recipe.files import write_atomically
from recipe.ladder.comparing.comparison import Comparison, Row
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.records import RunRecord
from recipe.ladder.telling import beside_tables, budgets, losses_table, on_test, tables, why, wording
from recipe.ladder.telling.classes_and_images import classes_and_images
from recipe.ladder.telling.data_sets import section as across
from recipe.ladder.telling.markup import Cell, figure, number, signed, table
from recipe.output import count

if TYPE_CHECKING:
    from recipe.ladder.telling.drawing import Drawing
    from recipe.ladder.telling.thumbnails import Thumbnail

HERE = Path(__file__).parent
LONGER = {  # headers of the losses, where there is room
    "train, last": "training, last epoch",
    "val, last": "validation, last epoch",
    "train, best": "training, best epoch",
    "val, best": "validation, best epoch",
    "epoch": "best epoch",
    "train top-1": "training top-1, %",
}


def write(
    report: Report,
    figures: Mapping[str, "Drawing"],
    path: Path,
    thumbnails: Sequence[Mapping[int, "Thumbnail"]] = (),
) -> None:
    """Write the page.

    Args:
        thumbnails: for each comparison, pictures of validation images by their number.
    """
    style, script = (HERE / "page.css").read_text("utf-8"), (HERE / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Should a text slip through unescaped after all, the browser still loads nothing and runs no other script.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    of_several = [
        "".join(figure(drawing) for drawing in figures.values() if drawing.comparison == -1 - place)
        for place in range(len(report.across) + len(report.series))
    ]
    body = [_top(report), *across.sections(report, of_several[: len(report.across)])]
    body += map(budgets.section, report.series, of_several[len(report.across) :])
    for place, comparison in enumerate(report.comparisons):
        drawings = [drawing for drawing in figures.values() if drawing.comparison == place]
        body.append(_comparison(place, comparison, drawings, thumbnails[place] if thumbnails else {}))
    body += [_left_out(report), (HERE / "how_to_read.html").read_text("utf-8"), _made_with(report.runs)]
    content = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>What the runs say</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + f"\n<script>{script}</script>\n</body>\n</html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)


def _top(report: Report) -> str:
    finished = sum(run.result is not None and run.problem is None for run in report.runs)
    told = f"{count(len(report.runs), 'run')}, {finished} finished, in {', '.join(map(str, report.roots))}"
    links = "".join(
        f'<li><a href="#comparison-{place}">{escape(comparison.title)}</a></li>'
        for place, comparison in enumerate(report.comparisons)
    )
    contents = f"<nav><ol>{links}</ol></nav>" if len(report.comparisons) > 1 else ""
    return f'<h1>What the runs say</h1>\n<p class="about">{escape(told)}</p>\n{contents}'


def _comparison(
    place: int, comparison: Comparison, drawings: Sequence["Drawing"], thumbnails: Mapping[int, "Thumbnail"]
) -> str:
    first, *others = tables.findings(comparison)
    parts = [
        f'<section>\n<h2 id="comparison-{place}">{escape(comparison.title)}</h2>',
        f'<p class="headline">{escape(first)}</p>',
        "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in others) + "</ul>" if others else "",
        f'<p class="about">{count(comparison.images, "validation image")}</p>' if comparison.images else "",
        _accuracies(comparison),
        _why(comparison),
        "<h3>More figures of the same runs</h3>",
        _more(comparison),
        _losses(comparison),
        _beside(comparison),
        on_test.section(comparison, tables.columns(comparison.on_test)) if comparison.on_test else "",
        '<div class="figures">',
        *map(figure, drawings),
        "</div>",
        _costs(comparison),
        classes_and_images(comparison, thumbnails),
        "</section>",
    ]
    return "\n".join(parts)


def _accuracies(comparison: Comparison) -> str:
    """The main table: what a phone shows without a scroll comes first."""
    columns: dict[str, Callable[[Row], Cell]] = {
        "top-1, %": lambda row: number(row.mean if row.acc1 else None),
        "gain": lambda row: signed(wording.points(row.gain) if row.gain else math.nan),
        "verdict": _verdict,
        "95% interval": lambda row: _interval(row),
        "adjusted p": lambda row: Cell(wording.p_value(row.gain.adjusted), row.gain.adjusted) if row.gain else Cell(""),
        "paired p": lambda row: _paired(row, comparison),
        "sd": lambda row: number(row.sd),
        "runs": lambda row: Cell(
            f"{len(row.acc1)}" + (f" of {row.planned}" if row.planned > len(row.acc1) else ""), len(row.acc1)
        ),
        "gain over": lambda row: Cell(labels[row.gain.over] if row.gain and not obvious else "", style="text"),
        "total gain": lambda row: signed(
            wording.points(row.total) if row.total and comparison.has_totals else math.nan
        ),
        "published": lambda row: _published(row) if row.published.shown else Cell(""),
        "published gain": lambda row: signed(row.published_gain),
    }
    labels = {row.name: row.label for row in comparison.rows}
    names = list(labels)
    usual = names[:-1] if comparison.shape == "ladder" else names[:1] * (len(names) - 1)
    obvious = [row.parent for row in comparison.rows[1:]] == usual
    return _of_rows("Top-1 in percent, gains in percentage points; a click on a header sorts", comparison, columns)


def _more(comparison: Comparison) -> str:
    """What else is known of the runs' top-1."""
    columns: dict[str, Callable[[Row], Cell]] = {
        "best epoch": lambda row: number(row.best_acc1),
        "median": lambda row: number(row.median),
        "highest": lambda row: number(row.highest),
        "top-5, %": lambda row: number(row.acc5),
        "95% interval of the gain over other images too": _over_images,
        "published": lambda row: Cell("") if row.published.shown else _published(row),
    }
    caption = "Top-1 in the best epoch; median and highest of the runs; top-5"
    return _of_rows(caption, comparison, columns)


def _of_rows(caption: str, comparison: Comparison, columns: Mapping[str, Callable[[Row], Cell]]) -> str:
    """A table with a line for each setting. Columns that no row fills are left out."""
    cells = {name: [column(row) for row in comparison.rows] for name, column in columns.items()}
    shown = [name for name, column in cells.items() if any(cell.text for cell in column)]
    first = [Cell(row.label, place) for place, row in enumerate(comparison.rows)]
    rows = zip(first, *(cells[name] for name in shown), strict=True)
    return table(caption, ["setting", *shown], rows)


def _why(comparison: Comparison) -> str:
    """How each verdict comes about, to be unfolded."""
    found = [
        f"<details><summary>{escape(verdict)}</summary><ul>"
        + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
        + "</ul></details>"
        for verdict, sentences in why.verdicts(comparison)
    ]
    return "\n".join([f"<h3>{why.TITLE}</h3>", *found]) if found else ""


def _published(row: Row) -> Cell:
    """The top-1 that its source has, or what that is of where it is not shown."""
    published = row.published
    if published.instead is not None:
        return Cell(published.instead, style="text")
    best = " (best epoch)" * published.is_of_best_epoch
    return Cell("" if published.acc1 is None else f"{published.acc1:.2f}{best}", published.acc1)


def _losses(comparison: Comparison) -> str:
    """Losses of the training and on the validation images."""
    found = losses_table.columns(comparison)
    if not found:
        return ""
    labels = [Cell(row.label, place) for place, row in enumerate(comparison.rows)]
    rows = zip(labels, *([_figure(text) for text in column.cells] for column in found), strict=True)
    header = ["setting", *(LONGER.get(column.header, column.header) for column in found)]
    return table(losses_table.TITLE, header, rows)


def _beside(comparison: Comparison) -> str:
    """Published figures beside those of the runs."""
    if not comparison.beside:
        return ""
    names = beside_tables.names_of(comparison.beside)
    texts = beside_tables.rows(comparison.beside, names, repeat=True)
    rows = [[Cell(cells[0], n), Cell(cells[1], n, "text"), *map(_figure, cells[2:])] for n, cells in enumerate(texts)]
    return table(beside_tables.TITLE, beside_tables.header(names), rows)


def _figure(text: str) -> Cell:
    return Cell(text, float(text) if text else math.nan)


def _interval(row: Row) -> Cell:
    if row.gain is None:
        return Cell("")
    return Cell(wording.interval(*row.gain.interval), row.gain.interval[0])


def _paired(row: Row, comparison: Comparison) -> Cell:
    if row.gain is None or not comparison.is_pooled:
        return Cell("")
    return Cell(wording.p_value(row.gain.paired_adjusted), row.gain.paired_adjusted)


def _over_images(row: Row) -> Cell:
    found = row.gain.over_images if row.gain else None
    return Cell(wording.interval(*found), found[0]) if found else Cell("")


def _verdict(row: Row) -> Cell:
    if row.gain is None:
        return Cell("")
    word = row.gain.verdict.split()[0]
    shown = row.gain.verdict.replace(" would tell", "")  # "How to read this" says so
    return Cell(shown, style=f"text {word}" if word in ("helps", "hurts") else "text")


def _costs(comparison: Comparison) -> str:
    timed = [row for row in comparison.rows if row.device_hours > 0]
    if not timed:
        return ""
    per_hour, unit = wording.time_unit(max(row.device_hours for row in timed))
    rows = []
    for place, row in enumerate(comparison.rows):
        if row in timed:
            each = row.hours_per_point * per_hour
            rows.append(
                [
                    Cell(row.label, place),
                    number(row.device_hours * per_hour),
                    number(row.images, ",.0f"),
                    number(row.unique_images, ",.0f"),
                    number(row.mean if row.acc1 else None),
                    Cell("costs less", each) if each < 0 else number(each, ".2g" if each < 1 else ",.1f"),
                    Cell("yes" if row.on_front else "", float(row.on_front), "text"),
                ]
            )
    header = ["setting", f"device-{unit} a run", "images seen", "different images", "top-1, %"]
    header += [f"device-{unit} a point", "on the front"]
    caption = f"Cost: means of a run; device-{unit} beyond the first row's for each point gained over it"
    return "<h3>What it costs</h3>\n" + table(caption, header, rows)


def _left_out(report: Report) -> str:
    """Runs without figures, and seeds without runs."""
    rows = [
        [
            Cell(run.name),
            Cell(_unit(run.unit), style="text"),
            Cell(run.problem or "", style="text wide"),
            Cell(str(run.folder), style="text"),
        ]
        for run in report.problems
    ]
    for comparison in report.comparisons:
        for row in comparison.rows:
            rows += [
                [
                    Cell(row.label),
                    Cell(_unit(unit), style="text"),
                    Cell("no folder: not started", style="text wide"),
                    Cell(""),
                ]
                for unit in row.missing
            ]
    if not rows:
        return '<h2>Runs left out</h2>\n<p class="about">None: every run that was found is finished.</p>'
    return "<h2>Runs left out</h2>\n" + table(
        "Their figures are not in the tables", ["setting", "seed", "why", "folder"], rows
    )


def _unit(unit: tuple[int, int | None]) -> str:
    seed, fold = unit
    return f"{seed}" if fold is None else f"{seed}, fold {fold}"


def _made_with(runs: Sequence[RunRecord]) -> str:
    """What the starts of the runs recorded; where they differ, each with its number of starts."""
    found: dict[str, Counter[str]] = {}
    for run in runs:
        for start in run.environment.get("starts") or []:
            for name, value in _of_start(start).items():
                found.setdefault(name, Counter())[value] += 1
    lines = []
    for name, values in found.items():
        told = [value if len(values) == 1 else f"{value} ({count(n, 'start')})" for value, n in values.most_common()]
        lines.append(f"<dt>{escape(name)}</dt><dd>{escape('; '.join(told))}</dd>")
    lines.append(f"<dt>this page</dt><dd>recipe-ladder {escape(__version__)}</dd>")
    return f"<h2>How it was made</h2>\n<dl>\n{''.join(lines)}\n</dl>"


def _of_start(start: Mapping[str, Any]) -> dict[str, str]:
    git, packages = start.get("git") or {}, start.get("packages") or {}
    device = " ".join(str(start[key]) for key in ("gpu", "device", "cpu") if start.get(key))
    return {
        "device": f"{start.get('world_size', '?')} × {device}, {start.get('threads_per_rank', '?')} threads each",
        "git commit": (git.get("commit", "")[:12] + (" and uncommitted changes" if git.get("changed") else ""))
        or "unknown",
        "python": str(start.get("python", "unknown")),
        **{name: str(version) for name, version in packages.items() if version},
        "system": str(start.get("system", "unknown")),
    }
