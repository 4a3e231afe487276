"""`recipe evaluate RUN …`: the weights of finished runs at other resolutions, without training anything."""

import argparse
import json
import math
import os
from collections.abc import Iterator
from copy import deepcopy
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recipe import trained
from recipe.checks import check, did_you_mean
from recipe.config import Config
from recipe.errors import ConfigError, RunError
from recipe.scaling import even
from recipe.trained import Trained

if TYPE_CHECKING:
    from torch import Tensor

    from recipe.distributed import Ranks
    from recipe.ladder.figures import Curve

VARIED = ("weights", "resolution.val_resize", "resolution.val_crop")  # keys that take several values
SINGLE = ("data.root", "data.val_dir", "data.workers", "evaluate.batch_size", "runtime.device")
EXAMPLE = "recipe evaluate outputs/v2/seed=0 resolution.val_resize=224,232,240,248,256 weights=raw,ema --choose"


class Setting(NamedTuple):
    """One evaluation of a run."""

    weights: str  # raw or ema
    val_resize: int  # pixels
    val_crop: int  # pixels


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "evaluate",
        help="evaluate finished runs at other resolutions, or raw against averaged weights",
        description="Evaluate finished runs on all combinations of the values given; nothing is trained. With "
        "resolution.val_crop alone, val_resize keeps the run's proportion to it.",
        epilog=f"Example: {EXAMPLE}",
    )
    parser.add_argument("arguments", nargs="+", metavar="RUN|KEY=VALUES", help=f"run folders; {', '.join(VARIED)}")
    parser.add_argument("--choose", action="store_true", help="choose on one half of the images, confirm on the other")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw accuracy against resolution (png, svg, pdf)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate, print a table for each run, and add the figures to its evaluations.json."""
    folders = [Path(given) for given in arguments.arguments if "=" not in given or Path(given).is_dir()]
    values = parse([given for given in arguments.arguments if Path(given) not in folders])
    if not folders:
        raise ConfigError(f"which run? Name one or more run folders, as in: {EXAMPLE}")
    runs = [trained.read(folder) for folder in folders]
    plans = [(each, *settings_of(each, values)) for each in runs]
    if arguments.figure is not None:
        from recipe.ladder import figures  # before hours of evaluation, not after

    from recipe import distributed  # PyTorch, once the arguments are known to be right

    ranks = distributed.start(plans[0][1].runtime)
    curves: list[Any] = []
    for each, config, settings in plans:
        entries = evaluate_run(each, config, settings, ranks, arguments.choose)
        if arguments.figure is not None and ranks.first:
            curves.extend(_curves(each, entries, _axis(values)))
    if arguments.figure is not None and ranks.first:
        figures.accuracy_by_resolution(arguments.figure, curves, _axis(values))
        print(f"Figure: {arguments.figure}")
    distributed.stop()


def parse(given: list[str]) -> dict[str, list[str]]:
    """KEY=V1,V2 … to values by key. Raises ConfigError."""
    values: dict[str, list[str]] = {}
    for argument in given:
        name, _, text = argument.partition("=")
        if name not in VARIED + SINGLE:
            known = list(VARIED + SINGLE)
            raise ConfigError(f"evaluate knows no key {name}.{did_you_mean(name, known)} It takes {', '.join(known)}")
        values[name] = text.split(",")
        if name in SINGLE and len(values[name]) > 1:
            raise ConfigError(f"{argument}: one value at a time; several are for {', '.join(VARIED)}")
    return values


def settings_of(run: Trained, values: dict[str, list[str]]) -> tuple[Config, list[Setting]]:
    """The run's config as it is evaluated now, and the combinations asked for. Raises ConfigError."""
    config = deepcopy(run.config)
    for name, texts in values.items():
        if name in SINGLE:
            section, _, item = name.partition(".")
            current = getattr(getattr(config, section), item)
            number = name in ("data.workers", "evaluate.batch_size")
            setattr(getattr(config, section), item, _pixels_or_count(name, texts[0]) if number else texts[0] or current)
    own = config.resolution
    available = ["raw"] + (["ema"] if config.ema.decay is not None else [])
    weights = values.get("weights", available[-1:])
    for name in weights:
        if name not in available:
            raise ConfigError(f"weights={name}: {run.folder} has {' and '.join(available)}")
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
    check(config)
    return config, settings


