"""`recipe evaluate RUN …`: the weights of finished runs at other resolutions or on other images, without training."""

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe.config import Config
from recipe.data.formats import FORMATS
from recipe.errors import ConfigError, RunError
from recipe.finished.evaluation.choice import EvaluationSetting, halves
from recipe.finished.evaluation.of_run import SETS, Evaluated, check_there, evaluate_run
from recipe.guesses import did_you_mean
from recipe.output import count
from recipe.plan.checks import check
from recipe.plan.scaling import even
from recipe.run import trained
from recipe.run.trained import Trained

if TYPE_CHECKING:
    from recipe.ladder.telling.figures import Curve

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
OF_WEIGHTS = "recipe evaluate --model resnet50 --weights IMAGENET1K_V1,IMAGENET1K_V2 data=imagenet data.root=FOLDER"


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "evaluate",
        help="evaluate finished runs: other resolutions, weights, images; classes, confusions, calibration",
        description="Evaluate finished runs on all combinations of the values given; nothing is trained. With "
        "resolution.val_crop alone, val_resize keeps the run's proportion to it. weights=raw,ema,best: those of the "
        "last epoch, their average, and those of the best epoch. split=val, test or train, with the images as in "
        "validation.",
        epilog=f"Examples: {EXAMPLE}; recipe evaluate outputs/v2/seed=0 split=test --report; {OF_WEIGHTS}",
    )
    parser.add_argument(
        "arguments", nargs="+", metavar="RUN|KEY=VALUES", help=f"run folders; {', '.join(VARIED)}, split"
    )
    parser.add_argument("--model", metavar="NAME", help="in place of runs: a model, with --weights of it")
    parser.add_argument("--source", choices=("torchvision", "timm"), default="torchvision", help="(torchvision)")
    parser.add_argument(
        "--weights",
        metavar="NAME,…",
        help="in place of runs: published weights, as IMAGENET1K_V1,IMAGENET1K_V2, package:… or files, each with its "
        "own preprocessing; with data=… and data.root=…",
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
    values = parse(settings, ["data"] if arguments.weights is not None else [])
    (split,) = values.pop("split", ["val"])
    reported = folders if arguments.weights is None else arguments.weights.split(",")
    if arguments.out is not None and not (arguments.report and len(reported) == 1):
        raise ConfigError("--out takes the --report of one run, or of one of the --weights")
    if arguments.figure is not None and arguments.figure.suffix not in PICTURES:
        raise ConfigError(f"--figure {arguments.figure}: its ending says the kind of picture, {', '.join(PICTURES)}")
    if arguments.weights is not None:
        _of_weights(arguments, folders, values, split)
        return
    if arguments.model is not None:
        raise ConfigError(f"--model {arguments.model}: which weights of it? Add --weights, as in: {OF_WEIGHTS}")
    if not folders:
        raise ConfigError(f"which run? Name one or more run folders, as in: {EXAMPLE}")
    runs = [trained.read(folder) for folder in folders]
    plans = [(each, *settings_of(each, values)) for each in runs]
    if arguments.figure is not None:
        from recipe.ladder.telling import figures  # before hours of evaluation, not after

    from recipe.logs import faults  # PyTorch, once the arguments are known to be right
    from recipe.machine import distributed  # PyTorch, once the arguments are known to be right
    from recipe.machine.numerics import set_numerics  # PyTorch, once the arguments are known to be right

    of_first, deterministic = plans[0][1].runtime, any(config.runtime.deterministic for _, config, _ in plans)
    ranks = distributed.start(replace(of_first, deterministic=deterministic))
    curves: list[Any] = []
    for each, config, settings in plans:
        set_numerics(config.runtime)  # as in its training
        largest = max(setting.val_crop for setting in settings)
        with faults.memory_for_images("evaluate.batch_size", config.evaluate.batch_size, largest):
            found = evaluate_run(each, config, settings, split, ranks, arguments.choose, arguments.report)
        if not ranks.first:
            continue
        if arguments.report:
            write_reports(each, split, found, arguments.out or each.folder / "evaluation")
        if arguments.figure is not None:
            curves.extend(_curves(each.config, each.name, found.entries(split), _axis(values)))
    if arguments.figure is not None and ranks.first:
        figures.accuracy_by_resolution(arguments.figure, curves, _axis(values))
        print(f"Figure: {arguments.figure}")
    distributed.stop()


def parse(given: list[str], more: Sequence[str] = ()) -> dict[str, list[str]]:
    """KEY=V1,V2 … to values by key; `more` are further keys of one value. Raises ConfigError."""
    values: dict[str, list[str]] = {}
    known = [*VARIED, "split", *SINGLE, *more]
    for argument in given:
        name, _, text = argument.partition("=")
        if name not in known:
            raise ConfigError(f"evaluate knows no key {name}.{did_you_mean(name, known)} It takes {', '.join(known)}")
        is_path = name in ("data.val_dir", "data.test_dir") or (name == "data.root" and os.path.exists(text))
        values[name] = [text] if is_path else text.split(",")  # a folder's name may hold a comma
        if name not in VARIED and len(values[name]) > 1:
            raise ConfigError(f"{argument}: one value at a time; several are for {', '.join(VARIED)}")
        if name == "split" and text not in SETS:
            raise ConfigError(f"{argument}: must be one of {', '.join(SETS)}.{did_you_mean(text, list(SETS))}")
    return values


def settings_of(run: Trained, values: dict[str, list[str]]) -> tuple[Config, list[EvaluationSetting]]:
    """The run's config as it is evaluated now, and the combinations asked for. Raises ConfigError."""
    config = trained.evaluation_config(run)
    _set_singles(config, values)
    weights = values.get("weights", trained.weights_of(run)[:1])
    for name in weights:
        trained.check_weights(run, name)
    settings = combinations(config, weights, values)
    if values:  # a run's own config was checked, and its report may outlive its images
        check_there(run, config)
        check(config)
    return config, settings


def _set_singles(config: Config, values: dict[str, list[str]]) -> None:
    """Give the config the values of SINGLE, in place. Raises ConfigError."""
    for name, texts in values.items():
        if name in SINGLE:
            section, _, item = name.partition(".")
            current = getattr(getattr(config, section), item)
            number = name in ("data.workers", "evaluate.batch_size")
            setattr(getattr(config, section), item, _pixels_or_count(name, texts[0]) if number else texts[0] or current)


def combinations(config: Config, weights: Sequence[str], values: dict[str, list[str]]) -> list[EvaluationSetting]:
    """The combinations asked for, with the config's own sizes where none are named. Raises ConfigError."""
    own = config.resolution
    crops = [_pixels_or_count("resolution.val_crop", text) for text in values.get("resolution.val_crop", [])]
    resizes = [_pixels_or_count("resolution.val_resize", text) for text in values.get("resolution.val_resize", [])]
    if crops and not resizes:
        sizes = [(max(crop, even(crop * own.val_resize / own.val_crop)), crop) for crop in crops]
    else:
        sizes = list(product(resizes or [own.val_resize], crops or [own.val_crop]))
    settings = [EvaluationSetting(name, *size) for name in weights for size in sizes if size[1] <= size[0]]
    if not settings:
        raise ConfigError(
            f"crops of {sizes[0][1]} px do not fit into images resized to {sizes[0][0]} px: "
            "give a smaller resolution.val_crop=… as well"
        )
    left_out = len(weights) * len(sizes) - len(settings)
    if left_out and os.environ.get("RANK", "0") == "0":
        print(f"{count(left_out, 'combination')} left out: a crop does not fit into a smaller resized image")
    return settings


def _of_weights(arguments: argparse.Namespace, folders: list[Path], values: dict[str, list[str]], split: str) -> None:
    """Evaluate published weights: print one table of all. Raises UserError."""
    if folders:
        raise ConfigError(f"{folders[0]}: runs, or --weights {arguments.weights} without any run")
    if "weights" in values:
        raise ConfigError("weights=… chooses among a run's; with --weights, name them there, divided by commas")
    names = arguments.weights.split(",")
    config = _data_config(values)
    if arguments.figure is not None:
        from recipe.ladder.telling import figures  # before hours of evaluation, not after
    from recipe.finished.evaluation import of_weights
    from recipe.logs import faults  # PyTorch, once the arguments are known to be right
    from recipe.machine import distributed

    ranks = distributed.start(config.runtime)
    images = of_weights.open_images(config, split, ranks)
    with faults.memory_for_images("evaluate.batch_size", config.evaluate.batch_size, config.resolution.val_crop):
        all_weights = of_weights.load(
            arguments.model,
            arguments.source,
            names,
            config,
            images,
            lambda name, own: combinations(own, [name], values),
            ranks,
        )
        found = of_weights.evaluate_weights(all_weights, images, split, ranks, arguments.choose)
    if ranks.first and arguments.report:
        for weights, evaluated in zip(all_weights, found, strict=True):
            title = f"{weights.config.model.name} {weights.name}"
            folder = arguments.out or Path("evaluation") / re.sub(r"[^\w.=-]+", "-", title)
            _write_reports(title, weights.classes, split, evaluated, folder)
    if ranks.first and arguments.figure is not None:
        curves = [
            curve
            for weights, evaluated in zip(all_weights, found, strict=True)
            for curve in _curves(weights.config, weights.name, evaluated.entries(split), _axis(values))
        ]
        figures.accuracy_by_resolution(arguments.figure, curves, _axis(values))
        print(f"Figure: {arguments.figure}")
    distributed.stop()


def _data_config(values: dict[str, list[str]]) -> Config:
    """The defaults with the data that `data=…` and the keys beside it say. Raises ConfigError."""
    from recipe.plan.compose import CONF, configs

    options = sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
    (option,) = values.pop("data", ["imagefolder"])
    if option not in options:
        raise ConfigError(f"data={option}: must be one of {', '.join(options)}.{did_you_mean(option, options)}")
    (config,) = configs([None], [f"data={option}"])
    _set_singles(config, values)
    config.data.root = os.path.abspath(os.path.expanduser(config.data.root)) if config.data.root else None
    needs = FORMATS[config.data.name].needs
    if "root" in needs and not config.data.root:
        raise ConfigError(f"which images? As in: {OF_WEIGHTS}")
    return config


def write_reports(run: Trained, split: str, found: Evaluated, folder: Path) -> None:
    """Print and write the report on each setting, in a folder of its own, on other images too. Raises RunError."""
    _write_reports(run.name, run.environment["classes"], split, found, folder)


def _write_reports(title: str, classes: Sequence[str], split: str, found: Evaluated, folder: Path) -> None:
    from recipe.finished.evaluation import report as reports
    from recipe.finished.evaluation.measures import describe

    of_others = {} if found.own_images else {"data": found.where}
    for setting, e in found.evaluations.items():
        first, second = halves(len(e.labels))
        measures = describe(
            title,
            {"split": split, **setting._asdict(), **of_others},
            classes,
            e.figures(),
            (e.logits.numpy(), e.labels.numpy(), e.correct.numpy()),
            (first.numpy(), second.numpy()),
        )
        print("\n" + "\n".join(reports.lines(measures)))
        name = "-".join([split, *map(str, setting)])
        target = folder / (name if found.own_images else f"{name}-images-{found.fingerprint[:8]}")
        try:
            remarks = reports.write(measures, target)
        except OSError as error:
            raise RunError(f"cannot write to {target} ({error.strerror}): name another folder with --out") from error
        print("\n".join([*remarks, f"Report: {target}"]))


def _axis(values: dict[str, list[str]]) -> str:
    return "val_crop" if len(values.get("resolution.val_crop", [])) > 1 else "val_resize"


def _curves(config: Config, title: str, entries: list[dict[str, Any]], axis: str) -> "Iterator[Curve]":
    """A line for each kind of weights."""
    from recipe.ladder.telling.figures import Curve

    for weights in dict.fromkeys(entry["weights"] for entry in entries):
        points = sorted(
            (entry[axis], entry["acc1"], entry["error"]) for entry in entries if entry["weights"] == weights
        )
        kind = {"ema": "EMA", "raw": "raw", "best": "best"}.get(weights)
        label = (
            f"{kind}, trained at {config.resolution.train_crop}: {title}" if kind else f"{config.model.name} {title}"
        )
        yield Curve(label, *map(list, zip(*points, strict=True)))


def _pixels_or_count(name: str, text: str) -> int:
    least = {"data.workers": 0, "evaluate.batch_size": 1}.get(name, 8)
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"{name}={text}: must be a whole number, at least {least}")
    return int(text)
