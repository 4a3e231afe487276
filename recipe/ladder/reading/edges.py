"""What each setting is compared with: the nearest that differs from it in what is in question, and in nothing else."""

from collections.abc import Callable
from itertools import groupby
from typing import Any, NamedTuple

from recipe.ladder.reading.settings import Setting, differing

SHAPES = {"without": "leave-one-out", "with": "add-one-in"}  # by the change


class Edge(NamedTuple):
    """What a setting is compared with, and as what."""

    parent: Setting
    shape: str
    passed_over: Setting | None = None  # a nearer one that is no contrast: it differs in several things at once


def edges_of(settings: list[Setting]) -> dict[str, Edge]:
    """What each setting is compared with, by its name; those that are compared with nothing are not in it."""
    ranks = ranks_of(settings)
    edges = {}
    for setting in settings:
        edge = (
            _changed_from(setting, settings)
            or _rung_below(setting, settings, ranks, _varied_alike)
            or _plainer(setting, settings)
        )
        if edge is not None:
            edges[setting.name] = edge
    alone = [setting for setting in settings if setting.name not in edges and not setting.changes and setting.varied]

    def kind(setting: Setting) -> tuple[str, ...]:
        return setting.recipe, *sorted(setting.varied)

    for _, same in groupby(sorted(alone, key=kind), kind):
        reference, *others = sorted(same, key=lambda setting: sort_key(setting, list(setting.varied)))
        edges |= {other.name: Edge(_towards(reference, other, others), "sweep") for other in others}
    for setting in settings:
        if setting.name not in edges and (edge := _rung_below(setting, settings, ranks, _trained_alike)):
            edges[setting.name] = edge
    return edges


def _towards(reference: Setting, setting: Setting, others: list[Setting]) -> Setting:
    """What a setting of a grid is compared with: one with the reference's value of one more key, where it was run.

    The reference itself differs from most of a grid in several values at once, which is no contrast.
    """
    apart = [key for key, value in setting.varied.items() if reference.varied[key] != value]
    closer = [{**setting.varied, key: reference.varied[key]} for key in apart]
    return next((other for varied in closer for other in others if other.varied == varied), reference)


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


def ranks_of(settings: list[Setting]) -> dict[str, int]:
    """By recipe: its index, but never less than that of one that it builds on (which rules out loops); -1: unknown."""
    index = {one.recipe: -1 if one.index is None else one.index for one in settings}
    return {one.recipe: max([-1, *(index[name] for name in one.chain if name in index)]) for one in settings}


def _rung_below(
    setting: Setting, settings: list[Setting], ranks: dict[str, int], alike: Callable[[Setting, Setting], bool]
) -> Edge | None:
    """The nearest recipe with the same overrides that it builds on, or that has a lower index on the same base.

    One that it does not build on makes a contrast only if none of the others lies between: in a 2x2 of two ingredients
    the last differs from the first in both at once, and from each of the others in one.
    """
    if setting.changes:
        return None
    below = []
    for other in settings:
        if other.recipe == setting.recipe or other.changes or not alike(setting, other):
            continue
        rank = ranks[other.recipe]
        if other.recipe in setting.chain:
            below.append((rank, setting.chain.index(other.recipe), other))
            continue
        same_ladder = None not in (setting.index, other.index) and other.chain[:1] == setting.chain[:1]
        if same_ladder and rank < ranks[setting.recipe]:
            below.append((rank, -1, other))
    if not below:
        return None
    below.sort(key=lambda found: found[:2], reverse=True)
    candidates = [other for _, _, other in below]
    contrasts = [
        other
        for _, place, other in below
        if place >= 0 or not any(_is_between(setting, each, other) for each in candidates)
    ]
    return Edge(contrasts[0], "ladder", candidates[0] if candidates[0] is not contrasts[0] else None)


def _varied_alike(one: Setting, other: Setting) -> bool:
    return one.varied == other.varied


def _trained_alike(one: Setting, other: Setting) -> bool:
    """Whether what is overridden in either has the same value in both, be it by an override or by the recipe."""
    return all(one.value(key) == other.value(key) for key in one.varied.keys() | other.varied.keys())


def _is_between(one: Setting, middle: Setting, other: Setting) -> bool:
    """Whether a setting has the values of one of two others throughout, and is neither of them."""
    apart, from_one, from_other = (set(differing(*pair)) for pair in ((one, other), (one, middle), (middle, other)))
    return from_one < apart and from_other < apart and not from_one & from_other


def _plainer(setting: Setting, settings: list[Setting]) -> Edge | None:
    """What a setting is compared with: the same recipe with some of its differences."""
    if setting.changes:
        return None
    items = setting.varied.items()
    plainer = [o for o in settings if o.recipe == setting.recipe and not o.changes and o.varied.items() < items]
    return Edge(max(plainer, key=lambda other: len(other.varied)), "sweep") if plainer else None


def sort_key(setting: Setting, keys: list[str]) -> list[tuple[int, float, str]]:
    """Key to sort settings by the values of some keys: numbers first."""
    return [_sortable(setting.config.get(key, setting.varied.get(key))) for key in keys]


def _sortable(value: Any) -> tuple[int, float, str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0, float(value), ""
    return 1, 0.0, str(value)
