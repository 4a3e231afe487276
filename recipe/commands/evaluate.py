"""`recipe evaluate RUN …`: the weights of finished runs at other resolutions or on other images, without training."""

import argparse
import json
import math
import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recipe.config import Config
from recipe.data.formats import FORMATS
from recipe.errors import ConfigError, DataError, RunError
from recipe.finished.evaluation.choice import Setting, choose_on_half, halves
from recipe.finished.evaluation.choice import lines as choice_lines
from recipe.guesses import did_you_mean
from recipe.plan.checks import check
from recipe.plan.scaling import even
from recipe.run import trained
from recipe.run.trained import Trained

if TYPE_CHECKING:
    from recipe.ladder.telling.figures import Curve
    from recipe.machine.distributed import Ranks
    from recipe.training.evaluate import Evaluation

SPLITS = ("val", "test", "train")
VARIED = ("weights", "resolution.val_resize", "resolution.val_crop")  # keys that take several values
SINGLE = (
    "data.root",
    "data.val_dir",
    "data.test_dir",
    "data.on_corrupt",
    "data.workers",
    "evaluate.batch_size",
    "runtime.device",
)
PICTURES = (".png", ".svg", ".pdf")
KEY = re.compile(r"[\w.]+=")  # at the beginning of KEY=VALUES; a run's folder may hold an = as well
EXAMPLE = "recipe evaluate outputs/v2/seed=0 resolution.val_resize=224,232,240,248,256 weights=raw,ema --choose"


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "evaluate",
        help="evaluate finished runs: other resolutions, weights, images; classes, confusions, calibration",
        description="Evaluate finished runs on all combinations of the values given; nothing is trained. With "
        "resolution.val_crop alone, val_resize keeps the run's proportion to it. weights=raw,ema,best: those of the "
        "last epoch, their average, and those of the best epoch. split=val, test or train, with the images as in "
        "validation.",
        epilog=f"Examples: {EXAMPLE}; recipe evaluate outputs/v2/seed=0 split=test --report",
    )
    parser.add_argument(
        "arguments", nargs="+", metavar="RUN|KEY=VALUES", help=f"run folders; {', '.join(VARIED)}, split"
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="of each setting: intervals, classes, confusions, calibration, in RUN/evaluation. The run's own setting "
        "needs no pass over the images: its predictions were kept",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes, in place of RUN/evaluation")
    parser.add_argument("--choose", action="store_true", help="choose on one half of the images, confirm on the other")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw accuracy against resolution (png, svg, pdf)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate, print a table for each run, and add the figures to its evaluations.json."""
    settings = [given for given in arguments.arguments if KEY.match(given) and not Path(given).is_dir()]
    folders = [Path(given) for given in arguments.arguments if given not in settings]
    values = parse(settings)
    (split,) = values.pop("split", ["val"])
    if not folders:
        raise ConfigError(f"which run? Name one or more run folders, as in: {EXAMPLE}")
    if arguments.out is not None and not (arguments.report and len(folders) == 1):
        raise ConfigError("--out takes the --report of one run")
    if arguments.figure is not None and arguments.figure.suffix not in PICTURES:
        raise ConfigError(f"--figure {arguments.figure}: its ending says the kind of picture, {', '.join(PICTURES)}")
    runs = [trained.read(folder) for folder in folders]
    plans = [(each, *settings_of(each, values)) for each in runs]
    if arguments.figure is not None:
        from recipe.ladder.telling import figures  # before hours of evaluation, not after

    from recipe.logs import faults  # PyTorch, once the arguments are known to be right
    from recipe.machine import distributed  # PyTorch, once the arguments are known to be right

    ranks = distributed.start(plans[0][1].runtime)
    curves: list[Any] = []
    for each, config, settings in plans:
        with faults.memory_for_images("evaluate.batch_size", config.evaluate.batch_size):
            found = evaluate_run(each, config, settings, split, ranks, arguments.choose, arguments.report)
        if not ranks.first:
            continue
        if arguments.report:
            report(each, split, found.evaluations, arguments.out or each.folder / "evaluation")
        if arguments.figure is not None:
            curves.extend(_curves(each, found.entries, _axis(values)))
    if arguments.figure is not None and ranks.first:
        figures.accuracy_by_resolution(arguments.figure, curves, _axis(values))
        print(f"Figure: {arguments.figure}")
    distributed.stop()


def parse(given: list[str]) -> dict[str, list[str]]:
    """KEY=V1,V2 … to values by key. Raises ConfigError."""
    values: dict[str, list[str]] = {}
    known = [*VARIED, "split", *SINGLE]
    for argument in given:
        name, _, text = argument.partition("=")
        if name not in known:
            raise ConfigError(f"evaluate knows no key {name}.{did_you_mean(name, known)} It takes {', '.join(known)}")
        is_path = name in ("data.val_dir", "data.test_dir") or (name == "data.root" and os.path.exists(text))
        values[name] = [text] if is_path else text.split(",")  # a folder's name may hold a comma
        if name not in VARIED and len(values[name]) > 1:
            raise ConfigError(f"{argument}: one value at a time; several are for {', '.join(VARIED)}")
        if name == "split" and text not in SPLITS:
            raise ConfigError(f"{argument}: must be one of {', '.join(SPLITS)}.{did_you_mean(text, list(SPLITS))}")
    return values


def settings_of(run: Trained, values: dict[str, list[str]]) -> tuple[Config, list[Setting]]:
    """The run's config as it is evaluated now, and the combinations asked for. Raises ConfigError."""
    config = trained.evaluation_config(run)
    for name, texts in values.items():
        if name in SINGLE:
            section, _, item = name.partition(".")
            current = getattr(getattr(config, section), item)
            number = name in ("data.workers", "evaluate.batch_size")
            setattr(getattr(config, section), item, _pixels_or_count(name, texts[0]) if number else texts[0] or current)
    own = config.resolution
    weights = values.get("weights", trained.weights_of(run)[:1])
    for name in weights:
        trained.check_weights(run, name)
    crops = [_pixels_or_count("resolution.val_crop", text) for text in values.get("resolution.val_crop", [])]
    resizes = [_pixels_or_count("resolution.val_resize", text) for text in values.get("resolution.val_resize", [])]
    if crops and not resizes:
        sizes = [(max(crop, even(crop * own.val_resize / own.val_crop)), crop) for crop in crops]
    else:
        sizes = list(product(resizes or [own.val_resize], crops or [own.val_crop]))
    settings = [Setting(name, *size) for name in weights for size in sizes if size[1] <= size[0]]
    if not settings:
        raise ConfigError(
            f"crops of {sizes[0][1]} px do not fit into images resized to {sizes[0][0]} px: "
            "give a smaller resolution.val_crop=… as well"
        )
    left_out = len(weights) * len(sizes) - len(settings)
    if left_out and os.environ.get("RANK", "0") == "0":
        print(f"{left_out} combination(s) left out: a crop does not fit into a smaller resized image")
    if values:  # a run's own config was checked, and its report may outlive its images
        _check_there(run, config)
        check(config)
    return config, settings


class Found(NamedTuple):
    """What a run's settings came to: as dicts for evaluations.json, and with their predictions."""

    entries: list[dict[str, Any]]
    evaluations: "dict[Setting, Evaluation]"


def evaluate_run(
    run: Trained, config: Config, settings: list[Setting], split: str, ranks: "Ranks", choose: bool, report: bool
) -> Found:
    """Evaluate one run's settings, print them as a table, keep them in its folder.

    With `report`, the run's own setting on its own images is taken from its predictions.npz.
    """
    own = Setting(run.result["weights"], run.config.resolution.val_resize, run.config.resolution.val_crop)
    if choose and own not in settings:
        settings = [own, *settings]
    say = print if ranks.first else lambda *_: None
    if report and settings == [own] and split == "val" and _same_images(run, config):
        evaluations = {own: trained.final_evaluation(run)}
        images, fingerprint = len(evaluations[own].labels), run.environment["data"]["val"]
        _say_head(say, run, images, split, [])
        _say_row(say, own, evaluations[own], own)
    else:
        evaluations, images, fingerprint = _evaluate(run, config, settings, split, ranks, say, own)
    entries = []
    for setting, e in evaluations.items():
        error = math.sqrt(e.acc1 * (100 - e.acc1) / images)  # of a share of so many images
        entries.append({**setting._asdict(), **e.figures(), "error": error, "split": split, "images": fingerprint})
    if ranks.first:
        correct = {setting: e.correct for setting, e in evaluations.items()}
        choice = choose_on_half(correct, own) if choose else None
        for line in choice_lines(choice) if choice else ():
            say(line)
        _keep(run.folder, entries, choice)
    return Found(entries, evaluations)


def _evaluate(
    run: Trained, config: Config, settings: list[Setting], split: str, ranks: "Ranks", say: Any, own: Setting
) -> "tuple[dict[Setting, Evaluation], int, str]":
    """The settings' evaluations, a pass over the images for each resolution; the set's size and fingerprint."""
    from recipe.data import dataset as datasets
    from recipe.data.prepare.fetch import fetch
    from recipe.logs import console
    from recipe.network.model import check_crops
    from recipe.training.evaluate import evaluate

    _check_there(run, config)
    ranks.on_first(lambda: fetch(config.data))
    try:
        images = datasets.load_split(config.data, split, run.environment["classes"], run.environment["data"])
    except DataError as error:
        raise DataError(f"{error}. Where the images are elsewhere now: data.root=FOLDER") from error
    other = split == "val" and images.fingerprint != run.environment["data"]["val"]
    _say_head(say, run, len(images), split, ["(not the images that the run was validated on)"] if other else [])
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
            _say_row(say, setting, evaluations[setting], own if split == "val" else None)
    unreadable = ranks.union({name for e in evaluations.values() for name in e.unreadable})
    if unreadable:
        say(f"left out, cannot be read: {min(unreadable)}{' …' * (len(unreadable) > 1)} ({len(unreadable):,} in all)")
    for line in console.guessed(ranks.union({file for e in evaluations.values() for file in e.guessed})):
        say(line)
    return evaluations, len(images), images.fingerprint


def _check_there(run: Trained, config: Config) -> None:
    """Raises DataError where the folder of the images is gone."""
    root = config.data.root
    if root is not None and "root" in FORMATS[config.data.name].needs and not os.path.isdir(root):
        were = "were" if root == run.config.data.root else "are to be"
        raise DataError(
            f"the images of {run.name} {were} in {root}, and there is no such folder: say where they are with "
            "data.root=FOLDER"
        )


def _same_images(run: Trained, config: Config) -> bool:
    """Whether the command names no other folders than the run's."""
    return (run.config.data.root, run.config.data.val_dir) == (config.data.root, config.data.val_dir)


def _say_head(say: Any, run: Trained, images: int, split: str, remarks: list[str]) -> None:
    name = {"val": "validation", "test": "test", "train": "training"}[split]
    say(f"\n{run.name}: {images:,} {name} images")
    for remark in remarks:
        say(remark)
    say(f"{'weights':8}{'val_resize':>11}{'val_crop':>10}{'top-1':>9}{'top-5':>8}{'loss':>9}")


def _say_row(say: Any, setting: Setting, e: "Evaluation", own: Setting | None) -> None:
    cells = f"{setting.weights:8}{setting.val_resize:11}{setting.val_crop:10}"
    note = "  (the run's own)" if setting == own else ""
    say(f"{cells}{e.acc1:9.2f}{e.acc5:8.2f}{e.loss:9.3f}{note}")


def report(run: Trained, split: str, evaluations: "dict[Setting, Evaluation]", folder: Path) -> None:
    """Print and write the report on each setting, in a folder of its own. Raises RunError."""
    from recipe.finished.evaluation import report as reports

    for setting, e in evaluations.items():
        first, second = halves(len(e.labels))
        described = reports.describe(
            run.name,
            {"split": split, **setting._asdict()},
            run.environment["classes"],
            e.figures(),
            (e.logits.numpy(), e.labels.numpy(), e.correct.numpy()),
            (first.numpy(), second.numpy()),
        )
        print("\n" + "\n".join(reports.lines(described)))
        target = folder / "-".join([split, *map(str, setting)])
        try:
            remarks = reports.write(described, target)
        except OSError as error:
            raise RunError(f"cannot write to {target} ({error.strerror}): name another folder with --out") from error
        print("\n".join([*remarks, f"Report: {target}"]))


def _keep(folder: Path, entries: list[dict[str, Any]], choice: dict[str, Any] | None) -> None:
    """evaluations.json: every evaluation so far, the newest of each setting, and the last choice."""
    from recipe.files import write_atomically

    path = folder / "evaluations.json"
    before = json.loads(path.read_text("utf-8")) if path.exists() else {"evaluations": [], "choice": None}

    def of(entry: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(entry[name] for name in ("images", *Setting._fields))

    kept = {of(entry): entry for entry in [*before["evaluations"], *entries]}
    content = {"evaluations": [kept[setting] for setting in sorted(kept)], "choice": choice or before["choice"]}
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def _axis(values: dict[str, list[str]]) -> str:
    return "val_crop" if len(values.get("resolution.val_crop", [])) > 1 else "val_resize"


def _curves(run: Trained, entries: list[dict[str, Any]], axis: str) -> "Iterator[Curve]":
    """A line for each kind of weights."""
    from recipe.ladder.telling.figures import Curve

    for weights in dict.fromkeys(entry["weights"] for entry in entries):
        points = sorted(
            (entry[axis], entry["acc1"], entry["error"]) for entry in entries if entry["weights"] == weights
        )
        label = f"{'EMA' if weights == 'ema' else 'raw'}, trained at {run.config.resolution.train_crop}: {run.name}"
        yield Curve(label, *map(list, zip(*points, strict=True)))


def _pixels_or_count(name: str, text: str) -> int:
    least = {"data.workers": 0, "evaluate.batch_size": 1}.get(name, 8)
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"{name}={text}: must be a whole number, at least {least}")
    return int(text)
