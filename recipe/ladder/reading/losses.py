"""Training and validation losses of runs, at their ends and at their best epochs.

Validation losses stand in result.json; those of the training, and its accuracy, only in metrics.jsonl, of which the
lines of an epoch are looked for and no others are read: a thousand long runs would take minutes.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from recipe.ladder.reading.records import RunRecord

BEFORE = 4  # lines that are read before an epoch's: its first mean is over the steps since the one before


class Losses(NamedTuple):
    """Of one run, or means over several. NaN: not known."""

    train: float  # mean over the last epoch's steps: of images as trained on, mixed and smoothed where the recipe does
    val: float  # cross entropy on the validation images, of the weights that count
    train_acc1: float  # percent, of the last epoch's training images, where it was measured
    best_train: float  # of the best epoch
    best_val: float
    best_epoch: float  # from 1


def of_runs(runs: Iterable[RunRecord]) -> Losses:
    """Means over runs; NaN where one of them has no such figure: a mean over fewer would be taken for theirs."""
    found = [of_run(run) for run in runs]
    return Losses(*(sum(column) / len(found) for column in zip(*found, strict=True))) if found else _nothing()


def of_run(run: RunRecord) -> Losses:
    """A run's losses. Where its weights were trained in another setting's run, the training is that run's."""
    result = run.result or {}
    best = result.get("best")
    best = best if isinstance(best, dict) else {}
    trained_in = result.get("trained_in")
    folder = run.folder / trained_in if isinstance(trained_in, str) else run.folder
    last, at_best = _number(result.get("epochs")), _number(best.get("epoch")) + 1
    train, acc1 = _of_epoch(folder, last)
    best_train, _ = _of_epoch(folder, at_best) if at_best != last else (train, acc1)
    return Losses(train, _number(result.get("loss")), acc1, best_train, _number(best.get("loss")), at_best)


def _nothing() -> Losses:
    return Losses(*[math.nan] * len(Losses._fields))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


@lru_cache(maxsize=8192)
def _of_epoch(folder: Path, done: float) -> tuple[float, float]:
    """Training loss and top-1 of an epoch (from 1) of a run; NaN where there is none."""
    if math.isnan(done):
        return math.nan, math.nan
    try:
        content = (folder / "metrics.jsonl").read_bytes()
    except OSError:
        return math.nan, math.nan
    lines = _lines(content, int(done) - 1)
    loss, acc1 = (_mean(lines, int(done) - 1, name) for name in ("train/loss", "train/acc1"))
    return loss, acc1


def _lines(content: bytes, epoch: int) -> list[dict[str, Any]]:
    """The entries of an epoch (from 0), and some before them. Broken lines are left out."""
    sign = re.compile(rb'"epoch": ?%d[,}]' % epoch)
    first = sign.search(content)
    if first is None:
        return []
    begin = first.start()
    for _ in range(1 + BEFORE):
        begin = max(0, content.rfind(b"\n", 0, begin))
    found = []
    for line in content[begin:].splitlines():
        try:
            entry = json.loads(line)
            if entry["epoch"] > epoch:
                break
            found.append({**entry, "step": int(entry["step"])})
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _mean(lines: Sequence[dict[str, Any]], epoch: int, name: str) -> float:
    """The mean over an epoch's steps of what each entry has of the steps since the one before."""
    total, steps, before = 0.0, 0, 0
    for entry in lines:
        since = entry["step"] - before
        if entry["epoch"] < epoch or "train/loss" in entry:
            before = entry["step"]
        if entry["epoch"] == epoch and type(entry.get(name)) in (int, float) and since > 0:
            total, steps = total + entry[name] * since, steps + since
    return total / steps if steps else math.nan
