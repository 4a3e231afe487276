"""Runs sorted into settings, and settings by what they were trained on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from recipe.ladder.reading.collect import data_of, is_repeated
from recipe.ladder.reading.records import RunRecord, Unit
from recipe.plan.published import NOTHING, Published

CHOICES = ("scale", "data")  # chosen by name: no ingredients, but what ingredients are tried on
CHANGES = ("without", "with")  # one ingredient of a ladder left out, or added


@dataclass(eq=False)
class Setting:
    """Runs that differ in nothing but seed and fold."""

    name: str
    recipe: str
    chain: list[str]  # the recipes that it builds on, and its own
    index: int | None  # of the rung
    published: Published  # NOTHING where the runs are not the rung itself
    chosen: dict[str, str]  # scale and data, where they are not the recipe's
    varied: dict[str, str]  # what else differs from the recipe, by key
    changes: tuple[tuple[str, str], ...]  # ("without", "mixup"), …
    given: frozenset[str]  # keys and groups on the command line
    environment: dict[str, Any]  # of the first run
    runs: dict[Unit, RunRecord] = field(default_factory=dict)  # finished
    others: list[RunRecord] = field(default_factory=list)

    @property
    def config(self) -> dict[str, Any]:
        """Values by dotted key, of the first run."""
        config: dict[str, Any] = self.environment["config"]
        return config

    @property
    def literal(self) -> dict[str, str]:
        """What differs by an override of its own, not by what is left out or added."""
        return {key: value for key, value in self.varied.items() if key in self.given}

    def value(self, key: str) -> str:
        """The value of a key that the runs were trained with, as a command line has it."""
        return self.varied.get(key, text(self.config.get(key)))

    @property
    def folds(self) -> int | None:
        """The number of folds of a cross-validation; None without one."""
        return self.config.get("data.folds") if self.config.get("data.fold") is not None else None


def groups(runs: Iterable[RunRecord]) -> list[list[Setting]]:
    """The settings, those on the same data and at the same scale together. Trials and repeated runs are left out."""
    found: dict[Any, dict[str, Setting]] = {}
    unknown = []
    for run in runs:
        if is_repeated(run):
            continue
        if not run.environment:
            unknown.append(run)
        elif run.environment["config"].get("max_steps") is None:
            new = _setting(run)
            key = (data_of(run), tuple(sorted(new.chosen.items())))
            setting = found.setdefault(key, {}).setdefault(run.name, new)
            if run.problem is None:
                setting.runs[run.unit] = run
            else:
                setting.others.append(run)
    for run in unknown:  # their folder names the setting
        named = [settings[run.name] for settings in found.values() if run.name in settings]
        if named:
            named[0].others.append(run)
    for settings in found.values():
        for setting in settings.values():
            setting.runs = {unit: setting.runs[unit] for unit in sorted(setting.runs, key=unit_order)}
    return [list(settings.values()) for settings in _with_equal_data(found)]


def _with_equal_data(found: dict[Any, dict[str, Setting]]) -> list[dict[str, Setting]]:
    """The groups; one whose recipes choose the data themselves goes to that which has the same by `data=…`."""
    kept = dict(found)
    for key, settings in found.items():
        data, chosen = key[0], dict(key[1])
        if "data" in chosen:
            continue
        first = next(iter(settings.values()))
        same = [
            other
            for other, theirs in found.items()
            if other[0] == data
            and dict(other[1]) == {**chosen, "data": dict(other[1]).get("data")}
            and _data_values(next(iter(theirs.values()))) == _data_values(first)
        ]
        if len(same) == 1:
            kept[same[0]] = {**kept[same[0]], **kept.pop(key)}
    return list(kept.values())


def _data_values(setting: Setting) -> dict[str, Any]:
    return {
        key: value
        for key, value in setting.config.items()
        if key.startswith("data.") and key not in setting.varied and key != "data.fold"
    }


def unit_order(unit: Unit) -> tuple[int, int]:
    """Key to sort units by: seed, then fold."""
    return unit[0], -1 if unit[1] is None else unit[1]


def _setting(run: RunRecord) -> Setting:
    environment = run.environment
    rung, overrides = environment["rung"], [str(override) for override in environment["overrides"]]
    differences = {key: str(value) for key, value in environment["differences"].items() if key != "data.fold"}
    given = [(key.lstrip("+~").partition("@")[0], value) for key, _, value in (o.partition("=") for o in overrides)]
    changes = tuple(
        (key, ", ".join(value.strip("[]").split(","))) for key, value in sorted(given, reverse=True) if key in CHANGES
    )
    names = {key for key, _ in given}
    varied = {key: value for key, value in differences.items() if key not in (*CHOICES, *CHANGES)}
    chosen = {key: value for key, value in differences.items() if key in CHOICES}
    own_scale = {key.removeprefix("scale."): value for key, value in given if key.startswith("scale.")}
    if own_scale:  # what follows from its factors is no override, as it is none of scale=demo
        name = own_scale.pop("name", chosen.get("scale", "own"))
        chosen["scale"] = f"{name} ({', '.join(f'{key}={value}' for key, value in sorted(own_scale.items()))})"
        varied = {key: value for key, value in varied.items() if key in names or key.partition(".")[0] in names}
    if "epochs" in names and not names & {"schedule", "schedule.step_size", *CHANGES}:
        varied.pop("schedule.step_size", None)  # it follows the epochs: recipe.plan.scaling
    return Setting(
        name=run.name,
        recipe=run.recipe,
        chain=list(rung["chain"]),
        index=rung["index"],
        published=NOTHING if varied or changes else run.published,
        chosen=chosen,
        varied=varied,
        changes=changes,
        given=frozenset(key for key, _ in given),
        environment=environment,
    )


def text(value: Any) -> str:
    """A value as a command line has it; stored_config.text, without what that imports."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]"
    return format(value, ".12g") if isinstance(value, float) else str(value)


def differing(one: Setting, other: Setting) -> list[str]:
    """The keys of which two settings were trained with different values, sorted; those beside seed and fold."""
    keys = (one.config.keys() | other.config.keys()) - {"seed", "data.fold"}
    return sorted(key for key in keys if one.config.get(key) != other.config.get(key))