def evaluate_run(
    run: Trained, config: Config, settings: list[Setting], ranks: "Ranks", choose: bool
) -> list[dict[str, Any]]:
    """Evaluate one run's settings, print them as a table, keep them in its folder. Returns them as dicts."""
    from recipe.data import dataset as datasets
    from recipe.loop import evaluate

    ranks.on_first(lambda: datasets.prepare(config.data))
    _, val_set = datasets.load(config.data)
    say = print if ranks.first else lambda *_: None
    say(f"\n{run.name}: {len(val_set):,} validation images")
    if val_set.fingerprint != run.environment["data"]["val"]:
        say("(not the images that the run was validated on)")
    say(f"{'weights':8}{'val_resize':>11}{'val_crop':>10}{'top-1':>9}{'top-5':>8}{'loss':>9}")
    models = trained.networks(run, ranks.device)
    missing = {s.weights for s in settings} - models.keys()
    if missing:
        raise RunError(f"{run.folder} has no {missing.pop()} weights any more: its last.pt is gone")
    own = Setting(run.result["weights"], run.config.resolution.val_resize, run.config.resolution.val_crop)
    if choose and own not in settings:
        settings = [own, *settings]
    entries, correct = [], {}
    for size in dict.fromkeys((s.val_resize, s.val_crop) for s in settings):
        wanted = [s for s in settings if (s.val_resize, s.val_crop) == size]
        chosen = {s.weights: models[s.weights] for s in wanted}
        found = evaluate(chosen, val_set, config, ranks, *size)
        for setting in wanted:
            e = found[setting.weights]
            note = "  (the run's own)" if setting == own else ""
            cells = f"{setting.weights:8}{setting.val_resize:11}{setting.val_crop:10}"
            say(f"{cells}{e.acc1:9.2f}{e.acc5:8.2f}{e.loss:9.3f}{note}")
            error = math.sqrt(e.acc1 * (100 - e.acc1) / len(val_set))  # of a share of so many images
            entries.append({**setting._asdict(), **e.figures(), "error": error, "images": val_set.fingerprint})
            correct[setting] = e.correct
    if ranks.first:
        choice = choose_on_half(correct, own) if choose else None
        for line in _choice_lines(choice) if choice else ():
            say(line)
        _keep(run.folder, entries, choice)
    return entries


def choose_on_half(correct: "dict[Setting, Tensor]", own: Setting) -> dict[str, Any]:
    """The best setting on one half of the images, and what it is worth on the other, against the run's own.

    Choosing and confirming on the same images would flatter the choice.

    Args:
        correct: for each setting, (images,) bool.

    Returns:
        The chosen setting; on the other half its top-1, the own setting's, their difference and the standard error of
        that difference (of paired images), in points.
    """
    import torch

    from recipe.randomness import generator_at

    images = len(correct[own])
    order = torch.randperm(images, generator=generator_at(0, "halves"))
    first, second = order[: images // 2], order[images // 2 :]
    best = max(correct, key=lambda setting: correct[setting][first].sum().item())
    difference = correct[best][second].double() - correct[own][second].double()
    return {
        **best._asdict(),
        "images_to_choose": len(first),
        "images_to_confirm": len(second),
        "acc1_where_chosen": 100 * correct[best][first].double().mean().item(),
        "acc1": 100 * correct[best][second].double().mean().item(),
        "acc1_of_own": 100 * correct[own][second].double().mean().item(),
        "difference": 100 * difference.mean().item(),
        "standard_error": 100 * difference.std().item() / math.sqrt(len(second)),
    }


def _choice_lines(choice: dict[str, Any]) -> Iterator[str]:
    what = f"{choice['weights']} weights, val_resize {choice['val_resize']}, val_crop {choice['val_crop']}"
    yield f"Best on one half of the images ({choice['images_to_choose']:,}): {what}"
    yield (
        f"On the other half: top-1 {choice['acc1']:.2f}, the run's own setting {choice['acc1_of_own']:.2f}: "
        f"{choice['difference']:+.2f} (standard error {choice['standard_error']:.2f})"
    )


def _keep(folder: Path, entries: list[dict[str, Any]], choice: dict[str, Any] | None) -> None:
    """evaluations.json: every evaluation so far, the newest of each setting, and the last choice."""
    from recipe.files import write_atomically

    path = folder / "evaluations.json"
    before = json.loads(path.read_text()) if path.exists() else {"evaluations": [], "choice": None}

    def of(entry: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(entry[name] for name in ("images", *Setting._fields))

    kept = {of(entry): entry for entry in [*before["evaluations"], *entries]}
    content = {"evaluations": [kept[setting] for setting in sorted(kept)], "choice": choice or before["choice"]}
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def _axis(values: dict[str, list[str]]) -> str:
    return "val_crop" if len(values.get("resolution.val_crop", [])) > 1 else "val_resize"


def _curves(run: Trained, entries: list[dict[str, Any]], axis: str) -> "Iterator[Curve]":
    """A line for each kind of weights."""
    from recipe.ladder.figures import Curve

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
