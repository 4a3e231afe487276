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
    """The entry before those of an epoch (from 0), and the epoch's own of the training. Broken lines are left out."""
    first = re.search(rb'"epoch": ?%d[,}]' % epoch, content)
    if first is None:
        return []
    begin = content.rfind(b"\n", 0, first.start()) + 1
    found: list[dict[str, Any]] = []
    before = begin - 1
    while before > 0 and not found:
        start = content.rfind(b"\n", 0, before) + 1
        found += _entries(content[start:before])
        before = start - 1
    for line in content[begin:].splitlines():
        if b'"train/' in line and (read := _entries(line)):
            if read[0]["epoch"] > epoch:
                break
            found += read
    return found


def _entries(line: bytes) -> list[dict[str, Any]]:
    """The entry of a line; none where it is broken."""
    try:
        entry = json.loads(line)
        return [{**entry, "step": int(entry["step"]), "epoch": int(entry["epoch"])}]
    except (ValueError, KeyError, TypeError):
        return []


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
