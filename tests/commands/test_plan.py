"""`recipe plan`: seeds that the published gains of a ladder need."""

import subprocess
import sys

import pytest

from recipe.commands import plan
from recipe.errors import ConfigError


def _said(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "recipe", "plan", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_mixup_needs_more_seeds_in_the_ladder_than_alone() -> None:
    said = _said("+recipe=glob(r*)")
    assert said.returncode == 0, said.stderr
    [line] = [line for line in said.stdout.splitlines() if line.startswith("r06_mixup")]
    assert line.split() == ["r06_mixup", "r05_label_smoothing", "+0.118", "19", "33"]


def test_twice_the_noise_takes_about_four_times_the_seeds() -> None:
    alone = [int(plan.seeds(0.118, sd, 12)[0]) for sd in (0.12, 0.24)]
    assert 3.5 < alone[1] / alone[0] < 4.5
    assert plan.seeds(0.001, 0.12, 12) == ("over 1000", "over 1000")


def test_a_gap_is_compared_with_the_nearest_rung_named() -> None:
    [(name, (over, gain))] = plan.published_gains(["r00_baseline", "r06_mixup"]).items()
    assert (name, over) == ("r06_mixup", "r00_baseline")
    assert gain == pytest.approx(79.232 - 76.130)


@pytest.mark.parametrize("text", ["recipe=r00", "+recipe=nothing", "+recipe=glob(zz*)", "+recipe="])
def test_what_names_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        plan.chosen(text)


def test_a_spread_of_nothing_is_refused() -> None:
    said = _said("+recipe=glob(r*)", "--sd", "0")
    assert said.returncode == 2
    assert "--sd 0: must be above 0" in said.stderr
