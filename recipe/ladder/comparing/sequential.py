"""Comparisons of a sweep that looked at them several times: what a look sees, and what the looks so far have come to.

The sweep asks it before it trains further seeds, and a report when it finds the looks that were taken: so both say the
same.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import special

from recipe.ladder.comparing import borrowing, looks
from recipe.ladder.comparing.comparison import SAME, Comparison, Row
from recipe.ladder.comparing.statistics import detectable, standard_error
from recipe.ladder.reading import looks_taken
from recipe.ladder.reading.looks_taken import LooksTaken, Seen
from recipe.ladder.reading.records import RunRecord

SURE = 4  # degrees of freedom from which on a spread counts as known, as in statistics.verdict


def seen(comparisons: Iterable[Comparison], smallest: float | None) -> Iterator[Seen]:
    """What a look sees of each comparison of some tables. Two settings that are one training are none."""
    for comparison in comparisons:
        rows = [row for row in comparison.rows[1:] if row.gain is not None and row.gain.verdict != SAME]
        beyond = _beyond(comparison, smallest)
        for row in rows:
            assert row.gain is not None
            found = row.gain.difference
            p = row.gain.pooled.p if row.gain.pooled else found.p
            of_gain, of_smaller = _are_sure(row)
            p, p_smaller = p if of_gain else 1.0, beyond[row.name] if of_smaller else 1.0
            yield Seen(_table(comparison), row.name, row.gain.over, found.n, found.mean, p, p_smaller)


def standings(taken: LooksTaken) -> dict[tuple[str, str, str], looks.Standing]:
    """What has become of each comparison, by table, name and what it is compared with. The tables have 5% each."""
    found: dict[tuple[str, str, str], looks.Standing] = {}
    names = dict.fromkeys((each.table, each.name, each.over) for look in taken.looks for each in look)
    for table in dict.fromkeys(name[0] for name in names):
        mine = [name for name in names if name[0] == table]
        by_look = [{(each.table, each.name, each.over): each for each in look} for look in taken.looks]
        p, p_smaller, means = (
            np.array([[getattr(look[name], figure) if name in look else math.nan for name in mine] for look in by_look])
            for figure in ("p", "p_smaller", "mean")
        )
        decided = looks.decide(p, p_smaller, means, taken.design)
        adjusted = looks.adjusted(p, taken.design)
        at_end = len(taken.looks) == len(taken.design.counts)
        for place, name in enumerate(mine):
            mine_at = [look[name] for look in by_look if name in look]
            found[name] = looks.Standing(mine_at[-1], len(mine_at), int(decided[place]), float(adjusted[place]), at_end)
    return found


def verdict(standing: looks.Standing, taken: LooksTaken) -> str:
    """What a report calls it: helps, hurts, smaller than …, unresolved (…)."""
    if standing.decided == looks.SMALLER:
        return f"smaller than {taken.design.smallest:g} in either direction"
    if standing.decided != looks.OPEN:
        return {looks.HELPS: "helps", looks.HURTS: "hurts"}[standing.decided]
    if standing.at_end:
        return f"unresolved (at max_seeds={taken.design.counts[-1]})"
    return f"unresolved (open at look {len(taken.looks)} of {len(taken.design.counts)})"


def with_looks(comparisons: Iterable[Comparison], runs: Iterable[RunRecord], roots: Iterable[Path]) -> None:
    """Give comparisons the verdicts of the looks that the sweeps of their runs have taken; the others stay as they are.

    Args:
        comparisons: changed in place.
        runs: that they were made of.
        roots: folders that are reported on; files of looks are sought from there down to the runs.
    """
    known = list(looks_taken.below(roots, runs))
    for comparison in comparisons:
        for taken in known:
            if _apply(comparison, taken):
                comparison.looks = taken
                break


def _apply(comparison: Comparison, taken: LooksTaken) -> bool:
    """Whether some of a table's comparisons were looked at; their verdicts are changed."""
    there = {name[1:]: standing for name, standing in standings(taken).items() if name[0] == _table(comparison)}
    mine = {row.name for row in comparison.rows if any(taken.holds(run.folder) for run in row.runs.values())}
    some = False
    for row in comparison.rows[1:]:
        if row.gain is None or not {row.name, row.gain.over} <= mine or (row.name, row.gain.over) not in there:
            continue
        standing = there[row.name, row.gain.over]
        changed = replace(row.gain, adjusted=standing.adjusted, verdict=verdict(standing, taken), standing=standing)
        if row.total is row.gain:
            row.total = changed
        row.gain, some = changed, True
    return some


def _table(comparison: Comparison) -> str:
    """What tells a table from others of a sweep, whatever its runs."""
    return json.dumps([comparison.shape, comparison.varied, comparison.rows[0].name, comparison.trained_on])


def _are_sure(row: Row) -> tuple[bool, bool]:
    """Whether p of "no gain" and of "smaller than" may count: a spread of few degrees of freedom is hardly known."""
    assert row.gain is not None
    found, pooled = row.gain.difference, row.gain.pooled
    if found.n < 2:
        return False, False
    sd, freedom = (pooled.sd, pooled.freedom) if pooled else (found.spread, found.n - 1.0)
    known = freedom >= SURE
    return known or abs(found.mean) >= detectable(found.n, sd, found.folds, 1, freedom), known


def _beyond(comparison: Comparison, smallest: float | None) -> dict[str, float]:
    """p that a gain is the smallest one or more, up or down, by the setting's name."""
    rows = comparison.rows
    if smallest is None or len(rows) < 2:
        return {row.name: 1.0 for row in rows}
    gains = [row.gain for row in rows[1:] if row.gain is not None]
    lent = borrowing.table(rows)
    pooled: Sequence[float] = borrowing.beyond(lent, rows, gains, smallest) if lent else [math.nan] * len(gains)
    found = {}
    for row, gain, p in zip(rows[1:], gains, pooled, strict=True):
        if gain.pooled is None:
            n, error = gain.difference.n, standard_error(gain.difference) if gain.difference.n > 1 else math.nan
            p = float(special.stdtr(n - 1, (abs(gain.difference.mean) - smallest) / error)) if error > 0 else 1.0
        found[row.name] = 1.0 if math.isnan(p) else p
    return found
