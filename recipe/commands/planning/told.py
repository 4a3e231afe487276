"""A plan as text for a terminal of any width, and as JSON."""

import math
import textwrap
from typing import Any, NamedTuple

from recipe.commands.planning import devices, rates
from recipe.commands.planning.costs import Ladder, OneRun
from recipe.commands.planning.devices import OnDevices
from recipe.commands.planning.measured import MeasuredSpreads
from recipe.commands.planning.seeds import Needed
from recipe.ingredients.resizing import pixels
from recipe.ladder.telling.layout import Column, fitted, lines
from recipe.output import count

NOTHING = "No seeds to count: there is no published gain of one over a recipe that it builds on among"


class Planned(NamedTuple):
    """All that `recipe plan` has to say."""

    sd: float  # points, of one recipe's runs
    measured: MeasuredSpreads | None  # where sd is from runs
    needed: list[Needed]
    trainings: list[OneRun]
    ladder: Ladder | None
    spread: list[OnDevices] | None  # of the last recipe, on 1 to 512 devices; None where something is not known
    price: float | None  # of a device-hour
    devices: int | None
    cores: float | None  # of each device
    links: tuple[float, float]


def text(plan: Planned, width: int) -> str:
    """The tables, each with what it rests on."""
    blocks = [_seeds(plan, width), _costs(plan, width)]
    if plan.ladder is not None:
        blocks.append(_paragraphs(_ladder(plan, plan.ladder), width))
    blocks.append(_devices(plan, width))
    return "\n\n".join(block for block in blocks if block)


def as_json(plan: Planned) -> dict[str, Any]:
    """The same figures, for programs: hours of a device, seconds, points; null where something is not known."""
    ladder = plan.ladder
    resolving: dict[str, float | None] = ladder.resolving if ladder else {}
    return {
        "sd": plan.sd,
        "sd_from": "runs" if plan.measured else "assumed",
        "gains": [
            {
                "recipe": one.name,
                "over": one.over,
                "published_gain": round(one.gain, 6),
                "sd_of_difference": one.sd,
                "seeds_alone": one.alone,
                "seeds_in_ladder": one.in_ladder,
                "at_most": one.at_most,
                "device_hours_alone": resolving.get(one.name),
            }
            for one in plan.needed
        ],
        "runs": [
            {
                "recipe": one.name,
                "pixels": one.config.resolution.train_crop,
                "epochs": one.config.epochs,
                "images": one.images,
                "images_per_second": one.rate,
                "source": one.source,
                "device_hours": one.device_hours,
                "trained_as": one.shared_with,
                "money": _money(one.device_hours, plan.price),
                "loader_cores": one.cores,
            }
            for one in plan.trainings
        ],
        "ladder": ladder
        and {
            "trainings": ladder.trained,
            "device_hours_once": ladder.once,
            "device_hours_at_needed_seeds": ladder.at_needed,
            "seeds": [ladder.fewest, ladder.most],
            "over_1000_seeds": ladder.left_out,
            "money_once": _money(ladder.once, plan.price),
            "money_at_needed_seeds": _money(ladder.at_needed, plan.price),
        },
        "devices_of": plan.trainings[-1].name,
        "devices": [one._asdict() for one in plan.spread] if plan.spread else None,
    }


def _seeds(plan: Planned, width: int) -> str:
    if not plan.needed:
        return "\n".join(textwrap.wrap(f"{NOTHING} {', '.join(one.name for one in plan.trainings)}.", width))
    columns = [
        Column("label", "recipe", [one.name for one in plan.needed], 100),
        Column("over", "over", [one.over for one in plan.needed], 10),
        Column("gain", "published", [f"{one.gain:+.3f}" for one in plan.needed], 100),
        Column("alone", "alone", [_count(one.alone, one.at_most) for one in plan.needed], 100),
        Column("ladder", "in ladder", [_count(one.in_ladder, one.at_most) for one in plan.needed], 100),
    ]
    said = ["Seeds that would confirm each published gain in 4 of 5 cases"]
    found = plan.measured
    if found is None:
        spread = f"The sd over seeds, {plan.sd:g} points, is an assumption; --from multirun_outputs takes it from runs."
    else:
        pairs = sum((one.name, one.over) in found.of_differences for one in plan.needed)
        spread = (
            f"The sd over seeds, {plan.sd:.3g} points, is of {count(found.settings, 'setting')} with several runs "
            f"({count(found.freedom, 'degree')} of freedom). Of these gains {pairs} were run themselves: there the "
            "spread is that of the report. Few runs hardly tell a spread, and at another scale or on other data it is "
            "another."
        )
    below = [
        f"Paired t-tests at 5%; in the ladder, at 5% / {len(plan.needed)}, as Holm's first step has it. "
        f"{spread} recipe report also lends spreads from rung to rung, and may need fewer."
    ]
    if any(one.at_most for one in plan.needed):
        names = ", ".join(one.name for one in plan.needed if one.at_most)
        below.append(
            f"≤: {names} evaluate one training together with what they are compared with, so the two figures of a seed "
            "go up and down together, and fewer seeds will do; how many, runs must tell."
        )
    return "\n".join([*said, *lines(fitted(columns, width)), *_paragraphs_of(below, width)])


