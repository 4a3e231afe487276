"""Runs compared: each setting's figures, its gain over what it builds on and over the first, and how sure that is."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from recipe.ladder.comparing import borrowing, floors, statistics
from recipe.ladder.comparing.beside import beside
from recipe.ladder.comparing.comparison import SAME, Comparison, Gain, Row
from recipe.ladder.reading import predictions
from recipe.ladder.reading.collect import data_of
from recipe.ladder.reading.records import RunRecord
from recipe.ladder.reading.settings import Setting, differing, groups, text, unit_order
from recipe.ladder.reading.tables import Table, tables
from recipe.plan.published import Published


def compare(runs: Iterable[RunRecord]) -> list[Comparison]:
    """The tables that runs make: ladders first, single settings last."""
    found = [(_comparison(table), table) for settings in groups(runs) for table in tables(settings)]
    titles = [comparison.title for comparison, _ in found]
    for comparison, table in found:
        if titles.count(comparison.title) > 1:  # the same on other images
            comparison.title += f", validation images {table.members[0].environment['data']['val'][:8]}"
    ordered = sorted(found, key=lambda pair: len(pair[0].rows) == 1)
    return [comparison for comparison, _ in ordered]


def _comparison(table: Table) -> Comparison:
    first = table.members[0]
    common = _common(table.members)
    rows = [_row(setting, table, common) for setting in table.members]
    _fill_missing(rows)
    by_name, members = {row.name: row for row in rows}, {member.name: member for member in table.members}
    for row in rows[1:]:
        parent = by_name[table.parents[row.name].name]
        row.parent = parent.name
        row.differs = differing(members[row.name], members[parent.name])
        if row.name in table.passed_over:
            nearer = table.passed_over[row.name]
            row.passed_over = by_name[nearer.name].label, differing(members[row.name], nearer)
        row.published_gain = _published_gain(row.published, parent.published)
        row.gain = _gain(row, parent, first.folds)
        row.total = row.gain if parent is rows[0] else _gain(row, rows[0], first.folds)
        if row.total.means > 0:
            row.hours_per_point = (row.device_hours - rows[0].device_hours) / row.total.means
    lent = borrowing.table(rows) if first.folds is None else None
    for kind in ("gain", "total"):
        _judge(rows, kind, lent)
    for row in rows:
        row.on_front = bool(row.runs) and not any(_beats(other, row) for other in rows if other.runs)
    data = str(first.config.get("data.name", "data"))
    shared = {"data": data, **first.chosen, **common}
    all_runs = [run for row in rows for run in row.runs.values()]
    return Comparison(
        shape=table.shape,
        title=_title(table, rows, shared),
        rows=rows,
        common=shared,
        varied=table.varied,
        detectable=_detectable(rows[1:], first.folds),
        correlation=_correlation(rows),
        classes=[str(name) for name in first.environment["classes"]],
        images=predictions.images_of(all_runs),
        beside=beside(rows),
        trained_on=_trained_on(first),
        data_folder=_data_folder(first),
        spreads_p=borrowing.spreads_differ(lent) if lent else math.nan,
    )


def _common(members: Sequence[Setting]) -> dict[str, str]:
    """What all settings have in common beside their recipes: overrides, some of which a recipe has by itself."""
    keys = dict.fromkeys(key for member in members for key in member.varied)
    values = {key: {member.value(key) for member in members} for key in keys}
    return {key: next(iter(found)) for key, found in values.items() if len(found) == 1}


def _trained_on(setting: Setting) -> str:
    """What tells the training images from others, whatever the validation images."""
    return str(data_of(next(iter((*setting.runs.values(), *setting.others))))[0])


def _data_folder(setting: Setting) -> str | None:
    """The last part of the data.root that the command line had."""
    given = [str(override) for override in setting.environment["overrides"]]
    roots = [each.partition("=")[2].strip("'\"") for each in given if each.startswith("data.root=")]
    return PurePath(roots[-1]).name or None if roots else None


def _row(setting: Setting, table: Table, common: dict[str, str]) -> Row:
    results = [run.result for run in setting.runs.values() if run.result is not None]
    acc1 = [float(result["acc1"]) for result in results]

    def mean(name: str) -> float:
        return float(np.mean([result[name] for result in results])) if results else math.nan

    return Row(
        name=setting.name,
        label=_label(setting, table, common),
        runs=setting.runs,
        others=setting.others,
        missing=[],
        acc1=acc1,
        acc5=mean("acc5"),
        best_acc1=_best(results),
        mean=mean("acc1"),
        sd=float(np.std(acc1, ddof=1)) if len(acc1) > 1 else math.nan,
        median=float(np.median(acc1)) if acc1 else math.nan,
        highest=max(acc1, default=math.nan),
        parent=None,
        key=(
            setting.recipe,
            tuple((key, value) for key, value in sorted(setting.varied.items()) if key not in common),
            setting.changes,
        ),
        published=setting.published,
        device_hours=mean("device_seconds") / 3600,
        images=mean("images_seen"),
        unique_images=mean("unique_images"),
        value=_value(setting, table),
    )


def _published_gain(published: Published, of_parent: Published) -> float:
    """Points; NaN where either may not be shown, or they are of different epochs."""
    same = published.shown and of_parent.shown and published.is_of_best_epoch == of_parent.is_of_best_epoch
    if not same or published.acc1 is None or of_parent.acc1 is None:
        return math.nan
    return published.acc1 - of_parent.acc1


def _best(results: list[dict[str, Any]]) -> float:
    """Mean top-1 of the best epochs; runs that share another's training have none."""
    found = [result["best"].get("acc1") for result in results if isinstance(result.get("best"), dict)]
    known = [acc1 for acc1 in found if isinstance(acc1, int | float)]
    return float(np.mean(known)) if known else math.nan


