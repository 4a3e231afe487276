"""How many seeds a ladder's published gains need."""

import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recipe.errors import ConfigError
from recipe.plan import rungs

SD = 0.12  # points: of the runs of one recipe, as docs/STATISTICS.md simulates them


class Needed(NamedTuple):
    """A published gain, and what would confirm it."""

    name: str
    over: str  # the nearest recipe below that is named
    gain: float  # points of top-1
    sd: float  # points: of a seed's difference
    alone: int | None  # seeds, tested by itself; None: over 1,000
    in_ladder: int | None  # seeds, as one of the ladder's gains
    at_most: bool  # both are evaluations of one training, whose difference varies less than that of two


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

    Recipes without published top-1, or without one below that has it, are left out.
    """
    published = {name: rungs.rung(name).published.get("acc1") for name in names}
    found = {}
    for name in names:
        below = next((one for one in reversed(rungs.chain(name)[:-1]) if one in published), None)
        new, old = published[name], published.get(below or "")
        if below and new is not None and old is not None:
            found[name] = (below, new - old)
    return found


def needed(
    gains: Mapping[str, tuple[str, float]],
    sd: float,
    measured: Mapping[tuple[str, str], float],
    hashes: Mapping[str, str],
) -> list[Needed]:
    """Seeds for each gain, in the order of `gains`.

    Args:
        gains: as `published_gains` has them.
        sd: points, of the runs of one recipe.
        measured: sd of a seed's difference by (recipe, the one below), points, where runs have shown it.
        hashes: of what each recipe trains, by its name.
    """
    found = []
    for name, (over, gain) in gains.items():
        of_difference = measured.get((name, over), math.sqrt(2) * sd)
        one_training = hashes[name] == hashes[over]
        counts = seeds(gain, of_difference, len(gains))
        found.append(Needed(name, over, gain, of_difference, *counts, one_training and (name, over) not in measured))
    return found


def seeds(gain: float, sd: float, tests: int) -> tuple[int | None, int | None]:
    """Seeds that find a gain in 4 of 5 cases by a paired t-test: by itself, and at 5% / tests, Holm's first step.

    Args:
        gain, sd: points; sd is of the differences, √2 times that of the runs where recipes err independently.
    """
    from recipe.ladder.comparing.statistics import seeds_needed  # scipy

    alone, together = (seeds_needed(gain, sd, tests=number) for number in (1, tests))
    return alone, together
