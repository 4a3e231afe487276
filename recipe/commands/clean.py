"""`recipe clean RUNS`: finished runs keep their weights, and no longer what only going on with the training needs."""

import argparse
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from recipe.errors import RunError, UserError
from recipe.files import LOCK, is_locked, lock, size_text
from recipe.network.kept_files import FINAL, LAST, files
from recipe.output import count
from recipe.run import kept, trained


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "clean",
        help="make finished runs smaller: weights stay, checkpoints to go on from are deleted",
        description="Of finished runs, keep the weights of the last epoch, their average and those of the best epoch, "
        "each once, and delete the checkpoints with the optimizer's state: nothing goes on from those any more. "
        "Runs of today do this by themselves, unless checkpoint.keep_after_training=true. Runs that have not finished, "
        "and those that resume=never has set aside (seed=0.old-1, unless named), are left alone.",
        epilog="Example: recipe clean outputs multirun_outputs",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders with runs, at any depth")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Clean each run, and say what it gave back or why it was left alone. Raises RunError."""
    from recipe.ladder.reading.collect import find

    for folder in arguments.folders:
        if not folder.is_dir():
            raise RunError(f"{folder} is no folder: name folders with runs, as in: recipe clean outputs")
    runs = list(dict.fromkeys(path for folder in arguments.folders for path in sorted(find(folder))))
    if not runs:
        raise RunError(f"no runs in {', '.join(map(str, arguments.folders))}")
    freed = []
    for folder in runs:
        try:
            freed.append(clean(folder))
            print(f"{size_text(freed[-1]):>10}  {folder}", flush=True)
        except (UserError, OSError) as error:
            reason = str(error).partition(": resume=never")[0]
            print(f"{'left':>10}  {folder}: {reason}", flush=True)
    cleaned = sum(size > 0 for size in freed)
    print(f"{size_text(sum(freed)):>10}  given back by {cleaned} of {count(len(runs), 'run')}")


def clean(folder: Path) -> int:
    """The bytes that a finished run gave back. Raises RunError where it cannot be cleaned, and OSError.

    Cut off at any moment, the run is whole: first its weights are written, then the list of them, then the rest goes.
    """
    if not (folder / "result.json").exists():
        raise RunError("it has not finished")
    if is_locked(folder / LOCK):
        raise RunError("a process is at work in it")
    run = trained.read(folder)
    checkpoints = folder / "checkpoints"
    with lock(folder / LOCK) or nullcontext():
        if "trained_in" not in run.result and checkpoints.is_dir() and files(checkpoints) is None:
            before = _bytes(checkpoints)
            kept.write(checkpoints, _ending(run), run.result["weights"])
            kept.drop(checkpoints)
            return before - _bytes(checkpoints)
        return kept.drop(checkpoints)


def _ending(run: trained.Trained) -> dict[str, Any]:
    """The weights at the end of the training. Raises RunError where it is not certain that they are that."""
    counts = run.result["weights"]
    checkpoints = run.folder / "checkpoints"
    if not (checkpoints / FINAL).exists():
        raise RunError(f"its {FINAL} is gone, so its checkpoints stay")
    final = trained.states(run, [counts])[counts]
    last = trained.last_checkpoint(checkpoints)
    if last is None:
        if any(checkpoints.glob("last*.pt")):
            raise RunError(f"its {LAST} is gone or not whole, so the others stay")
        return {counts: final}
    states = {"raw": last["model"], **({} if last["ema"] is None else {"ema": last["ema"]})}
    if kept.digest(states[counts]) != kept.digest(final):
        raise RunError(f"its {LAST} holds other weights than {FINAL}, so both stay")
    return states


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