def _label(setting: Setting, table: Table, common: dict[str, str]) -> str:
    changes = ", ".join(f"{kind} {what}" for kind, what in setting.changes)
    if len(table.members) == 1:
        return f"{setting.recipe} {changes}".strip()
    if table.shape == "sweep":
        values = {key: setting.varied.get(key, text(setting.config.get(key))) for key in table.varied}
        return ", ".join(f"{key}={value}" for key, value in values.items())
    if not changes:
        return setting.recipe
    parent = table.parents.get(setting.name)
    more = [f"{key}={value}" for key, value in setting.literal.items() if parent and key not in parent.varied]
    return ", ".join([changes, *more])


def _value(setting: Setting, table: Table) -> float | None:
    """The number that is varied, where it is a single one."""
    value = setting.config.get(table.varied[0]) if len(table.varied) == 1 else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _fill_missing(rows: list[Row]) -> None:
    units = {unit for row in rows for unit in (*row.runs, *(run.unit for run in row.others))}
    for row in rows:
        there = row.runs.keys() | {run.unit for run in row.others}
        row.missing = sorted(units - there, key=unit_order)


def _gain(row: Row, over: Row, folds: int | None) -> Gain:
    """A row over another, seed by seed; the p-value for several and the verdict come later."""
    units = predictions.shared_units(row.runs, over.runs)
    if units and all(_is_same(row.runs[unit], over.runs[unit]) for unit in units):
        return Gain(over.name, statistics.difference([], [], folds), math.nan, SAME, None, None, means=0.0)
    new_runs, old_runs = ([each.runs[unit] for unit in units] for each in (row, over))
    images = predictions.images_of([*new_runs, *old_runs])
    correct = predictions.correct(new_runs, old_runs) if folds is None else None  # folds have different images
    floor = floors.of_difference(images, correct[0].astype(np.int8) - correct[1] if correct is not None else None)
    found = statistics.difference(list(map(_acc1, new_runs)), list(map(_acc1, old_runs)), folds, floor)
    interval, p_images, unpaired = None, None, None
    if correct is None and len(units) == 1:
        correct = predictions.correct(new_runs, old_runs)
    if correct is not None:
        interval = statistics.over_images(*correct, floor)
        p_images = statistics.mcnemar(correct[0][0], correct[1][0]) if len(units) == 1 else None
    if not units and min(len(row.acc1), len(over.acc1)) >= 2:
        unpaired = statistics.permutation(np.array(row.acc1), np.array(over.acc1))
    means = row.mean - over.mean
    return Gain(over.name, found, math.nan, "", interval, p_images, unpaired, means)


def _is_same(run: RunRecord, other: RunRecord) -> bool:
    """Whether two runs are one training, evaluated alike: r00_baseline and v1, or a value that a rung has by itself."""
    hashes = [[(each.result or {}).get(name) for name in ("training_hash", "result_hash")] for each in (run, other)]
    return None not in hashes[0] and hashes[0] == hashes[1]


