"""The report on what one evaluation measured: lines for a terminal, and files."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recipe.files import write_atomically
from recipe.finished.evaluation.measures import Measures
from recipe.finished.evaluation.scores import ClassScore, macro_f1, wilson
from recipe.logs import lettering

WORST = 20  # classes that are printed; classes.csv has all
NAME = 18, 26  # characters of a class's name and the gap behind it: at least, at most


def lines(measures: Measures) -> Iterator[str]:
    """Lines for a terminal of 80 columns."""
    figures = measures.figures
    setting, other = {**measures.setting}, measures.setting.get("data")
    setting.pop("data", None)
    yield f"{measures.title}: {', '.join(f'{name} {value}' for name, value in setting.items())}"
    if other is not None:
        yield f"{'other images':14}{other}"
    yield f"{'images':14}{measures.images:8,}"
    for name, title in (("acc1", "top-1"), ("acc5", "top-5")):
        low, high = wilson(round(figures[name] / 100 * measures.images), measures.images)
        yield f"{title:14}{figures[name]:8.2f}   95% interval {100 * low:.2f} to {100 * high:.2f}"
    yield f"{'balanced':14}{figures['balanced_acc1']:8.2f}   mean recall of the classes"
    yield f"{'macro F1':14}{100 * macro_f1(measures.scores):8.2f}   mean F1 of the classes"
    yield f"{'loss':14}{figures['loss']:8.3f}"
    yield ""
    shown = worst(measures.scores)
    title = f"{WORST} worst of {len(measures.scores):,}" if len(shown) < len(measures.scores) else "class"
    width = min(NAME[1], max(NAME[0], *(len(score.name) + 1 for score in shown)))
    yield f"{title:{width}}{'images':>8}{'recall':>8}{'prec.':>7}{'F1':>7}  mostly taken for"
    for score in shown:
        figures_of_class = f"{score.images:8,}{_percent(score.recall, 8)}{_percent(score.precision, 7)}"
        room = 80 - width - 32 - len(f" ({score.confused})")
        taken_for = f"{_cut(score.confused_with, room)} ({score.confused})" if score.confused_with else ""
        line = f"{_cut(score.name, width - 1):{width}}{figures_of_class}{_percent(score.f1, 7)}  {taken_for}"
        yield line.rstrip()
    yield ""
    yield from _calibration_lines(measures)


def worst(scores: Sequence[ClassScore]) -> list[ClassScore]:
    """The classes with the lowest recall, at most WORST; those without images are left out."""
    return sorted((score for score in scores if score.images), key=lambda score: (score.recall, score.f1))[:WORST]


def write(measures: Measures, folder: Path) -> list[str]:
    """report.json, report.txt, classes.csv, confusion.csv and, with matplotlib, pictures. Returns remarks."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "report.txt", "\n".join(lines(measures)) + "\n")
    write_atomically(folder / "classes.csv", _table(_class_rows(measures)))
    header = ["is \\ taken for", *measures.classes]
    rows = [[name, *row] for name, row in zip(measures.classes, measures.confusion.tolist(), strict=True)]
    write_atomically(folder / "confusion.csv", _table([header, *rows]))
    remarks = []
    try:
        from recipe.finished.evaluation import pictures
    except ImportError:
        remarks.append("Pictures need matplotlib: pip install -e '.[report]'")
    else:
        pictures.confusion(measures, folder)
        pictures.reliability(measures, folder)
        remarks.extend(filter(None, [lettering.missing(measures.classes)]))
    write_atomically(folder / "report.json", json.dumps(as_json(measures), indent=2) + "\n")
    return remarks


def as_json(measures: Measures) -> dict[str, Any]:
    """All figures but those of the classes, which classes.csv has."""
    hits = round(measures.figures["acc1"] / 100 * measures.images)
    content = {
        "run": measures.title,
        **measures.setting,
        "images": measures.images,
        **measures.figures,
        "acc1_interval": [100 * end for end in wilson(hits, measures.images)],
        "macro_f1": 100 * macro_f1(measures.scores),
        "calibration": _as_dict(measures.calibration),
        "temperature": _as_dict(measures.temperature),
    }
    return {name: _plain(value) for name, value in content.items()}


def _calibration_lines(measures: Measures) -> Iterator[str]:
    found, chosen = measures.calibration, measures.temperature
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


def _class_rows(measures: Measures) -> list[list[Any]]:
    percent = ("recall", "recall_low", "recall_high", "precision", "f1")
    header = ["class", "images", "hits", *percent, "mostly_taken_for", "taken_for_it"]
    rows: list[list[Any]] = [header]
    for s in measures.scores:
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
    """The value with null for NaN, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
