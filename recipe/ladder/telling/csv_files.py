"""Every figure of a report as CSV: a line for each row of a table, a line for each run."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from recipe.ladder.comparing.comparison import Comparison, Gain, Row
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading import losses
from recipe.ladder.telling.data_sets import tables as data_sets
from recipe.ladder.telling.wording import points

GAIN = (
    *("gain", "gain_n", "gain_sd", "gain_low", "gain_high", "gain_bca_low", "gain_bca_high", "gain_p", "gain_p_exact"),
    *("gain_better", "gain_p_holm", "gain_images_low", "gain_images_high", "gain_mcnemar", "gain_p_unpaired"),
    "gain_verdict",
)
TOTAL = (
    *("total", "total_n", "total_sd", "total_low", "total_high", "total_bca_low", "total_bca_high", "total_p"),
    *("total_p_exact", "total_better", "total_p_holm", "total_images_low", "total_images_high", "total_mcnemar"),
    *("total_p_unpaired", "total_verdict"),
)

LOSSES = (
    "train_loss",
    "loss",
    "train_acc1",
    "best_train_loss",
    "best_loss",
    "best_epoch",
)  # of reading.losses
POOLED = ("low", "high", "sd", "freedom", "p", "p_holm", "paired_verdict")  # beside the paired figures, of each kind


def rungs_csv(report: Report) -> str:
    """A line for each row of each table, with every figure; empty where there is none."""
    lines: list[dict[str, Any]] = []
    for comparison in report.comparisons:
        of_test = {row.name: row for row in comparison.on_test.rows} if comparison.on_test else {}
        for row in comparison.rows:
            more = _on_test(of_test.get(row.name)) if any(each.on_test for each in report.comparisons) else {}
            lines.append(_row_figures(comparison, row) | more)
    return _csv(lines)


def _row_figures(comparison: Comparison, row: Row) -> dict[str, Any]:
    return {
        "table": comparison.title,
        "shape": comparison.shape,
        "setting": row.name,
        "label": row.label,
        "value": row.value,
        "n": len(row.runs),
        "planned": row.planned,
        "unfinished": len(row.others),
        "missing": len(row.missing),
        "acc1_mean": row.mean,
        "acc1_sd": row.sd,
        "acc1_median": row.median,
        "acc1_max": row.highest,
        "acc5_mean": row.acc5,
        "best_acc1_mean": row.best_acc1,
        "over": row.parent,
        **dict(zip(GAIN, _gain_figures(row.gain), strict=True)),
        **dict(zip(TOTAL, _gain_figures(row.total), strict=True)),
        "published_acc1": row.published.figures.get("acc1") if row.published.shown else None,
        "published_best_acc1": row.published.figures.get("best_acc1") if row.published.shown else None,
        "published_gain": row.published_gain,
        "published_on": row.published.instead,
        "device_hours": row.device_hours,
        "images_seen": row.images,
        "unique_images": row.unique_images,
        "hours_per_point": row.hours_per_point,
        "on_front": int(row.on_front),
        "detectable": comparison.detectable,
        "spreads_p": comparison.spreads_p,
        **dict(zip((f"gain_pooled_{name}" for name in POOLED), _pooled_figures(row.gain), strict=True)),
        **dict(zip((f"total_pooled_{name}" for name in POOLED), _pooled_figures(row.total), strict=True)),
        **dict(zip((f"{name}_mean" for name in LOSSES), losses.of_runs(row.runs.values()), strict=True)),
    }


def _on_test(row: Row | None) -> dict[str, Any]:
    """The figures of a setting on test images; None where there are none."""
    gain = row.gain if row else None
    low, high = gain.interval if gain else (None, None)
    images = gain.over_images if gain and gain.over_images else (None, None)
    return {
        "test_n": len(row.runs) if row else None,
        "test_acc1_mean": row.mean if row else None,
        "test_acc1_sd": row.sd if row else None,
        "test_gain": points(gain) if gain else None,
        "test_gain_low": low,
        "test_gain_high": high,
        "test_gain_p_holm": gain.adjusted if gain else None,
        "test_gain_images_low": images[0],
        "test_gain_images_high": images[1],
        "test_gain_verdict": gain.verdict if gain else None,
    }


def _gain_figures(gain: Gain | None) -> list[Any]:
    """The figures of GAIN and TOTAL, in their order; None without a gain."""
    if gain is None:
        return [None] * len(GAIN)
    d = gain.difference
    low, high = gain.over_images or (None, None)
    tests = [d.n, d.sd, d.low, d.high, d.bca_low, d.bca_high, d.p, d.p_exact, d.better]
    return [points(gain), *tests, gain.paired_adjusted, low, high, gain.mcnemar, gain.unpaired, gain.verdict]


def _pooled_figures(gain: Gain | None) -> list[Any]:
    """The figures of POOLED, in their order; None where the paired ones are those that count."""
    if gain is None or gain.pooled is None:
        return [None] * len(POOLED)
    low, high, p, sd, freedom = gain.pooled
    return [low, high, sd, freedom, p, gain.adjusted, gain.paired_verdict]


def data_sets_csv(report: Report) -> str:
    """A line for each setting on each data set, and for its mean over them."""
    return _csv([line for across in report.across for line in data_sets.lines(across)])


def runs_csv(report: Report) -> str:
    """A line for each run, those with problems included."""
    lines: list[dict[str, Any]] = []
    for run in report.runs:
        result = run.result or {}
        best = result.get("best")
        lines.append(
            {
                "setting": run.name,
                "recipe": run.recipe,
                "seed": run.unit[0],
                "fold": run.unit[1],
                "folder": str(run.folder),
                "state": run.problem or "finished",
                "acc1": result.get("acc1"),
                "acc5": result.get("acc5"),
                "best_acc1": best.get("acc1") if isinstance(best, dict) else None,
                **dict(zip(LOSSES, losses.of_run(run), strict=True)),
                **{name: result.get(name) for name in ("device_seconds", "images_seen", "unique_images", "trained_in")},
            }
        )
    return _csv(lines)


def _csv(lines: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    for line in lines:
        nothing = {name: "" for name, value in line.items() if isinstance(value, float) and math.isnan(value)}
        writer.writerow(line | nothing)
    return file.getvalue()
