"""`recipe plan '+recipe=glob(r*)'`: how many seeds a ladder's published gains need, before anything is trained."""

import argparse
import fnmatch
import math
from collections.abc import Sequence
from typing import Any

from recipe.errors import ConfigError
from recipe.plan import rungs

SD = 0.12  # points: of the runs of one recipe, as docs/STATISTICS.md simulates them


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "plan",
        help="seeds that would confirm the published gains of a ladder, before training",
        description="For each recipe: the published gain over the nearest one below that is named, and the seeds that "
        "would confirm it in 4 of 5 cases, alone and among all gains of the ladder (Holm's correction).",
        epilog="Example: recipe plan '+recipe=glob(r*)' --sd 0.2",
    )
    parser.add_argument("recipes", metavar="+recipe=…", help="recipes as train.py -m takes them: glob(r*) or v1,v2")
    parser.add_argument("--sd", type=float, default=SD, metavar="POINTS", help="of one recipe's runs (%(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the table. Raises ConfigError, and RunError without scipy."""
    if not (math.isfinite(arguments.sd) and arguments.sd > 0):
        raise ConfigError(f"--sd {arguments.sd:g}: must be above 0")
    names = chosen(arguments.recipes)
    found = published_gains(names)
    first, second = max(map(len, found)), max(len(over) for over, _ in found.values())
    print(f"{'':{first + second + 2}}{'published':>10}{'seeds needed':>19}")
    print(f"{'recipe':{first}}  {'over':{second}}{'gain':>10}{'alone':>8}{'in ladder':>11}")
    for name, (over, gain) in found.items():
        alone, together = seeds(gain, arguments.sd, len(found))
        print(f"{name:{first}}  {over:{second}}{gain:>+10.3f}{alone:>8}{together:>11}")
    print(f"Paired t-tests, sd over seeds {arguments.sd:g} points, 80% power, {len(found)} gains in the ladder.")
    print("recipe report also lends spreads from rung to rung, and may need fewer.")


def chosen(text: str) -> list[str]:
    """Names of the recipes, from `+recipe=glob(PATTERN)` or `+recipe=NAME,NAME`. Raises ConfigError."""
    key, equals, value = text.partition("=")
    if key != "+recipe" or not equals:
        raise ConfigError(f"{text}: must be recipes, as in '+recipe=glob(r*)' or +recipe=v1,v2")
    known = sorted(file.stem for file in (rungs.CONF / "recipe").glob("*.yaml"))
    if value.startswith("glob(") and value.endswith(")"):
        names = fnmatch.filter(known, value[len("glob(") : -1])
    else:
        names = value.split(",")
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ConfigError(f"{text}: {'no recipe is called ' + unknown[0] if unknown else 'no recipe has such a name'}")
    return names


def published_gains(names: Sequence[str]) -> dict[str, tuple[str, float]]:
    """By recipe: the nearest one below it among the names, and the points of top-1 published over it.

    Recipes without published top-1, or without one below that has it, are left out. Raises ConfigError for no gain.
    """
    published = {name: rungs.rung(name).published.get("acc1") for name in names}
    found = {}
    for name in names:
        below = next((one for one in reversed(rungs.chain(name)[:-1]) if one in published), None)
        new, old = published[name], published.get(below or "")
        if below and new is not None and old is not None:
            found[name] = (below, new - old)
    if not found:
        raise ConfigError(f"{', '.join(names)}: no published gain of one over another")
    return found


def seeds(gain: float, sd: float, tests: int) -> tuple[str, str]:
    """Seeds that find a gain in 4 of 5 cases by a paired t-test: by itself, and at 5% / tests, Holm's first step.

    Args:
        gain, sd: points; sd is of the runs of one recipe, which differ from those of another by √2 times that.
    """
    from recipe.ladder.comparing.statistics import seeds_needed  # scipy

    alone, together = (seeds_needed(gain, math.sqrt(2) * sd, tests=number) for number in (1, tests))
    return str(alone or "over 1000"), str(together or "over 1000")
