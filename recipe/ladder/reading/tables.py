"""Which settings are shown together: ladders, ingredients left out or added, sweeps over the same keys."""

from collections.abc import Iterable
from typing import NamedTuple

from recipe.ladder.reading.edges import SHAPES, Edge, edges_of, ranks_of, sort_key
from recipe.ladder.reading.settings import Setting

ORDER = ("ladder", "leave-one-out", "add-one-in", "sweep", "folds")


class Table(NamedTuple):
    """Settings that are shown together, the baseline first."""

    shape: str
    members: list[Setting]
    parents: dict[str, Setting]  # by the name of the setting that is compared
    varied: list[str]  # the keys of a sweep
    passed_over: dict[str, Setting]  # by the same: a nearer setting that makes no contrast


def tables(settings: list[Setting]) -> list[Table]:
    """The tables of settings on the same data. A setting may stand in several, as a rung and as a sweep's reference."""
    edges = edges_of(settings)
    found = [*_ladders(settings, edges), *_changes(settings, edges), *_sweeps(settings, edges)]
    shown = {id(member) for table in found for member in table.members}
    for setting in settings:
        if id(setting) not in shown:
            found.append(Table("ladder" if setting.folds is None else "folds", [setting], {}, [], {}))
    return sorted(found, key=lambda table: (len(table.members) == 1, ORDER.index(table.shape)))


def _ladders(settings: list[Setting], edges: dict[str, Edge]) -> list[Table]:
    ranks = ranks_of(settings)
    found = []
    for root, members in _components(settings, edges, "ladder"):
        rest = sorted(members, key=lambda one: (ranks[one.recipe], len(one.chain), one.recipe))
        parents = {one.name: edges[one.name].parent for one in rest}
        passed = {one.name: nearer for one in rest if (nearer := edges[one.name].passed_over) is not None}
        found.append(Table("ladder", [root, *rest], parents, [], passed))
    return found


def _changes(settings: list[Setting], edges: dict[str, Edge]) -> list[Table]:
    found = []
    for shape in SHAPES.values():
        for root, members in _components(settings, edges, shape):
            rest = sorted(members, key=lambda one: one.changes)
            found.append(Table(shape, [root, *rest], {one.name: root for one in rest}, [], {}))
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
            found.append(Table("sweep", [root, *rest], parents, sorted(keys), {}))
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
