"""Figures and findings as people write and say them. Text, not HTML."""

import math
import re
from collections.abc import Sequence

from recipe.ladder.comparing.comparison import SAME, Comparison, Gain, Row
from recipe.ladder.comparing.report import Report
from recipe.output import count

SMALLER = "smaller than"  # what a verdict on a small gain begins with
NAMED = 4  # findings of a kind that a headline names; the table has the rest


def signed(value: float) -> str:
    """A figure with its sign, as in +0.31 or −0.20; nothing for NaN."""
    return "" if math.isnan(value) else f"{value:+.2f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    """An interval, as in −0.20 to +0.82; nothing for NaN."""
    return "" if math.isnan(low) else f"{signed(low)} to {signed(high)}"


def p_value(p: float) -> str:
    """A p-value, as in 0.013 or < 0.001; nothing for NaN."""
    if math.isnan(p):
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def time_unit(hours: float) -> tuple[float, str]:
    """The unit that gives a number which is easy to read: how many of it an hour has, and its name."""
    if hours >= 2:
        return 1.0, "hours"
    return (60.0, "minutes") if hours >= 2 / 60 else (3600.0, "seconds")


def points(gain: Gain) -> float:
    """The mean over shared units, or the difference of the means where there are none; percentage points."""
    return gain.difference.mean if gain.difference.n else gain.means


def prefix(report: Report, number: int) -> str:
    """What the names of a comparison's files begin with: nothing where it is the only one."""
    if len(report.comparisons) == 1:
        return ""
    slugs = [slug(comparison.title.partition(" (")[0].lower())[:40].strip("-") for comparison in report.comparisons]
    return slugs[number] + (f"-{number + 1}" if slugs.count(slugs[number]) > 1 else "") + "_"


def slug(text: str) -> str:
    """Fit for the name of a file: of letters, digits and . = _ - alone, and not empty."""
    return re.sub(r"[^A-Za-z0-9.=_-]+", "-", text).strip("-.")[:80] or "unnamed"


def headline(comparison: Comparison) -> list[str]:
    """What was found, in sentences: what helps and by how much, how surely, what stays open, what could be found."""
    compared = [row for row in comparison.rows[1:] if row.gain is not None and row.gain.difference.n]
    if not compared:
        return _without_comparison(comparison)
    runs = [row.gain.difference.n for row in compared if row.gain]
    noun = "rung" if comparison.shape == "ladder" else "setting"
    if max(runs) == 1:
        best = max(comparison.rows, key=lambda row: row.mean if row.acc1 else -math.inf)
        return [
            f"With one run of each {noun} no gain can be told from chance: another seed may reverse it.",
            f"The highest top-1 is that of {best.label}, {best.mean:.2f}%.",
            f"Train more {_more(compared)}, to learn what each {noun} is worth.",
        ]
    helping, hurting, small = (_called(compared, verdict) for verdict in ("helps", "hurts", SMALLER))
    sentences = [_counts(len(compared), len(helping), len(hurting), len(small), noun)]
    smaller = [row.gain.verdict.capitalize() for row in small[:1] if row.gain]
    verbs = ("Helps", helping), ("Hurts", hurting), ("".join(smaller), small)
    sentences += [f"{verb}: {_list(rows)}." for verb, rows in verbs if rows]
    units = f"{min(runs)} to {max(runs)}" if min(runs) < max(runs) else f"{max(runs)}"
    if math.isfinite(comparison.detectable):
        sentences.append(
            f"With {units} shared {'folds' if _of_folds(compared) else 'seeds'}, the smallest gain that this design "
            f"finds in 4 of 5 cases is about {comparison.detectable:.2f} points."
        )
    last = compared[-1]
    if comparison.shape == "ladder" and len(compared) > 1 and last.total is not None and last.total.difference.n > 1:
        all_in_all, (low, high) = last.total.difference, last.total.interval
        sentences.append(
            f"From {comparison.rows[0].label} to {last.label} it is {signed(all_in_all.mean)} points in all "
            f"(95% interval {interval(low, high)})."
        )
    return sentences


