"""Run folders of a known truth, as recipe/run/folder.py writes them; nothing is trained."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import timm.data

from recipe.config import Config
from recipe.data.known import KNOWN
from recipe.plan import rungs
from recipe.schema import leaves
from recipe.stored_config import text

STEPS = 10  # an epoch
VAL_FINGERPRINT = "5f3c0a1b2c3d4e5f"
TRAIN_FINGERPRINT = "0a1b2c3d4e5f6071"
LADDER = (
    *("r00_baseline", "r01_lr_optimizations", "r02_trivial_augment", "r03_long_training", "r04_random_erasing"),
    *("r05_label_smoothing", "r06_mixup", "r07_cutmix", "r08_weight_decay_tuning", "r09_fixres", "r10_ema"),
    *("r11_inference_resize", "r12_repeated_augmentation"),
)


def write_run(
    root: Path,
    recipe: str = "v2",
    seed: int = 0,
    acc1: float | None = 50.0,
    *,
    differences: Mapping[str, Any] | None = None,
    without: str | None = None,
    with_: str | None = None,
    rung: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    overrides: Sequence[str] | None = None,
    fold: int | None = None,
    folds: int | None = None,
    best: float | None = None,
    ema: bool = False,
    device_seconds: float = 3600.0,
    images_seen: int = 3000,
    unique_images: int = 1000,
    images: int = 2000,
    photos: int = 1000,
    classes: int = 4,
    correct: np.ndarray | None = None,
    predictions: bool = True,
    epochs: int = 3,
    data: Mapping[str, str] | None = None,
    finished: bool = True,
    trained_in: str | None = None,
    original: bool = False,
) -> Path:
    """Write the folder of one run, root/NAME/seed=SEED, and return it.

    Args:
        acc1: final top-1, percent; None: null, as after max_steps.
        differences: what differs from the recipe, by key; `data` and `scale` by choice.
        without, with_: as given on the command line; what they change belongs into `differences`.
        rung: {parent, index, published, chain} in place of what the recipe's own file says.
        config: further values of the run's config.
        overrides: beside recipe and seed. Without: the differences; with `without` or `with_`, only scale and data.
        fold, folds: of cross-validation: the fold that is held out, and of how many.
        best: top-1 of the best epoch; None: that of the last. With `trained_in` there is none.
        ema: whether averaged weights were evaluated as well, and are the ones that count.
        images, photos: to validate and to train on.
        correct: (images,) bool: which images the run is right about. Without: as many as acc1 says, easy ones first.
        data: fingerprints, {"train": …, "val": …}.
        finished: without result.json and predictions.npz otherwise.
        original: on the data that the recipe's figures were published for.
    """
    about_rung = {**_rung(recipe), **(rung or {})}
    names = [f"class {number}" for number in range(classes)]
    if original:
        names = class_names_of(about_rung["on"])
        classes = len(names)
    changed: dict[str, Any] = dict(differences or {})
    if fold is not None:
        changed |= {"data.fold": fold, "data.folds": folds}
    changed = {key: changed[key] for key in sorted(changed)}
    name = recipe + ("~" + ",".join(f"{key}={text(value)}" for key, value in changed.items()) if changed else "")
    folder = root / name / f"seed={seed}"
    folder.mkdir(parents=True)
    data = data or {"train": TRAIN_FINGERPRINT, "val": VAL_FINGERPRINT}
    if fold is not None:
        data = {split: f"{fingerprint}-{fold}" for split, fingerprint in data.items()}
    values = {**_values(), "seed": seed, "data.fold": fold, "data.folds": folds, "ema.decay": 0.99998 if ema else None}
    values |= {key: value for key, value in changed.items() if key in values} | dict(config or {})
    chosen = {"+recipe": recipe, "seed": seed, "+without": without, "+with": with_}
    literal = {key: value for key, value in changed.items() if not (without or with_) or key in ("scale", "data")}
    if overrides is None:
        overrides = [f"{key}={text(value)}" for key, value in literal.items()]
    environment = {
        "hashes": {"training": "5b4c04ea8d905660", "result": "00021dd65f37b027"},
        "data": dict(data),
        "store": None,
        "weights": None,
        "rung": about_rung,
        "name": name,
        "differences": {key: text(value) for key, value in changed.items()},
        "overrides": [*(f"{key}={value}" for key, value in chosen.items() if value is not None), *overrides],
        "config": values,
        "classes": names,
        "images": dict(KNOWN[about_rung["on"]].images) if original else {"train": photos, "val": images},
        "starts": [{"started": "2026-11-22T14:30:24+0000", "world_size": 1, "device": "cpu", "packages": {}}],
    }
    (folder / "environment.json").write_text(json.dumps(environment, indent=2) + "\n")
    shown = 0.0 if acc1 is None else acc1
    _write_metrics(folder / "metrics.jsonl", shown, epochs if finished else 1, ema)
    if not finished:
        return folder
    if predictions:
        _write_predictions(folder / "predictions.npz", shown, seed, images, classes, correct)
    figures = _figures(acc1)
    at_best = {**_figures(acc1 if best is None else best), "epoch": epochs - 1, "weights": "ema" if ema else "raw"}
    result: dict[str, Any] = {
        **figures,
        "weights": "ema" if ema else "raw",
        "raw": figures,
        **({"ema": figures} if ema else {}),
        "grid": [],
        "name": name,
        "recipe": recipe,
        "seed": seed,
        "best": None if trained_in else at_best,
        "epochs": epochs,
        "steps": STEPS * epochs,
        "images_seen": images_seen,
        "unique_images": unique_images,
        "seconds": device_seconds,
        "device_seconds": device_seconds,
        "unreadable": 0,
        **({"trained_in": trained_in} if trained_in else {}),
        "training_hash": _hash(trained_in or f"../../{name}/seed={seed}"),
        "result_hash": _hash(f"{name}/seed={seed}"),
    }
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    return folder


def class_names_of(option: str) -> list[str]:
    """The classes of the data set that figures were published for."""
    if option == "imagenet":
        return (Path(timm.data.__file__).parent / "_info" / "imagenet_synsets.txt").read_text().split()
    return {
        "intel": ["buildings", "forest", "glacier", "mountain", "sea", "street"],
        "caltech": [
            *("bear", "chimp", "giraffe", "gorilla", "llama", "ostrich", "porcupine", "skunk", "triceratops", "zebra")
        ],
    }[option]


def write_ladder(root: Path, gains: Mapping[str, float], seeds: int = 3, sd: float = 0.1, start: float = 50.0) -> None:
    """Write a ladder: recipes with their true gains over the one before, and normal noise between the runs."""
    rng = np.random.default_rng(0)
    mean = start
    for number, (recipe, gain) in enumerate(gains.items()):
        mean += gain
        for seed in range(seeds):
            acc1 = float(mean + rng.normal(0, sd))
            write_run(root, recipe, seed, acc1, device_seconds=3600.0 * (number + 1), best=acc1 + 0.1)


def write_seeds(root: Path, recipe: str, mean: float, seeds: int = 3, **about: Any) -> None:
    """Write a setting's runs, about 0.1 points apart, and not by the same steps for every recipe."""
    for seed in range(seeds):
        write_run(root, recipe, seed, mean + seed / 10 + len(recipe) * seed**2 / 100, **about)


