"""Runs by what they did on test images, which chose nothing: neither an epoch nor a value, nor what to try next."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipe.errors import RunError
from recipe.ladder.reading import evaluations
from recipe.ladder.reading.collect import is_repeated
from recipe.ladder.reading.records import RunRecord
from recipe.plan.published import NOTHING

LACKING = "not evaluated on the test images"
TEST = "test"  # the folder's name, and the split's


def on_test_images(runs: Sequence[RunRecord]) -> tuple[list[RunRecord], list[RunRecord]]:
    """The runs as they were validated, and the same runs on test images. Raises RunError where none was on any.

    A run's test figures are those of `recipe evaluate RUN split=test` with the weights and sizes that it ended with, or
    those of the same training with data.val_dir=test. Where there are several test sets, the one that most runs saw.
    """
    known = [run for run in runs if run.environment and not is_repeated(run)]
    tested = {_identity(run): run for run in known if is_validated_on_test(run)}
    validated = [run for run in known if not is_validated_on_test(run)]
    found = {run.folder: evaluations.of_test_images(run) for run in validated if run.problem is None}
    chosen = _test_sets(validated, found)
    trained_on = {run.environment["data"]["train"] for run in tested.values()}
    records = [
        _on_test(run, found.get(run.folder, {}), chosen.get(_train(run)), tested.pop(_identity(run), None))
        for run in validated
        if _train(run) in chosen or _train(run) in trained_on
    ]
    records += tested.values()
    if not any(run.problem is None for run in records):
        raise RunError(
            "no run was evaluated on test images: do so with recipe evaluate FOLDER/*/seed=* split=test, or "
            "train with data.val_dir=test"
        )
    rest = [run for run in runs if not run.environment or is_repeated(run)]
    return [*rest, *validated, *tested.values()], records


def is_validated_on_test(run: RunRecord) -> bool:
    """Whether the run's validation images are the test set, by data.val_dir=test."""
    given = (str(override).lstrip("+").partition("=") for override in run.environment["overrides"])
    return any(key == "data.val_dir" and Path(value).name == TEST for key, _, value in given)


def _test_sets(runs: Sequence[RunRecord], found: dict[Path, dict[str, dict[str, Any]]]) -> dict[str, str]:
    """By the training set's fingerprint, that of the test set which most runs saw."""
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        counts.setdefault(_train(run), Counter()).update(list(found.get(run.folder, {})))
    return {train: max(sorted(seen), key=seen.__getitem__) for train, seen in counts.items() if seen}


def _on_test(run: RunRecord, found: dict[str, dict[str, Any]], images: str | None, twin: RunRecord | None) -> RunRecord:
    """A run with its test figures in place of those of the validation set; a problem where it has none."""
    if images is None and twin is not None:
        return twin
    data = {**run.environment["data"], "val": images}
    environment = {**run.environment, "data": data}
    entry = found.get(images or "")
    if entry is not None and run.result is not None:
        figures: dict[str, Any] = {name: entry[name] for name in ("acc1", "acc5", "loss") if name in entry}
        file = entry.get("predictions")
        return replace(
            run,
            environment=environment,
            result={**run.result, **figures, "best": None},
            published=NOTHING,
            predictions=run.folder / (file if isinstance(file, str) else "no predictions"),
        )
    if twin is not None:
        return replace(twin, environment={**twin.environment, "data": data}, published=NOTHING)
    return replace(run, environment=environment, problem=run.problem or LACKING)


def _identity(run: RunRecord) -> tuple[Any, ...]:
    return run.name, run.unit, _train(run)


def _train(run: RunRecord) -> str:
    return str(run.environment["data"]["train"])
