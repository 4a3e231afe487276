"""The curves of runs, from their metrics.jsonl, and their means over the seeds of a setting."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipe.ladder.reading.records import RunRecord

MEANS = ("train/loss", "train/acc1")  # figures whose entries are means over steps
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
    """The evaluations of one run, its training loss and training top-1, by the number of epochs done.

    The latter two are means over an epoch's steps: an entry is the mean over the steps since the one before that has
    the figure, and each epoch ends with one.
    """
    found, sums = dict[str, Series](), {name: dict[int, tuple[float, int]]() for name in MEANS}
    before = dict.fromkeys(MEANS, 0)
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
            if type(figure) not in (int, float):
                continue
            if name.startswith(("val/", "ema/")):
                found.setdefault(name, {})[done] = float(figure)
            elif name in MEANS and step > before[name]:
                total, steps = sums[name].get(done, (0.0, 0))
                sums[name][done] = total + figure * (step - before[name]), steps + step - before[name]
                before[name] = step
    of_training = {
        name: {done: total / steps for done, (total, steps) in each.items()} for name, each in sums.items() if each
    }
    return {**found, **of_training} if found else {}


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
