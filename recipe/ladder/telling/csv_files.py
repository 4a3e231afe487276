"""Every figure of a report as CSV: a line for each row of a table, a line for each run."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from recipe.ladder.comparing.comparison import Comparison, Gain, Report, Row
from recipe.ladder.telling.wording import points


def rungs_csv(report: Report) -> str:
    """A line for each row of each table, with every figure; empty where there is none."""
    lines: list[dict[str, Any]] = []
    for comparison in report.comparisons:
        lines.extend(_row_figures(comparison, row) for row in comparison.rows)
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
        **_gain_figures("gain", row.gain),
        **_gain_figures("total", row.total),
        "published_acc1": row.published.get("acc1"),
        "published_gain": row.published_gain,
        "device_hours": row.device_hours,
        "images_seen": row.images,
        "unique_images": row.unique_images,
        "hours_per_point": row.hours_per_point,
        "on_front": int(row.on_front),
        "detectable": comparison.detectable,
    }


def _gain_figures(kind: str, gain: Gain | None) -> dict[str, Any]:
    names = ("n", "mean", "sd", "low", "high", "bca_low", "bca_high", "p", "p_exact", "better")
    figures: dict[str, Any] = {name: getattr(gain.difference, name) if gain else None for name in names}
    low, high = (gain.over_images if gain else None) or (None, None)
    return {
        f"{kind}": points(gain) if gain else None,
        **{f"{kind}_{name}": value for name, value in figures.items() if name != "mean"},
        f"{kind}_p_holm": gain.adjusted if gain else None,
        f"{kind}_images_low": low,
        f"{kind}_images_high": high,
        f"{kind}_mcnemar": gain.mcnemar if gain else None,
        f"{kind}_p_unpaired": gain.unpaired if gain else None,
        f"{kind}_verdict": gain.verdict if gain else None,
    }


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
