"""Runs sorted into settings, what each setting is compared with, and which of them make a table."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from recipe.ladder.reading.collect import data_of, is_repeated
from recipe.ladder.reading.records import RunRecord, Unit
from recipe.plan.published import NOTHING, Published

CHOICES = ("scale", "data")  # chosen by name: no ingredients, but what ingredients are tried on
CHANGES = ("without", "with")  # one ingredient of a ladder left out, or added
SHAPES = {"without": "leave-one-out", "with": "add-one-in"}
ORDER = ("ladder", "leave-one-out", "add-one-in", "sweep", "folds")


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

    @property
    def folds(self) -> int | None:
        """The number of folds of a cross-validation; None without one."""
        return self.config.get("data.folds") if self.config.get("data.fold") is not None else None


class Edge(NamedTuple):
    """What a setting is compared with, and as what."""

    parent: Setting
    shape: str


class Table(NamedTuple):
    """Settings that are shown together, the baseline first."""

    shape: str
    members: list[Setting]
    parents: dict[str, Setting]  # by the name of the setting that is compared
    varied: list[str]  # the keys of a sweep


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
    return [list(settings.values()) for settings in found.values()]


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
    varied = {key: value for key, value in differences.items() if key not in (*CHOICES, *CHANGES)}
    names = {key for key, _ in given}
    if "epochs" in names and not names & {"schedule", "schedule.step_size", *CHANGES}:
        varied.pop("schedule.step_size", None)  # it follows the epochs: recipe.plan.scaling
    return Setting(
        name=run.name,
        recipe=run.recipe,
        chain=list(rung["chain"]),
        index=rung["index"],
        published=NOTHING if varied or changes else run.published,
        chosen={key: value for key, value in differences.items() if key in CHOICES},
        varied=varied,
        changes=changes,
        given=frozenset(key for key, _ in given),
        environment=environment,
    )


def tables(settings: list[Setting]) -> list[Table]:
    """The tables of settings on the same data. A setting may stand in several, as a rung and as a sweep's reference."""
    edges = edges_of(settings)
    found = [*_ladders(settings, edges), *_changes(settings, edges), *_sweeps(settings, edges)]
    shown = {id(member) for table in found for member in table.members}
    for setting in settings:
        if id(setting) not in shown:
            found.append(Table("ladder" if setting.folds is None else "folds", [setting], {}, []))
    return sorted(found, key=lambda table: (len(table.members) == 1, ORDER.index(table.shape)))


def edges_of(settings: list[Setting]) -> dict[str, Edge]:
    """What each setting is compared with, by its name; those that are compared with nothing are not in it."""
    ranks = _ranks(settings)
    edges = {}
    for setting in settings:
        edge = _changed_from(setting, settings) or _rung_below(setting, settings, ranks) or _plainer(setting, settings)
        if edge is not None:
            edges[setting.name] = edge
    alone = [setting for setting in settings if setting.name not in edges and not setting.changes and setting.varied]

    def kind(setting: Setting) -> tuple[str, ...]:
        return setting.recipe, *sorted(setting.varied)

    for _, same in groupby(sorted(alone, key=kind), kind):
        reference, *others = sorted(same, key=lambda setting: sort_key(setting, list(setting.varied)))
        edges |= {other.name: Edge(reference, "sweep") for other in others}
    return edges


def _changed_from(setting: Setting, settings: list[Setting]) -> Edge | None:
    """What a setting with +without=… or +with=… is compared with: the same recipe and overrides, without that.

    Where that was not run: the one that shares most of the overrides and has no others. `+with=mixup
    mix.mixup_alpha=0.4` is so compared with the recipe itself, and its label says both.
    """
    if not setting.changes:
        return None
    literal = setting.literal.keys()
    plain = [
        other
        for other in settings
        if other.recipe == setting.recipe and not other.changes and _is_given(other.varied, setting)
    ]
    if not plain:
        return None
    return Edge(max(plain, key=lambda other: len(other.varied.keys() & literal)), SHAPES[setting.changes[0][0]])


def _is_given(varied: dict[str, str], setting: Setting) -> bool:
    """Whether a setting has these values, and by overrides of its own."""
    given = setting.given
    literal = all(key in given or key.partition(".")[0] in given for key in varied)
    return literal and varied.items() <= setting.varied.items()


