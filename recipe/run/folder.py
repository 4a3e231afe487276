"""A run's folder: what made the run, and what came out of it. Written by rank 0."""

import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import nn

from recipe import stored_config
from recipe.config import Config
from recipe.data import dataset as datasets
from recipe.data import region
from recipe.data.prepare.fetch import fetch
from recipe.data.store import store_of
from recipe.errors import RunError
from recipe.files import CONSOLE, LOCK, lock, read_json, write_atomically
from recipe.machine import restarts
from recipe.machine.compile_mode import COMPILED, CompileMode
from recipe.machine.distributed import Ranks
from recipe.machine.limits import cores
from recipe.machine.numerics import numerics
from recipe.network.states import as_safetensors
from recipe.plan import hashes
from recipe.plan.compose import PROJECT, Plan
from recipe.run import kept
from recipe.run.differences import what_differs
from recipe.training.evaluate import Evaluation, primary_weights

PACKAGES = ("recipe-ladder", "torch", "torchvision", "timm", "hydra-core", "omegaconf", "numpy", "pillow")


def finished(plan: Plan) -> dict[str, Any] | None:
    """The result of the finished run that the plan describes, or None. Raises RunError where it is another run's."""
    path = plan.folder / "result.json"
    if not path.exists():
        return None
    environment = read_json(plan.folder / "environment.json", "data", "hashes")
    data = environment["data"]
    if _where(stored_config.load(plan.folder / "config.yaml")) != _where(plan.config):
        fetch(plan.config.data)
        train_set, val_set = datasets.load(plan.config.data, data)  # elsewhere: the same images, or others?
        data = {"train": train_set.fingerprint, "val": val_set.fingerprint}
    _check_same(plan, environment, data)
    return read_json(path, "acc1")


def begun_with(plan: Plan) -> dict[str, str] | None:
    """The fingerprints of the data of the run that the plan goes on with; None where it begins. Raises RunError."""
    path = plan.folder / "environment.json"
    if plan.config.resume == "never" or not path.exists():
        return None
    data: dict[str, str] | None = read_json(path).get("data")
    return data


