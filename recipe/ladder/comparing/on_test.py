"""Comparisons with the same ones on test images beside them."""

from collections.abc import Sequence
from typing import Any

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.reading.on_test import is_validated_on_test, on_test_images
from recipe.ladder.reading.records import RunRecord


def compare_with_test_images(runs: Sequence[RunRecord]) -> list[Comparison]:
    """The tables that runs make, each with `on_test`: the same settings compared on images that chose nothing.

    Raises RunError where no run was evaluated on test images.
    """
    validated, tested = on_test_images(runs)
    by_settings = {_settings(comparison): comparison for comparison in compare(tested)}
    comparisons = compare(validated)
    for comparison in comparisons:
        found = by_settings.get(_settings(comparison))
        if all(is_validated_on_test(run) for row in comparison.rows for run in row.runs.values()):
            comparison.title += ", test images"
        elif found is not None and any(row.runs for row in found.rows):
            comparison.on_test = found
    return comparisons


def _settings(comparison: Comparison) -> tuple[Any, ...]:
    """What two tables of the same settings on different images have in common."""
    first = comparison.rows[0]
    environments = [run.environment for run in (*first.runs.values(), *first.others) if run.environment]
    return comparison.shape, tuple(row.name for row in comparison.rows), environments[0]["data"]["train"]
