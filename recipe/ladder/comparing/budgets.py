"""The same comparison at several budgets, lined up: how what an ingredient is worth changes with length or photos."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recipe.config import Config
from recipe.ladder.comparing.comparison import Comparison, Row
from recipe.ladder.comparing.crossing import At
from recipe.schema import leaves

# What may differ between two budgets of a kind, and nothing else may.
LENGTHS = frozenset(key for key, _, about in leaves(Config()) if str(about.get("unit", "")).startswith("epochs"))
AXES = {
    "training images seen": LENGTHS | {"scale.epochs", "scale.evaluate_every"},
    "training photos": frozenset({"data.first_per_class"}),
}
BESIDE = frozenset({"seed", "data.fold", "data.root"})  # differs between runs of one setting, or says nothing


@dataclass(frozen=True)
class Ingredient:
    """A setting's gain over the one that it is compared with, from the smallest budget to the largest."""

    label: str
    gains: list[At]
    verdicts: list[str]  # at each budget, of its own table: helps, hurts, unresolved (…)


@dataclass(frozen=True)
class Series:
    """Comparisons of the same settings at two budgets or more."""

    axis: str  # of AXES: what the budgets are counted in
    comparisons: list[Comparison]  # the smallest budget first
    ingredients: list[Ingredient]


def series(comparisons: Sequence[Comparison]) -> list[Series]:
    """The comparisons that differ in budget alone, those that have two or more runs of each setting."""
    found = []
    for axis, keys in AXES.items():
        alike: dict[str, list[Comparison]] = {}
        for comparison in comparisons:
            if len(comparison.rows) > 1 and comparison.rows[0].runs and _counted(comparison, axis):
                alike.setdefault(_all_but(keys, comparison), []).append(comparison)
        for those in alike.values():
            ordered = sorted(those, key=lambda one: _budget(one.rows[0], axis))
            ingredients = _ingredients(ordered, axis, keys)
            if len({_budget(one.rows[0], axis) for one in ordered}) > 1 and ingredients:
                found.append(Series(axis, ordered, ingredients))
    return found


def _ingredients(ordered: Sequence[Comparison], axis: str, keys: frozenset[str]) -> list[Ingredient]:
    points: dict[tuple[str, str], list[tuple[At, str]]] = {}
    for comparison in ordered:
        for row in comparison.rows[1:]:
            if row.gain is not None and row.runs and not math.isnan(row.gain.interval[0]):
                at = At(_budget(row, axis), row.gain.difference.mean, *row.gain.interval)
                points.setdefault((row.label, _trained(row, keys)), []).append((at, row.gain.verdict))
    grow = {key: those for key, those in points.items() if len({at.budget for at, _ in those}) == len(those) > 1}
    return [
        Ingredient(label, [at for at, _ in those], [verdict for _, verdict in those])
        for (label, _), those in grow.items()
    ]


def _counted(comparison: Comparison, axis: str) -> bool:
    """Whether its runs say how large their budget is: those of the first version have not kept the number of photos."""
    runs = [run for row in comparison.rows for run in row.runs.values()]
    return axis != "training photos" or all("images" in run.environment for run in runs)


def _budget(row: Row, axis: str) -> float:
    """Of a run of the setting."""
    if axis == "training photos":
        return float(np.mean([run.environment["images"]["train"] for run in row.runs.values()]))
    return row.images


def _all_but(keys: frozenset[str], comparison: Comparison) -> str:
    """What two comparisons must have in common, as text."""
    first = comparison.rows[0]
    data = _first(first)["data"]
    fingerprints = [data["val"]] if "data.first_per_class" in keys else [data["train"], data["val"]]
    return json.dumps([comparison.shape, comparison.varied, fingerprints, first.label, _trained(first, keys)])


def _trained(row: Row, keys: frozenset[str]) -> str:
    """A setting's values but those of the budget, as text."""
    config = _first(row)["config"]
    left = {key: value for key, value in config.items() if key not in keys | BESIDE}
    return json.dumps([_first(row)["rung"]["name"], left], sort_keys=True)


def _first(row: Row) -> dict[str, Any]:
    return next(iter(row.runs.values())).environment