def _ranks(settings: list[Setting]) -> dict[str, int]:
    """By recipe: its index, but never less than that of one that it builds on (which rules out loops); -1: unknown."""
    index = {one.recipe: -1 if one.index is None else one.index for one in settings}
    return {one.recipe: max([-1, *(index[name] for name in one.chain if name in index)]) for one in settings}


def _rung_below(setting: Setting, settings: list[Setting], ranks: dict[str, int]) -> Edge | None:
    """The nearest recipe with the same differences that it builds on, or that has a lower index on the same base."""
    if setting.changes:
        return None
    below = []
    for other in settings:
        if other.recipe == setting.recipe or other.varied != setting.varied or other.changes:
            continue
        rank = ranks[other.recipe]
        if other.recipe in setting.chain:
            below.append((rank, setting.chain.index(other.recipe), other))
            continue
        same_ladder = None not in (setting.index, other.index) and other.chain[:1] == setting.chain[:1]
        if same_ladder and rank < ranks[setting.recipe]:
            below.append((rank, -1, other))
    return Edge(max(below, key=lambda found: found[:2])[2], "ladder") if below else None


def _plainer(setting: Setting, settings: list[Setting]) -> Edge | None:
    """What a setting is compared with: the same recipe with some of its differences."""
    if setting.changes:
        return None
    items = setting.varied.items()
    plainer = [o for o in settings if o.recipe == setting.recipe and not o.changes and o.varied.items() < items]
    return Edge(max(plainer, key=lambda other: len(other.varied)), "sweep") if plainer else None


def _ladders(settings: list[Setting], edges: dict[str, Edge]) -> list[Table]:
    ranks = _ranks(settings)
    found = []
    for root, members in _components(settings, edges, "ladder"):
        rest = sorted(members, key=lambda one: (ranks[one.recipe], len(one.chain), one.recipe))
        parents = {one.name: edges[one.name].parent for one in rest}
        found.append(Table("ladder", [root, *rest], parents, []))
    return found


def _changes(settings: list[Setting], edges: dict[str, Edge]) -> list[Table]:
    found = []
    for shape in SHAPES.values():
        for root, members in _components(settings, edges, shape):
            rest = sorted(members, key=lambda one: one.changes)
            found.append(Table(shape, [root, *rest], {one.name: root for one in rest}, []))
    return found


def _sweeps(settings: list[Setting], edges: dict[str, Edge]) -> list[Table]:
    """One table for the keys that were varied together."""
    found = []
    for root, members in _components(settings, edges, "sweep"):
        changed = {one.name: _changed_keys(root, one) for one in members}
        for keys in _joined(changed.values()):
            mine = [one for one in members if changed[one.name] <= keys]
            rest = sorted(mine, key=lambda one: sort_key(one, sorted(keys)))
            parents = {one.name: edges[one.name].parent for one in rest}
            found.append(Table("sweep", [root, *rest], parents, sorted(keys)))
    return found


def _changed_keys(root: Setting, one: Setting) -> set[str]:
    return {key for key in root.varied.keys() | one.varied.keys() if root.varied.get(key) != one.varied.get(key)}


def _joined(sets: Iterable[set[str]]) -> list[set[str]]:
    """Sets that overlap, united."""
    joined: list[set[str]] = []
    for keys in sets:
        overlapping = [other for other in joined if other & keys]
        joined = [other for other in joined if not other & keys]
        joined.append(keys.union(*overlapping))
    return joined


def _components(settings: list[Setting], edges: dict[str, Edge], shape: str) -> list[tuple[Setting, list[Setting]]]:
    """The settings that edges of one shape connect: the one that all others go back to, and the others."""
    members: dict[str, list[Setting]] = {}
    roots: dict[str, Setting] = {}
    for setting in settings:
        root = setting
        while root.name in edges and edges[root.name].shape == shape:
            root = edges[root.name].parent
        if root is not setting:
            roots[root.name] = root
            members.setdefault(root.name, []).append(setting)
    return [(roots[name], members[name]) for name in roots]


def sort_key(setting: Setting, keys: list[str]) -> list[tuple[int, float, str]]:
    """Key to sort settings by the values of some keys: numbers first."""
    return [_sortable(setting.config.get(key, setting.varied.get(key))) for key in keys]


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value), ""
    return 1, 0.0, str(value)
