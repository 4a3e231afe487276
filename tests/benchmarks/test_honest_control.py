"""Runs of one recipe, split at random and reported as rungs."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from synthetic import write_run

from recipe.ladder.reading.collect import collect
from recipe.ladder.reading.records import RunRecord

PROJECT = Path(__file__).parents[2]


def control() -> ModuleType:
    spec = importlib.util.spec_from_file_location("honest_control", PROJECT / "benchmarks" / "honest_control.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def runs_of(root: Path, accuracies: np.ndarray) -> list[RunRecord]:
    for seed, acc1 in enumerate(accuracies.tolist()):
        write_run(root, "v2", seed, acc1, predictions=False)
    return collect([root])


def test_few_splits_of_one_recipe_are_called_a_gain(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, np.random.default_rng(0).normal(50, 0.5, 20))
    assert len(runs) == 20
    for rungs, seeds in ((2, 5), (4, 5)):
        assert control().false_calls(runs, rungs, seeds, 60) <= 60 * (0.05 + 2 * np.sqrt(0.05 * 0.95 / 60))


def test_splits_that_happen_to_part_two_recipes_are_called(tmp_path: Path) -> None:
    mixed = np.random.default_rng(0).normal(50, 0.5, 20) + 20 * (np.arange(20) % 2)
    assert control().false_calls(runs_of(tmp_path, mixed), 2, 3, 200) > 0  # about one split in 27 parts them
