"""The tables of docs/EVIDENCE.md, from the records of the runs: `python benchmarks/evidence.py [--check]`.

Rewrites what stands between the marks of that page, <!-- NAME --> and <!-- /NAME -->; NAME is a folder of
docs/results/evidence, which `keep_records.py` fills. With --check nothing is written, and a page that says something
else than its records is an error.
"""

import argparse
import re
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from honest_control import DESIGNS, false_calls

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison, Row
from recipe.ladder.comparing.statistics import rank_correlation
from recipe.ladder.reading.collect import collect
from recipe.ladder.reading.records import RunRecord

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs/EVIDENCE.md"
RECORDS = PROJECT / "docs/results/evidence"
SPLITS = 1000
ORDERED = 8  # rungs from which on their order says something


def main() -> None:
    """Write the page's tables anew, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    written = PAGE.read_text()
    made = page(written)
    if arguments.check and made != written:
        sys.exit(f"{PAGE} says something else than its records: python benchmarks/evidence.py")
    PAGE.write_text(made)


def page(written: str) -> str:
    """The page with its tables as the records have them."""

    def filled(match: re.Match[str]) -> str:
        name = match[1]
        tell = TOLD[name.split("_", maxsplit=1)[0]]
        with TemporaryDirectory() as unpacked:
            told = tell(records(RECORDS / name, Path(unpacked)))
        return f"<!-- {name} -->\n{told}\n<!-- /{name} -->"

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", filled, written, flags=re.DOTALL)


def records(folder: Path, unpacked: Path) -> list[RunRecord]:
    """The finished runs that a folder's archives tell of, unpacked into another folder."""
    for archive in sorted(folder.glob("*.tar.xz")):
        with tarfile.open(archive) as file:
            file.extractall(unpacked, filter="data")
    return [run for run in collect([unpacked]) if run.problem is None]


def ladder(runs: Sequence[RunRecord]) -> str:
    """A ladder's table: what each rung is worth here, and what was published of it on ImageNet."""
    (comparison,) = compare(runs)
    names = ["rung", "seeds", "top-1 ± sd", "gain", "95% interval", "verdict", "published gain"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    lines += [_line(row, _published(comparison, row)) for row in comparison.rows]
    return "\n".join([*lines, *_agreement(comparison)])


def _line(row: Row, published: float | None) -> str:
    gain = row.gain
    cells = [f"`{row.label}`", str(len(row.runs)), f"{row.mean:.2f} ± {row.sd:.2f}"]
    if gain is None:
        return f"| {' | '.join([*cells, '', '', '', ''])} |"
    low, high = gain.interval
    verdict = "unresolved" if gain.verdict.startswith("unresolved") else gain.verdict
    told = "" if published is None else f"{published:+.3f}"
    return f"| {' | '.join([*cells, f'{gain.difference.mean:+.2f}', f'{low:+.2f} to {high:+.2f}', verdict, told])} |"


def _published(comparison: Comparison, row: Row) -> float | None:
    """What the source of the recipe says that it gains over the row that it is compared with; on ImageNet."""
    figures = {each.name: _of_rung(each) for each in comparison.rows}
    mine, before = figures[row.name], figures.get(row.parent or "")
    return None if mine is None or before is None else mine - before


def _of_rung(row: Row) -> float | None:
    published = next(iter(row.runs.values())).environment["rung"]["published"] or {}
    return published.get("acc1")


def _agreement(comparison: Comparison) -> list[str]:
    if len(comparison.rows) < ORDERED:
        return []
    pairs = [(row, _of_rung(row), _published(comparison, row)) for row in comparison.rows]
    means = [(row.mean, acc1) for row, acc1, _ in pairs if acc1 is not None]
    gains = [(row.gain.difference.mean, gain) for row, _, gain in pairs if row.gain is not None and gain is not None]
    of_means, of_gains = (rank_correlation(*zip(*each, strict=True)) for each in (means, gains))
    of_both = f"of the accuracies {of_means:+.2f}, of the gains {of_gains:+.2f}"
    return ["", f"Rank correlation with what was published (Spearman): {of_both}."]


def control(runs: Sequence[RunRecord]) -> str:
    """How often groups of one recipe's runs are called different."""
    lines = ["| groups | runs of each | splits with a false call |", "|---|---|---|"]
    for rungs, seeds in DESIGNS:
        if rungs * seeds <= len(runs):
            lines.append(f"| {rungs} | {seeds} | {false_calls(runs, rungs, seeds, SPLITS) / SPLITS:.1%} |")
    return "\n".join(lines)


TOLD: dict[str, Callable[[Sequence[RunRecord]], str]] = {"ladder": ladder, "control": control}

if __name__ == "__main__":
    main()
