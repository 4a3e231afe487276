"""A finished run evaluated: the settings asked for, a pass over the images for each resolution, and a table of them."""

import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from recipe.config import Config
from recipe.data.formats import FORMATS
from recipe.data.known import KNOWN
from recipe.errors import DataError
from recipe.finished.evaluation import kept
from recipe.finished.evaluation.choice import EvaluationSetting, choose_on_half
from recipe.finished.evaluation.choice import lines as choice_lines
from recipe.output import count
from recipe.plan import published
from recipe.run import trained
from recipe.run.trained import Trained

if TYPE_CHECKING:
    from recipe.machine.distributed import Ranks
    from recipe.training.evaluate import Evaluation

SETS = {"val": "validation", "test": "test", "train": "training"}  # by split


class Evaluated(NamedTuple):
    """What a run's settings came to."""

    evaluations: "dict[EvaluationSetting, Evaluation]"
    images: int
    fingerprint: str  # of the images
    where: str  # their folder
    own_images: bool  # whether they are the run's own of this split, as far as the run folder tells

    def entries(self, split: str) -> list[dict[str, Any]]:
        """As dicts for evaluations.json, each with the standard error of its top-1, a share of so many images."""
        found = []
        for setting, e in self.evaluations.items():
            error = math.sqrt(e.acc1 * (100 - e.acc1) / self.images)
            about = {"error": error, "split": split, "images": self.fingerprint}
            found.append({**setting._asdict(), **e.figures(), **about, "number": self.images})
        return found


def evaluate_run(
    run: Trained,
    config: Config,
    settings: list[EvaluationSetting],
    split: str,
    ranks: "Ranks",
    choose: bool,
    report: bool,
) -> Evaluated:
    """Evaluate one run's settings, print them as a table, keep them in its folder. Raises UserError.

    With `report`, the run's own setting on its own images is taken from its predictions.npz.
    """
    kept.read(run.folder)  # before hours of evaluation, not after
    own = EvaluationSetting(run.result["weights"], run.config.resolution.val_resize, run.config.resolution.val_crop)
    if choose and own not in settings:
        settings = [own, *settings]
    say = print if ranks.first else lambda *_: None
    if report and settings == [own] and split == "val" and _same_folders(run, config):
        final = trained.final_evaluation(run)
        found = Evaluated({own: final}, len(final.labels), run.environment["data"]["val"], _where(config), True)
        _say_head(say, run, found.images, split, own_images=True)
        _say_row(say, own, final, own)
    else:
        found = _evaluate(run, config, settings, split, ranks, say, own)
    if ranks.first:
        choice = choose_on_half({s: e.correct for s, e in found.evaluations.items()}, own) if choose else None
        for line in choice_lines(choice) if choice else ():
            say(line)
        entries = found.entries(split)
        for entry, evaluation in zip(entries, found.evaluations.values(), strict=True) if split == "test" else ():
            kept.keep_images(run.folder, entry, evaluation)
        kept.add(run.folder, entries, choice, found.own_images and split == "val")
    return found


def _evaluate(
    run: Trained,
    config: Config,
    settings: list[EvaluationSetting],
    split: str,
    ranks: "Ranks",
    say: Any,
    own: EvaluationSetting,
) -> Evaluated:
    """The settings' evaluations, a pass over the images for each resolution."""
    from recipe.data import dataset as datasets
    from recipe.data.prepare.fetch import fetch
    from recipe.logs import console
    from recipe.network.model import check_crops
    from recipe.training.evaluate import evaluate

    check_there(run, config)
    ranks.on_first(lambda: fetch(config.data))
    try:
        images = datasets.load_split(config.data, split, run.environment["classes"], run.environment["data"])
    except DataError as error:
        raise DataError(f"{error}. Where the images are elsewhere now: data.root=FOLDER") from error
    begun_with = run.environment["data"].get(split)  # of a test set a run knows nothing: there its folder decides
    own_images = images.fingerprint == begun_with if begun_with else _same_folders(run, config)
    _say_head(say, run, len(images), split, own_images)
    models = trained.networks(run, ranks.device, list({setting.weights for setting in settings}))
    missing = {setting.weights for setting in settings} - models.keys()
    if missing:
        raise trained.gone(run, missing.pop())
    network, classes = next(iter(models.values())), run.environment["classes"]
    check_crops(network, config, len(classes), [("resolution.val_crop", s.val_crop) for s in settings])
    evaluations = {}
    for size in dict.fromkeys((s.val_resize, s.val_crop) for s in settings):
        wanted = [s for s in settings if (s.val_resize, s.val_crop) == size]
        found = evaluate({s.weights: models[s.weights] for s in wanted}, images, config, ranks, *size)
        for setting in wanted:
            evaluations[setting] = found[setting.weights]
            of_source = _published(run, split, setting, len(images), own_images)
            _say_row(say, setting, evaluations[setting], own if split == "val" and own_images else None, of_source)
    unreadable = ranks.union({name for e in evaluations.values() for name in e.unreadable})
    if unreadable:
        say(f"left out, cannot be read: {min(unreadable)}{' …' * (len(unreadable) > 1)} ({len(unreadable):,} in all)")
    for line in console.guessed(ranks.union({file for e in evaluations.values() for file in e.guessed})):
        say(line)
    return Evaluated(evaluations, len(images), images.fingerprint, _where(config, images), own_images)


def check_there(run: Trained, config: Config) -> None:
    """Raises DataError where the folder of the images is gone."""
    root = config.data.root
    if root is not None and "root" in FORMATS[config.data.name].needs and not os.path.isdir(root):
        were = "were" if root == run.config.data.root else "are to be"
        raise DataError(
            f"the images of {run.name} {were} in {root}, and there is no such folder: say where they are with "
            "data.root=FOLDER"
        )


def _where(config: Config, images: Any = None) -> str:
    return str(getattr(images, "root", config.data.root or config.data.name))


def _same_folders(run: Trained, config: Config) -> bool:
    """Whether the command names no other folders than the run's."""
    ours, given = run.config.data, config.data
    return (ours.root, ours.val_dir, ours.test_dir) == (given.root, given.val_dir, given.test_dir)


def _say_head(say: Any, run: Trained, images: int, split: str, own_images: bool) -> None:
    say(f"\n{run.name}: {count(images, f'{SETS[split]} image')}")
    if not own_images and split != "test":
        say(f"(not the images that the run was {'validated' if split == 'val' else 'trained'} on)")
    say(f"{'weights':8}{'val_resize':>11}{'val_crop':>10}{'top-1':>9}{'top-5':>8}{'loss':>9}")


def _published(run: Trained, split: str, setting: EvaluationSetting, images: int, own_images: bool) -> str:
    """The top-1 that the recipe's source has of this evaluation, in words; nothing where it may not stand there."""
    if not run.environment.get("rung") or (split == "val" and not own_images):
        return ""
    known = KNOWN.get(run.environment["rung"].get("on") or "")
    if split != "val" and known is not None and known.images.get(split) != images:
        return ""
    acc1 = published.of_evaluation(published.of_run(run.environment), {"split": split, **setting._asdict()}).get("acc1")
    return "" if acc1 is None else f"  (published: {acc1:.2f})"


def _say_row(
    say: Any, setting: EvaluationSetting, e: "Evaluation", own: EvaluationSetting | None, of_source: str = ""
) -> None:
    cells = f"{setting.weights:8}{setting.val_resize:11}{setting.val_crop:10}"
    note = ("  (the run's own)" if setting == own else "") + of_source
    say(f"{cells}{e.acc1:9.2f}{e.acc5:8.2f}{e.loss:9.3f}{note}")
