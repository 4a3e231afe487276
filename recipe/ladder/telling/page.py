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
from recipe.ladder.comparing.comparison import Comparison, Report, Row
from recipe.ladder.reading.records import RunRecord
from recipe.ladder.telling import beside_tables, on_test, tables, wording
from recipe.ladder.telling.classes_and_images import classes_and_images
from recipe.ladder.telling.data_sets import section as across
from recipe.ladder.telling.markup import Cell, figure, number, signed, table
from recipe.output import count

if TYPE_CHECKING:
    from recipe.ladder.telling.figures import Drawing
    from recipe.ladder.telling.thumbnails import Thumbnail

HERE = Path(__file__).parent


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
    of_data_sets = [
        "".join(figure(drawing) for drawing in figures.values() if drawing.comparison == -1 - place)
        for place in range(len(report.across))
    ]
    body = [_top(report), *across.sections(report, of_data_sets)]
    for place, comparison in enumerate(report.comparisons):
        drawings = [drawing for drawing in figures.values() if drawing.comparison == place]
        body.append(_comparison(place, comparison, drawings, thumbnails[place] if thumbnails else {}))
    body += [_left_out(report), HOW_TO_READ, _made_with(report.runs)]
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
    """The main table. Columns that no row fills are left out."""
    columns: dict[str, Callable[[Row], Cell]] = {
        "runs": lambda row: Cell(
            f"{len(row.acc1)}" + (f" of {row.planned}" if row.planned > len(row.acc1) else ""), len(row.acc1)
        ),
        "top-1, %": lambda row: number(row.mean if row.acc1 else None),
        "sd": lambda row: number(row.sd),
        "gain": lambda row: signed(wording.points(row.gain) if row.gain else math.nan),
        "95% interval": lambda row: _interval(row),
        "adjusted p": lambda row: Cell(wording.p_value(row.gain.adjusted), row.gain.adjusted) if row.gain else Cell(""),
        "paired p": lambda row: _paired(row, comparison),
        "verdict": _verdict,
        "gain over": lambda row: Cell(labels[row.gain.over] if row.gain and not obvious else "", style="text"),
        "total gain": lambda row: signed(
            wording.points(row.total) if row.total and comparison.has_totals else math.nan
        ),
        "incl. other images": _over_images,
        "median": lambda row: number(row.median),
        "highest": lambda row: number(row.highest),
        "best epoch": lambda row: number(row.best_acc1),
        "top-5, %": lambda row: number(row.acc5),
        "published": _published,
        "published gain": lambda row: signed(row.published_gain),
    }
    labels = {row.name: row.label for row in comparison.rows}
    names = list(labels)
    usual = names[:-1] if comparison.shape == "ladder" else names[:1] * (len(names) - 1)
    obvious = [row.parent for row in comparison.rows[1:]] == usual
    cells = {name: [column(row) for row in comparison.rows] for name, column in columns.items()}
    shown = [name for name, column in cells.items() if any(cell.text for cell in column)]
    first = [Cell(row.label, place) for place, row in enumerate(comparison.rows)]
    rows = zip(first, *(cells[name] for name in shown), strict=True)
    return table("Top-1 in percent, gains in percentage points; a click on a header sorts", ["setting", *shown], rows)


def _published(row: Row) -> Cell:
    """The top-1 that its source has, or what that is of where it is not shown."""
    published = row.published
    if published.instead is not None:
        return Cell(published.instead, style="text")
    best = " (best epoch)" * published.is_of_best_epoch
    return Cell("" if published.acc1 is None else f"{published.acc1:.2f}{best}", published.acc1)


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
    return Cell(row.gain.verdict, style=f"text {word}" if word in ("helps", "hurts") else "text")


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


HOW_TO_READ = """<h2 id="how-to-read">How to read this</h2>
<dl>
<dt>runs</dt><dd>How many runs with different seeds a setting has. Everything is a mean over them.</dd>
<dt>top-1</dt><dd>The share of the validation images whose class is recognised, after the last epoch; of the averaged
weights where a recipe averages them. The best epoch's top-1 is given too, but compares badly: it is the luckiest of
many.</dd>
<dt>sd</dt><dd>The standard deviation of top-1 over the runs of one setting: how far two runs of the very same setting
lie apart.</dd>
<dt>gain</dt><dd>A setting's top-1 less that of the setting it is compared with, seed by seed, then averaged. In a
ladder that is the rung below, elsewhere the reference. The total gain is over the first row.</dd>
<dt>95% interval</dt><dd>Gains that are compatible with these runs (Student's t over the seeds). An interval on both
sides of 0 leaves open whether the setting helps. The one including other images allows for other validation images
as well as for other seeds. Where the runs are folds of a cross-validation, whose training sets overlap, the interval
is widened for it (Nadeau and Bengio, 2003).</dd>
<dt>published</dt><dd>What the source of a recipe reports. It is shown of runs on its data (known by its classes and
numbers of images) and at its size, with no other value changed; for others the column says what it was published on.
Where the source reports the best epoch, compare it with the best epoch here.</dd>
<dt>adjusted p</dt><dd>How surprising such a gain would be if there were none in truth: below 0.05 is called a finding.
With many gains in one table, some would look surprising by luck; Holm's adjustment allows for that. How far runs lie
apart is told by the runs of all rows, those that stand out by their own (docs/STATISTICS.md).</dd>
<dt>paired p</dt><dd>The same from each difference's own runs alone, which assumes nothing of the other rows and finds
less.</dd>
<dt>verdict</dt><dd><span class="helps">helps</span> or <span class="hurts">hurts</span> where the adjusted p is below
0.05 and the runs are enough to say so. <em>Unresolved</em> means not known: the runs are too few for a gain of this
size. It does not mean that there is no gain. Where a number of seeds is given, about so many would tell.</dd>
<dt>device-hours</dt><dd>Hours that a run takes, times its devices, evaluations included. A setting is on the front
where no other is as accurate for less.</dd>
</dl>"""