def _counts(compared: int, helping: int, hurting: int, small: int, noun: str) -> str:
    """A sentence with how many help, hurt, are known to be small and are unresolved."""
    still_open = compared - helping - hurting - small
    if compared == 1:
        what = "helps" if helping else "hurts" if hurting else "is unresolved: it may help or hurt"
        what = "is worth less than the smallest gain asked for, up or down" if small else what
        return f"The one {noun} that is compared {what}."
    if still_open == compared:
        of_them = f"Neither of the 2 {noun}s" if compared == 2 else f"None of the {count(compared, noun)}"
        return f"{of_them} is resolved: each may help or hurt."
    if compared in (helping, hurting):
        whole = f"Both {noun}s" if compared == 2 else f"All {count(compared, noun)}"
        return f"{whole} {'help' if helping else 'hurt'}."
    verbs = (
        *((helping, "helps", "help"), (hurting, "hurts", "hurt")),
        *((small, f"is {SMALLER} asked for", f"are {SMALLER} asked for"),),
        *((still_open, "is unresolved", "are unresolved"),),
    )
    told = [f"{number} {one if number == 1 else several}" for number, one, several in verbs if number]
    first, *others = told
    number, verb = first.split(" ", 1)
    return ", ".join([f"{number} of {count(compared, noun)} {verb}", *others]) + "."


def _without_comparison(comparison: Comparison) -> list[str]:
    finished = [row for row in comparison.rows if row.acc1]
    if not finished:
        return ["No run has finished yet."]
    if len(finished) == 1:
        row = finished[0]
        return [
            f"{row.label} reaches {row.mean:.2f}% top-1, the mean of {count(len(row.acc1), 'run')}.",
            "There is nothing to compare it with yet.",
        ]
    if all(row.gain and row.gain.verdict == SAME for row in comparison.rows[1:]):
        return ["There is nothing to compare: all settings are one training, evaluated alike."]
    if _of_folds(comparison.rows[1:]):
        return ["No two settings that are compared share a fold: train them with the same folds and seeds."]
    return ["No two settings that are compared share a seed: train them with the same seeds."]


def _of_folds(rows: Sequence[Row]) -> bool:
    """Whether the runs are folds of a cross-validation."""
    return any(row.gain is not None and row.gain.difference.folds is not None for row in rows)


def _more(rows: Sequence[Row]) -> str:
    return "folds, as in data.fold=0,1,2,3,4" if _of_folds(rows) else "seeds, as in seed=0,1,2,3,4"


def _called(rows: Sequence[Row], verdict: str) -> list[Row]:
    """The rows of a verdict, the largest gains first."""
    found = [row for row in rows if row.gain and row.gain.verdict.startswith(verdict)]
    return sorted(found, key=lambda row: -abs(points(row.gain)) if row.gain else 0.0)


def _list(rows: Sequence[Row]) -> str:
    told = [_by(row.label, row.gain) for row in rows[:NAMED] if row.gain]
    more = [f"{len(rows) - NAMED} more"] if len(rows) > NAMED else []
    return "; ".join(told + more)


def _by(label: str, gain: Gain) -> str:
    sure = f"95% interval {interval(*gain.interval)}, adjusted {_p(gain.adjusted)}"
    return f"{label} by {signed(gain.difference.mean)} points ({sure})"


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p_value(p)}"


def about_spreads(comparison: Comparison) -> list[str]:
    """Where verdicts rest on the spread of the whole table: what paired tests would say, and whether spreads differ."""
    if not comparison.is_pooled:
        return []
    otherwise = [
        f"{row.label} {_word(row.gain.paired_verdict)} ({_p(row.gain.paired_adjusted)})"
        for row in comparison.rows
        if row.gain and _word(row.gain.paired_verdict) != _word(row.gain.verdict).replace("smaller", "unresolved")
    ]
    if len(otherwise) > NAMED + 1:
        otherwise = [*otherwise[:NAMED], f"{len(otherwise) - NAMED} more"]
    told = f"otherwise: {'; '.join(otherwise)}" if otherwise else "the same of every one"
    said = [f"Each difference by its own spread alone (paired t-tests, Holm) says {told}."]
    if comparison.spreads_p < 0.05:
        known = [row for row in comparison.rows if len(row.acc1) > 1]
        low, high = (find(known, key=lambda row: row.sd) for find in (min, max))
        said.append(
            f"The runs of {high.label} are further apart than those of others by more than chance, sd {high.sd:.2f} "
            f"where {low.label} has {low.sd:.2f} (Bartlett's {_p(comparison.spreads_p)}): the spread that all share "
            "counts less there."
        )
    return said


def _word(verdict: str) -> str:
    return verdict.partition(" ")[0]