def _acc1(run: RunRecord) -> float:
    assert run.result is not None
    return float(run.result["acc1"])


def _judge(rows: Sequence[Row], kind: str, lent: borrowing.TableRuns | None) -> None:
    """Holm's p-values and the verdicts of all gains of one kind: pooled where rows lend, and by each pair alone."""
    gains: list[Gain] = [getattr(row, kind) for row in rows[1:]]
    pooled = borrowing.pooled(lent, rows, gains, kind == "total") if lent else [None] * len(gains)
    told_twice = [kind == "total" and row.gain is not None and row.gain.verdict == SAME for row in rows[1:]]
    alone = [math.nan if twice else gain.difference.p for gain, twice in zip(gains, told_twice, strict=True)]
    counted = [one.p if one and not math.isnan(p) else p for one, p in zip(pooled, alone, strict=True)]
    tests = max(1, sum(not math.isnan(p) for p in alone))
    adjusted, of_each_alone = statistics.holm(counted).tolist(), statistics.holm(alone).tolist()
    judged = zip(rows[1:], gains, pooled, adjusted, of_each_alone, strict=True)
    for row, gain, one, p, p_alone in judged:
        if gain.verdict == SAME:
            continue
        verdict = statistics.verdict(gain.difference, p, tests, one)
        paired = statistics.verdict(gain.difference, p_alone, tests)
        if gain.unpaired is not None:
            verdict = f"{verdict[:-1]}; permutation test of the means: p = {gain.unpaired:.2g})"
        new = replace(gain, adjusted=p, verdict=verdict, pooled=one, paired_adjusted=p_alone, paired_verdict=paired)
        setattr(row, kind, new)
    by_name = {row.name: row for row in rows}
    for row, twice in zip(rows[1:], told_twice, strict=True):
        over = by_name[row.parent or ""]
        if twice and over.total is not None:  # that of the setting which is the same training
            row.total = over.total


def _detectable(rows: Sequence[Row], folds: int | None) -> float:
    """Of the typical gain: the median over the table, each by the spread that its verdict rests on."""
    gains = [row.gain for row in rows if row.gain is not None and row.gain.difference.n >= 2]
    if not gains:
        return math.inf
    pooled = [gain.pooled for gain in gains if gain.pooled is not None]
    found = [gain.difference for gain in gains]
    typical = round(float(np.median([each.n for each in found])))
    if pooled:
        sd = math.sqrt(float(np.median([each.sd**2 for each in pooled])))
        freedom = float(np.median([each.freedom for each in pooled]))
        return statistics.detectable(typical, sd, folds, len(found), freedom)
    degrees = [each.n - 1 for each in found]
    variance = sum(each.spread**2 * df for each, df in zip(found, degrees, strict=True)) / sum(degrees)
    return statistics.detectable(typical, math.sqrt(variance), folds, len(found))


def _beats(other: Row, row: Row) -> bool:
    """As accurate for less, or more accurate for as much."""
    as_good = other.mean >= row.mean and other.device_hours <= row.device_hours
    return as_good and (other.mean > row.mean or other.device_hours < row.device_hours)


def _correlation(rows: list[Row]) -> float | None:
    pairs = [(row.mean, row.published.figures["acc1"]) for row in rows if row.runs and "acc1" in row.published.figures]
    if len(pairs) < 3:
        return None
    return statistics.rank_correlation(*zip(*pairs, strict=True))


def _title(table: Table, rows: list[Row], shared: dict[str, str]) -> str:
    first, last = table.members[0], table.members[-1]
    where = "data " + ", ".join([shared["data"], *(f"{k}={v}" for k, v in shared.items() if k != "data")])
    changes = "".join(f" {kind} {what}" for kind, what in first.changes)
    if len(rows) == 1:
        return f"{first.recipe}{changes} ({where})"
    what = {
        "ladder": f"Ladder from {first.recipe} to {last.recipe}",
        "leave-one-out": f"{first.recipe} without one ingredient at a time",
        "add-one-in": f"{first.recipe} with one more ingredient at a time",
        "sweep": f"{first.recipe} with other values of {', '.join(table.varied)}",
    }
    return f"{what[table.shape]} ({where})"
