"""What training each recipe takes, in device-hours, and what the seeds that its gain needs take."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recipe.commands.planning import rates
from recipe.commands.planning.seeds import Needed
from recipe.config import Config
from recipe.ingredients.resizing import pixels
from recipe.plan.hashes import training_hash
from recipe.sweep import estimate

UNKNOWN_RATE = "images a second of {model} are not known here: --rate IMAGES_PER_S, or --from finished runs of it"
UNKNOWN_IMAGES = "how many images data={data} has is not known here: --images N, or --from finished runs on it"


class OneRun(NamedTuple):
    """One run of a recipe."""

    name: str
    config: Config
    hash: str  # of what is trained
    shared_with: str | None  # an earlier recipe of the list whose training this evaluates once more
    images: int | None  # of the training set
    rate: float | None  # images a second of a device, at this recipe's pixels
    source: str  # of the rate, or why there is none
    device_hours: float | None  # of one run; where it is shared, 0: nothing is trained
    loader_ms: float  # milliseconds of a core for an image

    @property
    def cores(self) -> float | None:
        """Cores that load as many images a second as one device trains."""
        return self.rate * self.loader_ms / 1000 if self.rate is not None else None


def trainings(
    configs: Mapping[str, Config],
    option: str,
    images: int | None,
    known: estimate.Earlier,
    given: rates.GivenRate | None,
) -> list[OneRun]:
    """What one run of each recipe takes.

    Args:
        configs: by the recipe's name, in order.
        option: the choice of `data`.
        images: of the training set; None: as the data set is known, or earlier runs found it.
        known: what finished runs tell.
        given: the rate; None: of earlier runs of that model, else the published one, of ResNet-50 alone.
    """
    found: list[OneRun] = []
    first: dict[str, str] = {}
    for name, config in configs.items():
        rate = _rate(config, known, given)
        number = images or estimate.num_images(config, option, known)
        hashed = training_hash(config)
        shared_with = first.get(hashed)
        first.setdefault(hashed, name)
        hours = estimate.device_hours(config, number, rate) if rate and number else None
        source = rate.source if rate else UNKNOWN_RATE.format(model=config.model.name)
        found.append(
            OneRun(
                name=name,
                config=config,
                hash=hashed,
                shared_with=shared_with,
                images=number,
                rate=rate.images_per_second if rate else None,
                source=source if number or not rate else UNKNOWN_IMAGES.format(data=option),
                device_hours=0.0 if shared_with and hours is not None else hours,
                loader_ms=rates.loading_milliseconds(config),
            )
        )
    return found


def _rate(config: Config, known: estimate.Earlier, given: rates.GivenRate | None) -> estimate.Rate | None:
    side = pixels(config) ** 0.5  # images may grow
    if given is None:
        if (measured := estimate.rate_of(config, known)) is not None:
            return measured
        if config.model.name != rates.MODEL or config.model.freeze != "none":
            return None
        given = rates.given(rates.DEFAULT)
    return estimate.Rate(rates.at(given, side), f"{given.source}; other sizes in proportion to their pixels")


class Ladder(NamedTuple):
    """What all of the named recipes take together, device-hours."""

    trained: int  # trainings for each seed
    once: float  # one seed
    resolving: dict[str, float | None]  # by gain: both of its recipes, at the seeds that confirm it by itself
    at_needed: float  # each recipe with the seeds that the gains it stands in need in the ladder
    fewest: int  # of these seeds
    most: int
    left_out: list[str]  # gains that need more than 1,000 seeds


def ladder(of: Sequence[OneRun], needed: Sequence[Needed]) -> Ladder | None:
    """The sums; None where the hours of any recipe are not known."""
    hours: dict[str, float] = {}
    for one in of:
        if one.device_hours is None:
            return None
        hours[one.hash] = hours.get(one.hash, 0.0) + one.device_hours
    hashes = {one.name: one.hash for one in of}
    resolving: dict[str, float | None] = {}
    seeds = dict.fromkeys(hours, 1)
    for gain in needed:
        pair = {hashes[gain.name], hashes[gain.over]}
        resolving[gain.name] = gain.alone * sum(hours[each] for each in pair) if gain.alone else None
        for each in pair:
            seeds[each] = max(seeds[each], gain.in_ladder or 1)
    return Ladder(
        trained=len(hours),
        once=sum(hours.values()),
        resolving=resolving,
        at_needed=sum(seeds[each] * hours[each] for each in hours),
        fewest=min(seeds.values()),
        most=max(seeds.values()),
        left_out=[gain.name for gain in needed if gain.in_ladder is None],
    )
