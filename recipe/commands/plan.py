"""`recipe plan '+recipe=glob(r*)'`: seeds, device-hours, money, cores and devices of a ladder, before it is trained."""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

from recipe.commands.planning import costs, devices, measured, rates, seeds, told
from recipe.commands.planning.costs import OneRun
from recipe.commands.planning.devices import OnDevices
from recipe.errors import ConfigError
from recipe.ladder.reading.collect import find
from recipe.plan import compose, rungs
from recipe.plan.ablations import key_of
from recipe.sweep import estimate


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "plan",
        help="seeds, device-hours and money that a ladder would take, before training",
        description="For each recipe: the published gain over the nearest one below that is named, the seeds that "
        "would confirm it in 4 of 5 cases, alone and among all gains of the ladder (Holm's correction), and what a run "
        "and that many of them take. Images a second are published ones of ResNet-50 unless they are given.",
        epilog="Example: recipe plan '+recipe=glob(r*)' --rate 2500@176 --price 2 --devices 8",
    )
    parser.add_argument("recipes", metavar="+recipe=…", help="recipes as train.py -m takes them: glob(r*) or v1,v2")
    parser.add_argument("arguments", nargs="*", metavar="KEY=VALUE", help="as train.py takes them: scale=small …")
    parser.add_argument("--sd", type=float, metavar="POINTS", help=f"of one recipe's runs ({seeds.SD:g})")
    parser.add_argument("--from", dest="runs", type=Path, metavar="FOLDER", help="sd and images/s from finished runs")
    parser.add_argument(
        "--rate",
        metavar="IMAGES_PER_S[@PIXELS]",
        help=f"of one device, at 224 pixels without @; or published: {', '.join(rates.PUBLISHED)} ({rates.DEFAULT})",
    )
    parser.add_argument("--price", type=float, metavar="MONEY", help="of a device-hour, in any currency")
    parser.add_argument("--devices", type=int, metavar="N", help="that trainings run on side by side")
    parser.add_argument("--images", type=int, metavar="N", help="of the training set, where it is not known")
    parser.add_argument("--cores", type=float, metavar="N", help="that load for each device (as many as it needs)")
    parser.add_argument(
        "--links",
        type=_links,
        default=(devices.IN_NODE, devices.BETWEEN_NODES),
        metavar="IN,BETWEEN",
        help="GB/s of a device within a node and between nodes (100,12.5: assumed)",
    )
    parser.add_argument("--json", action="store_true", help="all figures as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the plan. Raises ConfigError, and RunError without scipy or without runs where they are to be read."""
    for name in ("sd", "price", "devices", "images", "cores"):
        value = getattr(arguments, name)
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(f"--{name} {value:g}: must be above 0")
    planned = plan(arguments)
    if arguments.json:
        print(json.dumps(told.as_json(planned), indent=1))
    else:
        print(told.text(planned, shutil.get_terminal_size().columns))


def plan(arguments: argparse.Namespace) -> told.Planned:
    """All that the command has to say. Raises as `run` does."""
    names = seeds.chosen(arguments.recipes)
    given = rates.given(arguments.rate) if arguments.rate is not None else None
    overrides = list(arguments.arguments)
    if (wrong := next((text for text in overrides if "=" not in text), None)) is not None:
        raise ConfigError(f"{wrong}: must be an override as train.py takes it, KEY=VALUE")
    option = next((text.partition("=")[2] for text in reversed(overrides) if key_of(text) == "data"), None)
    chosen = [] if option else ["data=imagenet"]
    compose.plan_of([rungs.choice(names[-1]), *chosen, "data.root=.", *overrides], to_run=False)  # is it right at all?
    configs = compose.configs(names, [*chosen, "data.root=.", *overrides])
    known, spreads = estimate.Earlier({}, {}), None
    if arguments.runs is not None:
        spreads = measured.spreads(arguments.runs) if arguments.sd is None else None
        known = estimate.earlier(find(arguments.runs))
    of = costs.trainings(dict(zip(names, configs, strict=True)), option or "imagenet", arguments.images, known, given)
    sd = spreads.sd if spreads else arguments.sd or seeds.SD
    hashes = {one.name: one.hash for one in of}
    needed = seeds.needed(seeds.published_gains(names), sd, spreads.of_differences if spreads else {}, hashes)
    return told.Planned(
        sd=sd,
        measured=spreads,
        needed=needed,
        trainings=of,
        ladder=costs.ladder(of, needed),
        spread=_spread(of[-1], arguments.cores, arguments.links),
        price=arguments.price,
        devices=arguments.devices,
        cores=arguments.cores,
        links=arguments.links,
    )


def _spread(of: OneRun, cores: float | None, links: tuple[float, float]) -> list[OnDevices] | None:
    """The training on more devices; None where its rate, its images or its parameters are not known."""
    if of.rate is None or of.images is None or of.config.model.name not in devices.PARAMETERS:
        return None
    if of.config.model.args or of.config.max_steps is not None:
        return None
    return devices.spread(of.config, of.images, of.rate, of.loader_ms, cores, links)


def _links(text: str) -> tuple[float, float]:
    values = [float(part) for part in text.split(",")]
    if len(values) != 2 or not all(math.isfinite(value) and value > 0 for value in values):
        raise argparse.ArgumentTypeError("two numbers above 0, as in 100,12.5")
    return values[0], values[1]
