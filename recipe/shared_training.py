"""Runs that differ only in how their weights are evaluated are one training: r09, r10 and r11 of the reference ladder.

Once one of them has finished, the others take its weights and evaluate them in their own way.
"""

import json
import os
from pathlib import Path

from recipe import console, run_folder, trained
from recipe.compose import Plan
from recipe.config import Config
from recipe.data.dataset import Dataset
from recipe.distributed import Ranks
from recipe.logs import Journal
from recipe.loop import evaluate, evaluate_grid
from recipe.trained import Trained


def find(plan: Plan, data: dict[str, str]) -> Path | None:
    """The folder of a finished run beside the plan's whose weights are those that the plan would train.

    Args:
        data: fingerprints of the training and validation set.
    """
    if plan.folder.parent.name != plan.name or (plan.folder / "checkpoints").exists():
        return None  # in a folder of the user's choice, or begun already
    for result in sorted(plan.folder.parent.parent.glob(f"*/{plan.folder.name}/result.json")):
        environment = json.loads((result.parent / "environment.json").read_text("utf-8"))
        if environment["hashes"]["training"] != plan.training_hash or environment["data"] != data:
            continue
        has_weights = (result.parent / "checkpoints" / "last.pt").exists()
        if has_weights and _has_average(trained.read(result.parent).config, plan.config):
            return result.parent
    return None


def evaluate_for(plan: Plan, ranks: Ranks, val_set: Dataset, folder: Path) -> None:
    """Finish the plan's run with the weights of the run in `folder`."""
    source = trained.read(folder)
    journal = Journal(plan.folder, ranks, 0, 0)
    journal.say(f"The same training as {folder}, which has finished: its weights are evaluated, nothing is trained.\n")
    models = trained.networks(source, ranks.device)
    if plan.config.ema.decay is None:
        models = {"raw": models["raw"]}
    sizes = plan.config.resolution
    found = evaluate(models, val_set, plan.config, ranks, sizes.val_resize, sizes.val_crop)
    grid = evaluate_grid(models, val_set, plan.config, ranks)
    if ranks.first:
        _copy_training_curve(source, journal)
        journal.record(source.result["steps"], source.result["epochs"] - 1, console.figures(found))
        kept = ("epochs", "steps", "images_seen", "unique_images", "seconds", "device_seconds")
        about = {
            **{name: source.result[name] for name in kept},
            "stopped_early": source.result.get("stopped_early"),
            "trained_in": os.path.relpath(folder, plan.folder),
            "best": None,
        }
        run_folder.write_result(plan, models, found, grid, about)
    for line in console.accuracies(found):
        journal.say(line)
    journal.close()


def _has_average(source: Config, wanted: Config) -> bool:
    return wanted.ema.decay is None or source.ema == wanted.ema


def _copy_training_curve(source: Trained, journal: Journal) -> None:
    for line in (source.folder / "metrics.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        step, epoch = row.pop("step"), row.pop("epoch")
        training = {name: value for name, value in row.items() if name.startswith("train/")}
        if training:
            journal.record(step, epoch, training)
