"""The report on one evaluation: lines for a terminal, and files. Reads predictions; knows neither data nor networks."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recipe import lettering
from recipe.files import write_atomically
from recipe.finished.evaluation.calibration import Calibration, Temperature, calibration, temperature
from recipe.finished.evaluation.scores import (
    ClassScore,
    class_scores,
    confusion_matrix,
    macro_f1,
    predicted_classes,
    wilson,
)

WORST = 20  # classes that are printed; classes.csv has all
NAME = 18, 26  # characters of a class's name and the gap behind it: at least, at most


@dataclass(frozen=True)
class Report:
    """One evaluation of one network."""

    title: str  # which run
    setting: dict[str, Any]  # split, weights, val_resize, val_crop
    classes: Sequence[str]
    figures: dict[str, float]  # acc1, acc5, balanced_acc1 in percent; loss
    confusion: np.ndarray  # (classes, classes) int64
    scores: list[ClassScore]
    calibration: Calibration | None  # None where logits are infinite or NaN, of a network that has diverged
    temperature: Temperature | None

    @property
    def images(self) -> int:
        """How many were evaluated."""
        return int(self.confusion.sum())


def describe(
    title: str,
    setting: dict[str, Any],
    classes: Sequence[str],
    figures: dict[str, float],
    predictions: tuple[np.ndarray, np.ndarray, np.ndarray],
    halves: tuple[np.ndarray, np.ndarray],
) -> Report:
    """The report on some predictions.

    Args:
        figures: acc1, acc5, balanced_acc1 in percent, loss: from before the logits were rounded.
        predictions: logits (images, classes) float16, labels (images,) int64, correct (images,) bool.
        halves: indices of images, to choose a temperature on and to tell what it is worth on.
    """
    logits, labels, correct = predictions
    confusion = confusion_matrix(labels, predicted_classes(logits, labels, correct), len(classes))
    usable = bool(np.isfinite(logits).all())
    return Report(
        title=title,
        setting=setting,
        classes=classes,
        figures=figures,
        confusion=confusion,
        scores=class_scores(confusion, classes),
        calibration=calibration(*predictions) if usable else None,
        temperature=temperature(*predictions, *halves) if usable and all(map(len, halves)) else None,
    )


def lines(report: Report) -> Iterator[str]:
    """For a terminal of 80 columns."""
    figures = report.figures
    yield f"{report.title}: {', '.join(f'{name} {value}' for name, value in report.setting.items())}"
    yield f"{'images':14}{report.images:8,}"
    for name, title in (("acc1", "top-1"), ("acc5", "top-5")):
        low, high = wilson(round(figures[name] / 100 * report.images), report.images)
        yield f"{title:14}{figures[name]:8.2f}   95% interval {100 * low:.2f} to {100 * high:.2f}"
    yield f"{'balanced':14}{figures['balanced_acc1']:8.2f}   mean recall of the classes"
    yield f"{'macro F1':14}{100 * macro_f1(report.scores):8.2f}   mean F1 of the classes"
    yield f"{'loss':14}{figures['loss']:8.3f}"
    yield ""
    shown = worst(report.scores)
    title = f"{WORST} worst of {len(report.scores):,}" if len(shown) < len(report.scores) else "class"
    width = min(NAME[1], max(NAME[0], *(len(score.name) + 1 for score in shown)))
    yield f"{title:{width}}{'images':>8}{'recall':>8}{'prec.':>7}{'F1':>7}  mostly taken for"
    for score in shown:
        figures_of_class = f"{score.images:8,}{_percent(score.recall, 8)}{_percent(score.precision, 7)}"
        room = 80 - width - 32 - len(f" ({score.confused})")
        taken_for = f"{_cut(score.confused_with, room)} ({score.confused})" if score.confused_with else ""
        line = f"{_cut(score.name, width - 1):{width}}{figures_of_class}{_percent(score.f1, 7)}  {taken_for}"
        yield line.rstrip()
    yield ""
    yield from _calibration_lines(report)


def worst(scores: Sequence[ClassScore]) -> list[ClassScore]:
    """The classes with the lowest recall, at most WORST; those without images are left out."""
    return sorted((score for score in scores if score.images), key=lambda score: (score.recall, score.f1))[:WORST]


def write(report: Report, folder: Path) -> list[str]:
    """report.json, report.txt, classes.csv, confusion.csv and, with matplotlib, pictures. Returns remarks."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "report.txt", "\n".join(lines(report)) + "\n")
    write_atomically(folder / "classes.csv", _table(_class_rows(report)))
    header = ["is \\ taken for", *report.classes]
    rows = [[name, *row] for name, row in zip(report.classes, report.confusion.tolist(), strict=True)]
    write_atomically(folder / "confusion.csv", _table([header, *rows]))
    remarks = []
    try:
        from recipe.finished.evaluation import pictures
    except ImportError:
        remarks.append("Pictures need matplotlib: pip install 'recipe-ladder[report]'")
    else:
        pictures.confusion(report, folder)
        pictures.reliability(report, folder)
        remarks.extend(filter(None, [lettering.missing(report.classes)]))
    write_atomically(folder / "report.json", json.dumps(as_json(report), indent=2) + "\n")
    return remarks


def as_json(report: Report) -> dict[str, Any]:
    """All figures but those of the classes, which classes.csv has."""
    hits = round(report.figures["acc1"] / 100 * report.images)
    content = {
        "run": report.title,
        **report.setting,
        "images": report.images,
        **report.figures,
        "acc1_interval": [100 * end for end in wilson(hits, report.images)],
        "macro_f1": 100 * macro_f1(report.scores),
        "calibration": _as_dict(report.calibration),
        "temperature": _as_dict(report.temperature),
    }
    return {name: _plain(value) for name, value in content.items()}


def _calibration_lines(report: Report) -> Iterator[str]:
    found, chosen = report.calibration, report.temperature
    if found is None:
        yield "calibration   none: there are logits that are infinite or NaN"
        return
    yield (
        f"calibration   expected error {100 * found.ece:.2f} points ({len(found.bins)} bins); "
        f"mean confidence {100 * found.confidence:.2f}%"
    )
    if chosen is not None:
        before, after = chosen.before, chosen.after
        yield (
            f"temperature   {chosen.value:.3f}, chosen on {chosen.images_to_choose:,} of the images; "
            f"on the other {chosen.images_to_tell:,}:"
        )
        yield f"{'':14}negative log-likelihood {before.nll:.3f}, with it {after.nll:.3f}"
        yield f"{'':14}expected error {100 * before.ece:.2f} points, with it {100 * after.ece:.2f}"


def _class_rows(report: Report) -> list[list[Any]]:
    percent = ("recall", "recall_low", "recall_high", "precision", "f1")
    header = ["class", "images", "hits", *percent, "mostly_taken_for", "taken_for_it"]
    rows: list[list[Any]] = [header]
    for s in report.scores:
        shares = (s.recall, *s.recall_interval, s.precision, s.f1)
        cells = ["" if math.isnan(share) else f"{100 * share:.4f}" for share in shares]
        rows.append([s.name, s.images, s.hits, *cells, s.confused_with or "", s.confused])
    return rows


def _table(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _percent(share: float, width: int) -> str:
    return f"{'-' if math.isnan(share) else f'{100 * share:.1f}':>{width}}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(1, width - 1)] + "…"


def _as_dict(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_dict(item) for item in value]
    return {name: _as_dict(item) for name, item in value._asdict().items()} if hasattr(value, "_asdict") else value


def _plain(value: Any) -> Any:
    """The same with null for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
