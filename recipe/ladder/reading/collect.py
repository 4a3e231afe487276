"""Run folders, found and read. Whatever is in them, nothing here stops a report: a broken run is a run with a problem.

Reads JSON alone, and neither YAML nor PyTorch: a thousand runs take about a second.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipe.errors import RunError
from recipe.files import CONSOLE, LOCK
from recipe.ladder.reading.records import RunRecord, Unit
from recipe.plan import published

ENVIRONMENT, RESULT = "environment.json", "result.json"
SIGNS = {ENVIRONMENT, RESULT, CONSOLE, LOCK}  # any of these files makes a folder a run's
PRUNED = {"checkpoints", ".hydra", "report"}
SET_ASIDE = re.compile(r"\.old-\d+$")  # by resume=never
# What a report needs to know of a run; runs of before version 0.2 lack some of it.
ENVIRONMENT_KEYS: dict[str, Any] = {
    "name": str,
    "differences": dict,
    "overrides": list,
    "config": dict,
    "rung": dict,
    "data": dict,
    "classes": list,
}
RUNG_KEYS: dict[str, Any] = {"name": str, "chain": list, "index": int | None, "published": dict | None}
DATA_KEYS: dict[str, Any] = {"train": str, "val": str}
FIGURES = ("acc5", "device_seconds", "images_seen", "unique_images")


def collect(roots: Iterable[Path]) -> list[RunRecord]:
    """Read the run folders below some folders, sorted by folder. Raises RunError where there are none."""
    roots = list(roots)
    for root in roots:
        if not root.is_dir():
            raise RunError(f"{root} is no folder: name folders with runs, as in: recipe report multirun_outputs")
    folders = {folder.resolve(): folder for root in reversed(roots) for folder in find(root)}
    if not folders:
        raise RunError(f"no runs in {', '.join(map(str, roots))}: a run's folder holds {ENVIRONMENT} or {RESULT}")
    return _mark_repeated([read(folder) for folder in sorted(folders.values())])


def find(root: Path) -> Iterator[Path]:
    """The run folders at and below a folder. What is inside a run folder is its own."""
    for folder, below, files in os.walk(root):
        if SIGNS & set(files):
            below.clear()
            yield Path(folder)
        below[:] = sorted(name for name in below if name not in PRUNED and not SET_ASIDE.search(name))


def read(folder: Path) -> RunRecord:
    """What one run folder says; its problem where it does not say enough."""
    try:
        environment = _read_object(folder / ENVIRONMENT)
    except FileNotFoundError:
        problem = f"no {ENVIRONMENT}" if (folder / RESULT).exists() else "failed before it began"
        return _unknown(folder, problem)
    except (OSError, ValueError, RecursionError) as error:
        return _unknown(folder, f"cannot read {ENVIRONMENT} ({_reason(error)})")
    lacking = [key for key in ENVIRONMENT_KEYS if key not in environment]
    if lacking:
        return _unknown(folder, f"made by another version: no {', '.join(lacking)} in {ENVIRONMENT}")
    try:
        run = _known(folder, environment)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return _unknown(folder, f"cannot use {ENVIRONMENT} ({_reason(error)})")
    return _with_result(run)


def _known(folder: Path, environment: dict[str, Any]) -> RunRecord:
    config, differences, rung = environment["config"], environment["differences"], environment["rung"]
    for content, kinds in ((environment, ENVIRONMENT_KEYS), (rung, RUNG_KEYS), (environment["data"], DATA_KEYS)):
        for key, kind in kinds.items():
            if key not in content or not isinstance(content[key], kind):
                raise ValueError(f"its {key} is missing or of the wrong kind")
    if not all(_is_number(figure) for figure in (rung["published"] or {}).values()):
        raise ValueError("its published figures are no numbers")
    fold = config.get("data.fold")
    name = environment["name"]
    if fold is not None:  # it is part of the unit, as the seed is
        parts = [f"{key}={value}" for key, value in differences.items() if key != "data.fold"]
        name = rung["name"] + ("~" + ",".join(parts) if parts else "")
    unit: Unit = int(config["seed"]), None if fold is None else int(fold)
    return RunRecord(folder, name, rung["name"], unit, environment, None, published=published.of_run(environment))


def _with_result(run: RunRecord) -> RunRecord:
    """The run with its result, or with what is wrong with it."""
    try:
        result = _read_object(run.folder / RESULT)
    except FileNotFoundError:
        return replace(run, problem="not finished")
    except (OSError, ValueError, RecursionError) as error:
        return replace(run, problem=f"cannot read {RESULT} ({_reason(error)})")
    steps = run.environment["config"].get("max_steps")
    if steps is not None:
        return replace(run, result=result, problem=f"a trial of {steps} steps")
    if not _is_number(result.get("acc1")):
        return replace(run, result=result, problem="no accuracy in its result")
    lacking = [name for name in FIGURES if not _is_number(result.get(name))]
    if lacking:
        return replace(run, result=result, problem=f"no {', '.join(lacking)} in its result")
    return replace(run, result=result)


def _unknown(folder: Path, problem: str) -> RunRecord:
    """A run of which only the folder's name is known."""
    name = folder.parent.name if folder.name.startswith("seed=") else folder.name
    seed = re.search(r"seed=(\d+)", folder.name)
    fold = re.search(r"data\.fold=(\d+),?", name)
    if fold is not None:
        name = name.replace(fold[0], "").rstrip(",~")
    unit: Unit = int(seed[1]) if seed else 0, int(fold[1]) if fold else None
    return RunRecord(folder, name, name.partition("~")[0], unit, {}, None, problem)


def _mark_repeated(runs: list[RunRecord]) -> list[RunRecord]:
    """The runs; of one that is there twice, as in outputs and multirun_outputs, the first counts, or a finished one."""
    kept: dict[Any, RunRecord] = {}
    for run in sorted(runs, key=lambda run: run.problem is not None):
        if run.environment:
            kept.setdefault(_identity(run), run)
    marked = []
    for run in runs:
        first = kept.get(_identity(run)) if run.environment else None
        repeated = first is not None and first is not run
        marked.append(replace(run, problem=f"the same run as {first.folder}") if repeated and first else run)
    return marked


def _identity(run: RunRecord) -> tuple[Any, ...]:
    return run.name, run.unit, data_of(run)


def data_of(run: RunRecord) -> tuple[Any, ...]:
    """What runs on the same data have in common: fingerprints, or with folds, which differ in them, all else."""
    environment = run.environment
    if run.unit[1] is None:
        return environment["data"]["train"], environment["data"]["val"]
    keys = {key: value for key, value in environment["config"].items() if key.startswith("data.")}
    keys["data.fold"] = None
    return json.dumps(keys, sort_keys=True), tuple(environment["classes"])


def is_repeated(run: RunRecord) -> bool:
    """Whether another folder holds the same run, and counts."""
    return run.problem is not None and run.problem.startswith("the same run as ")


def _read_object(path: Path) -> dict[str, Any]:
    if path.exists() and not path.is_file():  # a named pipe would be waited for
        raise ValueError("not a file")
    with path.open("rb") as file:
        content = json.loads(file.read())
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _reason(error: Exception) -> str:
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())[:100]