def _costs(plan: Planned, width: int) -> str:
    found, resolving = plan.trainings, plan.ladder.resolving if plan.ladder else {}
    columns = [
        Column("label", "recipe", [one.name for one in found], 100),
        Column("pixels", "px", [f"{math.sqrt(pixels(one.config)):.0f}" for one in found], 100),
        Column("rate", "images/s", [_number(one.rate) for one in found], 100),
        Column("hours", "hours", [_run_hours(one) for one in found], 100),
        *_priced("money", "money", [None if one.shared_with else one.device_hours for one in found], plan.price),
        Column("resolve", "to confirm", [_number(resolving.get(one.name)) for one in found], 100),
        *_priced("resolved", "money", [resolving.get(one.name) for one in found], plan.price),
        Column("cores", "cores", [_number(one.cores) for one in found], 90),
    ]
    below = [
        "Hours of one device: for one run; to confirm: for both recipes at the seeds that confirm the gain alone. "
        f"Cores: that load as many images a second as one device trains, {rates.LOADER_SOURCE}."
    ]
    below += [f"Images a second: {source}." for source in dict.fromkeys(one.source for one in found)]
    shared: dict[str, list[str]] = {}
    for one in found:
        if one.shared_with:
            shared.setdefault(one.shared_with, []).append(one.name)
    below += [
        f"0: {' and '.join(names)} evaluate{'s' if len(names) == 1 else ''} the training of {first} once more; "
        "it counts once."
        for first, names in shared.items()
    ]
    return "\n".join(["What one run takes", *lines(fitted(columns, width)), *_paragraphs_of(below, width)])


def _ladder(plan: Planned, ladder: Ladder) -> list[str]:
    def amount(hours: float) -> str:
        money = _money(hours, plan.price)
        return f"{_number(hours)} device-hours" + (f" = {money:,.0f}" if money is not None else "")

    def days(hours: float) -> str:
        if plan.devices is None:
            return ""
        return f", on {count(plan.devices, 'device')} side by side {_number(hours / plan.devices / 24)} days"

    said = [
        f"The ladder once ({count(ladder.trained, 'training')}): {amount(ladder.once)}{days(ladder.once)}.",
    ]
    if plan.needed:
        said.append(
            f"The ladder at the seeds that each gain needs in it ({_range(ladder.fewest, ladder.most)} for a recipe): "
            f"{amount(ladder.at_needed)}{days(ladder.at_needed)}."
        )
    if ladder.left_out:
        said.append(f"Not in that: {', '.join(ladder.left_out)}, which over 1,000 seeds would not confirm.")
    return said


def _devices(plan: Planned, width: int) -> str:
    last, found = plan.trainings[-1], plan.spread
    if not found:
        known = last.config.model.name in devices.PARAMETERS
        return "" if known else f"Devices: the number of parameters of {last.config.model.name} is not known here."
    columns = [
        Column("label", "devices", [str(one.devices) for one in found], 100),
        Column("epoch", "epoch", [_time(one.epoch_seconds) for one in found], 100),
        Column("run", "run", [_time(3600 * one.hours) for one in found], 100),
        Column("efficiency", "efficiency", [f"{one.efficiency:.0%}" for one in found], 100),
        Column("verdict", "lost to", [one.limit for one in found], 10),
        Column("over", "micro-batches of a device", [_micro(one, last) for one in found], 100),
    ]
    inside, between = plan.links
    cores = "has all cores that it needs" if plan.cores is None else f"has {plan.cores:g} cores to load with"
    below = [
        "A model, not a measurement: a device computes at the rate above whatever its share of a batch, "
        f"{cores}, and adds up the gradients once a step around a ring, {inside:g} GB/s a device within a node of "
        f"{devices.PER_NODE} and {between:g} between nodes, {1e6 * devices.LATENCY:.0f} µs a hop (assumed; --links), "
        f"none of it hidden behind computing. {rates.SCALING}",
    ]
    if any(one.micro_batch not in (None, last.config.micro_batch_size) for one in found):
        below.append("*: another micro-batch than the recipe's, so other batch-norm batches: another experiment.")
    title = f"{last.name} on more devices (a step of {last.config.batch_size} images)"
    return "\n".join([title, *lines(fitted(columns, width)), *_paragraphs_of(below, width)])


def _range(fewest: int, most: int) -> str:
    return str(most) if fewest == most else f"{fewest} to {most}"


def _micro(one: OnDevices, last: OneRun) -> str:
    if one.micro_batches is None:
        return "the batch cannot be shared so"
    star = "" if one.micro_batch == last.config.micro_batch_size else " *"
    return f"{one.micro_batches} x {one.micro_batch}{star}"


def _priced(key: str, header: str, hours: list[float | None], price: float | None) -> list[Column]:
    if price is None:
        return []
    return [Column(key, header, [_number(_money(each, price)) for each in hours], 100)]


def _money(hours: float | None, price: float | None) -> float | None:
    return hours * price if hours is not None and price is not None else None


def _run_hours(one: OneRun) -> str:
    return "0" if one.shared_with and one.device_hours is not None else _number(one.device_hours)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _count(seeds: int | None, at_most: bool) -> str:
    return ">1000" if seeds is None else f"{'≤' if at_most else ''}{seeds}"


def _time(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _paragraphs(said: list[str], width: int) -> str:
    return "\n".join(_paragraphs_of(said, width))


def _paragraphs_of(said: list[str], width: int) -> list[str]:
    return [line for each in said for line in textwrap.wrap(each, width, break_on_hyphens=False)]