@contextmanager
def claimed(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Keep other runs out of the folder. Raises RunError where one is in it; the claim dies with its process."""
    held: list[TextIO | None] = []
    ranks.on_first(lambda: held.append(lock(folder / LOCK)))
    try:
        yield
    finally:
        for file in held:
            if file is not None:
                file.close()


def set_aside(folder: Path) -> None:
    """resume=never: move an earlier run's files to a folder of their own, seed=0.old-1 and so on."""
    if not (folder / "config.yaml").exists():
        return
    number = next(n for n in range(1, 1000) if not folder.with_name(f"{folder.name}.old-{n}").exists())
    aside = folder.with_name(f"{folder.name}.old-{number}")
    aside.mkdir()
    names = sorted((path.name for path in folder.iterdir()), key=lambda name: name == "config.yaml")  # that one last
    for name in names:
        if name not in (LOCK, CONSOLE):  # in use
            (folder / name).rename(aside / name)


def open_folder(
    plan: Plan,
    ranks: Ranks,
    data: dict[str, str],
    classes: Sequence[str],
    images: Mapping[str, int],
    start: Mapping[str, Any] | None = None,
    compiling: CompileMode | None = None,
) -> None:
    """Write what makes the run. Raises RunError where the folder holds another run or other data.

    Args:
        data: fingerprints of the training and validation set.
        classes: their names.
        images: how many, as `data.known.described` says it.
        start: what was taken over from model.weights; None without.
        compiling: the mode that is trained in.
    """
    folder = plan.folder
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in [*folder.glob(".*.tmp"), *(folder / "checkpoints").glob(".*.tmp")]:
        leftover.unlink()  # of a process that was killed while it wrote
    path = folder / "environment.json"
    starts: list[dict[str, Any]] = []
    if path.exists() or (folder / "checkpoints" / "last.pt").exists():
        before = read_json(path, "data", "hashes", "starts")
        _check_same(plan, before, data)
        starts = before["starts"]
    kept.refuse_without_result(folder)
    environment = {
        "hashes": plan.hashes,
        "data": data,
        "images": dict(images),
        "store": store_of(plan.config.data.root),
        "rung": {**asdict(plan.rung), "chain": plan.chain},
        "name": plan.name,
        "differences": plan.differences,
        "overrides": plan.overrides,
        "config": hashes.values_of(plan.config, {"weights", "result"}),
        "classes": list(classes),
        "weights": start,
        "starts": [*starts, {**_environment(ranks), "compile": compiling._asdict() if compiling else None}],
    }
    write_atomically(path, json.dumps(environment, indent=2) + "\n")
    write_atomically(folder / "config.yaml", stored_config.to_yaml(plan.config))
    (folder / ".hydra").mkdir(exist_ok=True)
    for name, content in plan.hydra_files.items():
        write_atomically(folder / ".hydra" / name, content)


def write_result(
    plan: Plan,
    models: Mapping[str, nn.Module],
    found: Mapping[str, Evaluation],
    grid: list[dict[str, Any]],
    about: dict[str, Any],
) -> None:
    """Write the weights, the predictions of the final ones, and last result.json: the run is finished. Drop the rest.

    Args:
        models, found: networks and their final evaluations, by kind of weights.
        about: what else the result says, of the training.
    """
    primary = primary_weights(plan.config)
    final = found[primary]
    (plan.folder / "checkpoints").mkdir(exist_ok=True)
    write_atomically(plan.folder / "checkpoints" / "model.safetensors", as_safetensors(models[primary]))
    if "trained_in" not in about and not plan.config.checkpoint.keep_after_training:
        kept.write(plan.folder / "checkpoints", {name: net.state_dict() for name, net in models.items()}, primary)
    write_predictions(plan.folder, final)
    result = {
        **final.figures(),
        "weights": primary,
        **{name: evaluation.figures() for name, evaluation in found.items()},
        "grid": grid,
        "name": plan.name,
        "recipe": plan.rung.name,
        "seed": plan.config.seed,
        "data_root": plan.config.data.root,
        **about,
        "training_hash": plan.training_hash,
        "result_hash": plan.result_hash,
    }
    write_atomically(plan.folder / "result.json", json.dumps(_finite(result), indent=2) + "\n")
    drop_checkpoints(plan)


def drop_checkpoints(plan: Plan) -> None:
    """Delete the checkpoints of a finished run; its weights stay. It is whole without this too: no OSError ends it."""
    if not plan.config.checkpoint.keep_after_training:
        with suppress(OSError):
            kept.drop(plan.folder / "checkpoints")


def write_predictions(folder: Path, final: Evaluation) -> None:
    """Write predictions.npz: index and label (n,) int64, correct (n,) bool, logits (n, classes) float16."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, index=final.indices, label=final.labels, correct=final.correct, logits=final.logits)

    write_atomically(folder / "predictions.npz", write)


def _finite(value: Any) -> Any:
    """Copy of nested dicts and lists with None for NaN and infinities, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def earlier_threads(folder: Path) -> list[int]:
    """The thread counts of the run's starts, this one too: where they are several, the last digits are other ones."""
    path = folder / "environment.json"
    starts = read_json(path, "starts")["starts"] if path.exists() else []
    return list(dict.fromkeys(start["threads_per_rank"] for start in starts))


def earlier_compile_mode(folder: Path) -> str | None:
    """The mode that the run in a folder was begun in, as runtime.compile_mode has it or "eager"; None: it has no start.

    Versions without `auto` wrote nothing of it: they compiled.
    """
    path = folder / "environment.json"
    starts = read_json(path, "starts")["starts"] if path.exists() else []
    if not starts:
        return None
    mode: str = (starts[0].get("compile") or {}).get("mode", COMPILED)
    return mode


def _where(config: Config) -> tuple[str | None, ...]:
    return config.data.root, config.data.train_dir, config.data.val_dir


def _check_same(plan: Plan, before: dict[str, Any], data: dict[str, str]) -> None:
    """Refuse to go on with a folder whose run is another one, or was trained on other images."""
    if before["hashes"] not in (plan.hashes, plan.former_hashes):
        raise RunError(
            f"{plan.folder} holds another run ({what_differs(plan, before)}): add resume=never to set it aside"
        )
    changed = " and ".join(f"{name} set" for name in data if data[name] != before["data"].get(name))
    if changed:
        raise RunError(
            f"the {changed} is not the one that {plan.folder} was begun with: add resume=never to set that run aside; "
            "to keep runs on both, write conf/data/NAME.yaml (name: imagefolder, root: …) and use data=NAME"
        )


def _environment(ranks: Ranks) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(ranks.device) if ranks.device.type == "cuda" else None
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "by": restarts.identity(ranks.command),
        "command": [sys.argv[0], *sys.argv[1:]],
        "world_size": ranks.world_size,
        "threads_per_rank": torch.get_num_threads(),
        "device": ranks.device.type,
        "gpu": gpu,
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "cuda": torch.version.cuda if gpu else None,
        "cpu": platform.processor() or platform.machine(),
        "cores": cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "jpeg_regions": region.state(),
        "numerics": numerics(ranks.device),
        "git": _git_state(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """The commit, and whether tracked files differ from it; None outside a checkout."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT), *arguments]
        found = subprocess.run(command, capture_output=True, check=True, timeout=10)
        return found.stdout.decode("utf-8", "replace").strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None
