"""Runs that differ only in how their weights are evaluated are one training: r09, r10 and r11 of the reference ladder.

Once one of them has finished, the others take its weights and evaluate them in their own way.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

import torch

from recipe.config import Config
from recipe.data.dataset import Dataset
from recipe.errors import UserError
from recipe.files import read_json
from recipe.logs import console
from recipe.logs.journal import Journal
from recipe.machine.distributed import Ranks
from recipe.network import kept_files
from recipe.output import say
from recipe.plan.compose import Plan
from recipe.run import folder as run_folder
from recipe.run import trained
from recipe.run.trained import Trained
from recipe.training.evaluate import evaluate, evaluate_grid, metrics

COSTS = ("epochs", "steps", "images_seen", "unique_images", "seconds", "device_seconds")  # the same for all who share


def find(plan: Plan, data: dict[str, str]) -> Path | None:
    """The folder of a finished run beside the plan's whose weights are those that the plan would train.

    Args:
        data: fingerprints of the training and validation set.
    """
    if plan.folder.parent.name != plan.name or (plan.folder / "checkpoints").exists():
        return None  # in a folder of the user's choice, or begun already
    for folder in _neighbours(plan.folder):
        try:
            if _is_the_same(plan, folder, data):
                return folder
        except Exception as error:  # it is only looked at: whatever is wrong there, this run does not need it
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            reason = " ".join(str(error).partition(": resume=never")[0].split())[:300]
            say(f"{folder} is broken, and left out of the search for the same training ({kind}{reason})")
    return None


def _neighbours(own: Path) -> list[Path]:
    """The folders of finished runs of the same seed, as far as they may be seen."""
    with suppress(OSError), os.scandir(own.parent.parent) as entries:
        folders = [Path(entry.path) / own.name for entry in entries if entry.name != own.parent.name]
        return sorted(folder for folder in folders if os.path.lexists(folder / "result.json"))
    return []


def _is_the_same(plan: Plan, folder: Path, data: dict[str, str]) -> bool:
    """Whether a run has the weights that the plan would train. Raises whatever its broken files cause."""
    environment = read_json(folder / "environment.json", "hashes", "data")
    same = environment["hashes"]["training"] in (plan.training_hash, plan.former_hashes.get("training"))
    if not same or environment["data"] != data:
        return False
    if not (folder / "checkpoints" / kept_files.FINAL).exists():  # its figures alone were kept
        return False
    source = trained.read(folder)
    kinds = ["raw"] if plan.config.ema.decay is None else ["raw", "ema"]
    if "trained_in" in source.result or not _has_average(source.config, plan.config):
        return False
    found = trained.networks(source, torch.device("cpu"), kinds)  # here, where it may fail
    _training_curve(source)
    return found.keys() == set(kinds) and all(name in source.result for name in COSTS)


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
        for step, epoch, figures in _training_curve(source):
            journal.record(step, epoch, figures)
        journal.record(source.result["steps"], source.result["epochs"] - 1, metrics(found))
        about = {
            **{name: source.result[name] for name in COSTS},
            "stopped_early": source.result.get("stopped_early"),
            "trained_in": os.path.relpath(folder, plan.folder),
            "best": None,
        }
        run_folder.write_result(plan, models, found, grid, about)
    for line in console.guessed(ranks.union({file for e in found.values() for file in e.guessed})):
        journal.say(line)
    for line in console.accuracies(found):
        journal.say(line)
    journal.close()


def _has_average(source: Config, wanted: Config) -> bool:
    return wanted.ema.decay is None or source.ema == wanted.ema


def _training_curve(source: Trained) -> list[tuple[int, int, dict[str, float]]]:
    """Step, epoch and figures of the training, entry by entry."""
    rows = [json.loads(line) for line in (source.folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    figures = [{name: value for name, value in row.items() if name.startswith("train/")} for row in rows]
    return [(row["step"], row["epoch"], of_row) for row, of_row in zip(rows, figures, strict=True) if of_row]