@cache
def _values() -> dict[str, Any]:
    """The schema's defaults, of the keys that can change a result."""
    values = {key: value for key, value, about in leaves(Config()) if about["affects"] != "nothing"}
    return values | {"data.name": "grocery", "model.name": "resnet50", "optimizer.name": "sgd"}


@cache
def _rung(recipe: str) -> dict[str, Any]:
    sources = [str(rungs.CONF)]
    return {**asdict(rungs.rung(recipe, sources)), "chain": rungs.chain(recipe, sources)}


def _hash(training: str) -> str:
    return hashlib.sha256(training.encode()).hexdigest()[:16]


def _figures(acc1: float | None) -> dict[str, float | None]:
    if acc1 is None:
        return {"acc1": None, "acc5": None, "balanced_acc1": None, "loss": None}
    return {"acc1": acc1, "acc5": min(100.0, acc1 + 10), "balanced_acc1": acc1, "loss": 3 - acc1 / 50}


def _write_metrics(path: Path, acc1: float, epochs: int, ema: bool) -> None:
    rows: list[dict[str, float]] = []
    for epoch in range(epochs):
        position = {"step": STEPS * (epoch + 1), "epoch": epoch}
        share = (epoch + 1) / epochs
        loss = {"train/loss": 3 - share, "train/acc1": 90 * share, "train/lr": 0.1 * (1 - epoch / epochs)}
        rows.append(
            {**position, **loss, "train/grad_norm": 1.0, "train/images_per_second": 100.0, "train/data_wait": 0.01}
        )
        found = {name: value for name, value in _figures(acc1 * share).items() if value is not None}
        rows.append(position | {f"{kind}/{name}": v for kind in ("val", "ema")[: 1 + ema] for name, v in found.items()})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_predictions(
    path: Path, acc1: float, seed: int, images: int, classes: int, correct: np.ndarray | None
) -> None:
    label = np.arange(images) % classes
    if correct is None:
        noisy = np.random.default_rng(0).random(images) + np.random.default_rng(seed + 1).normal(0, 0.002, images)
        correct = np.zeros(images, dtype=bool)
        correct[np.argsort(noisy)[: round(images * acc1 / 100)]] = True
    predicted = np.where(correct, label, (label + 1) % classes)
    logits = np.eye(classes, dtype=np.float16)[predicted]
    np.savez(path, index=np.arange(images), label=label, correct=correct, logits=logits)
