"""The curves of runs, from their metrics.jsonl, and their means over the seeds of a setting."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipe.ladder.reading.records import RunRecord

Series = dict[int, float]  # optimizer steps done: figure


class Band(NamedTuple):
    """A setting's curve: the mean over its runs, and the lowest and the highest of them. Equally long arrays."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def read(folder: Path, tag: str | None = None) -> dict[str, Series]:
    """The figures of one run, by tag; all of them, or one alone, which is much faster in long files.

    A run that is being written, or was copied half, may end in a broken line: such lines are left out, and so are
    figures that are not finite. Without the file there are none.
    """
    path, found = folder / "metrics.jsonl", dict[str, Series]()
    key = b"" if tag is None else json.dumps(tag).encode()
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        if key not in line:
            continue
        try:
            entry = json.loads(line)
            step = int(entry.pop("step"))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        for name, figure in entry.items():
            if name != "epoch" and type(figure) in (int, float) and tag in (None, name):
                found.setdefault(name, {})[step] = float(figure)
    return found


def by_epoch(folder: Path) -> dict[str, Series]:
    """The evaluations of one run, its training loss and its top-1 in training, by the number of epochs done.

    Those of training are means over an epoch's steps: an entry is the mean over the steps since the one before, and
    each epoch ends with one. Runs of before 0.2 have no top-1 in training.
    """
    found, before = dict[str, Series](), 0
    sums: dict[str, dict[int, tuple[float, int]]] = {"train/loss": {}, "train/acc1": {}}
    try:
        lines = (folder / "metrics.jsonl").read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            entry = json.loads(line)
            step, done = int(entry["step"]), int(entry["epoch"]) + 1
        except (ValueError, KeyError, TypeError):
            continue
        for name, figure in entry.items():
            if name.startswith(("val/", "ema/")) and type(figure) in (int, float):
                found.setdefault(name, {})[done] = float(figure)
        if type(entry.get("train/loss")) in (int, float) and step > before:
            for name, of_epoch in sums.items():
                if type(entry.get(name)) in (int, float):
                    total, steps = of_epoch.get(done, (0.0, 0))
                    of_epoch[done] = total + entry[name] * (step - before), steps + step - before
            before = step
    for name, of_epoch in sums.items() if found else ():
        if of_epoch:
            found[name] = {done: total / steps for done, (total, steps) in of_epoch.items()}
    return found


def band(series: Sequence[Series]) -> Band:
    """Mean, lowest and highest of several runs, where all have a figure: means over fewer seeds would jump."""
    shared = sorted(set.intersection(*map(set, series))) if series else []
    values = np.array([[one[step] for step in shared] for one in series]).reshape(len(series), len(shared))
    if not shared:
        return Band(np.array([]), np.array([]), np.array([]), np.array([]))
    return Band(np.array(shared), values.mean(0), values.min(0), values.max(0))


def accuracy_tag(run: RunRecord) -> str:
    """The tag of the top-1 that counts: of the averaged weights, where the run has them."""
    return "ema/acc1" if (run.result or {}).get("weights") == "ema" else "val/acc1"


def validation(runs: Iterable[RunRecord], figure: str = "acc1") -> Band:
    """A setting's top-1 ("acc1") or loss ("loss") on the validation images, of the weights that count.

    Empty where its weights were trained in other settings' runs.
    """
    tags = {run.folder: f"{accuracy_tag(run).partition('/')[0]}/{figure}" for run in runs}
    return band([read(folder, tag).get(tag, {}) for folder, tag in tags.items()])


def training(runs: Iterable[RunRecord], figure: str) -> Band:
    """A setting's top-1 or loss on the training images as trained on, each epoch's mean, at the epochs' last steps."""
    series = []
    for run in runs:
        result = run.result or {}
        steps = result.get("steps", 0) / (result.get("epochs") or 1)  # of an epoch
        found = by_epoch(run.folder).get(f"train/{figure}", {})
        series.append({round(epoch * steps): value for epoch, value in found.items()})
    return band(series)


def per_step(runs: Iterable[RunRecord], figure: str) -> float:
    """A figure of the runs' results (epochs, images_seen) for each optimizer step; 0 where they do not say."""
    results = [run.result for run in runs if run.result]
    known = [result[figure] / result["steps"] for result in results if result.get("steps") and result.get(figure)]
    return known[0] if known else 0.0
