"""Comparisons at several budgets, lined up: from run folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from synthetic import TRAIN_FINGERPRINT, VAL_FINGERPRINT, write_run

from recipe.ladder.comparing.budgets import Series, series
from recipe.ladder.comparing.compare import compare
from recipe.ladder.reading.collect import collect

GAINS = {90: -4.0, 180: -1.0, 360: 3.0}  # of mixup, by epochs


def write(root: Path, gains: Mapping[int, float], key: str = "epochs", **more: Any) -> None:
    """A recipe and the same with mixup, three seeds at each value of a key; an epoch has 1,000 images."""
    for value, gain in gains.items():
        for seed, noise in enumerate((-0.3, 0.0, 0.3)):
            for with_, acc1 in ((None, 50.0 - noise), ("mixup", 50.0 + gain + noise)):
                differences = {key: value} | ({"mix.mixup_alpha": 0.2, "with": "mixup"} if with_ else {})
                write_run(
                    root / str(value),
                    "v2",
                    seed,
                    acc1,
                    differences=differences,
                    with_=with_,
                    overrides=[f"{key}={value}"],
                    images_seen=value * 1000,
                    **more,
                )


def found(root: Path) -> list[Series]:
    return series(compare(collect([root])))


def test_a_comparison_at_three_lengths_is_one_series(tmp_path: Path) -> None:
    write(tmp_path, GAINS)
    (lined_up,) = found(tmp_path)
    (mixup,) = lined_up.ingredients
    assert lined_up.axis == "training images seen"
    assert mixup.label.startswith("with mixup")
    assert [at.budget for at in mixup.gains] == [90_000, 180_000, 360_000]
    assert [at.mean for at in mixup.gains] == pytest.approx(list(GAINS.values()))
    assert all(at.low < at.mean < at.high for at in mixup.gains)
    assert [verdict.split()[0] for verdict in mixup.verdicts] == ["hurts", "unresolved", "helps"]


def test_what_differs_in_more_than_the_budget_is_no_series(tmp_path: Path) -> None:
    write(tmp_path, {90: 1.0})
    write(tmp_path, {180: 2.0}, config={"batch_size": 512})
    assert not found(tmp_path)


def test_one_budget_or_one_run_of_each_setting_is_no_series(tmp_path: Path) -> None:
    write(tmp_path, {90: 1.0})
    assert not found(tmp_path)
    for value in (180, 360):
        for with_ in (None, "mixup"):
            differences = {"epochs": value} | ({"with": "mixup"} if with_ else {})
            write_run(tmp_path / f"one{value}", "v2", 0, 50.0, differences=differences, with_=with_)
    assert not found(tmp_path)


def test_numbers_of_photos_are_a_series_too(tmp_path: Path) -> None:
    for count in (10, 100):
        data = {"train": f"{count}{TRAIN_FINGERPRINT}", "val": VAL_FINGERPRINT}
        write(tmp_path, {count: count / 50}, "data.first_per_class", data=data, photos=4 * count)
    (lined_up,) = found(tmp_path)
    assert lined_up.axis == "training photos"
    (mixup,) = lined_up.ingredients
    assert [at.budget for at in mixup.gains] == [40, 400]
    assert [at.mean for at in mixup.gains] == pytest.approx([0.2, 2.0])


def test_another_validation_set_is_no_part_of_a_series(tmp_path: Path) -> None:
    for count in (10, 100):
        data = {"train": f"{count}", "val": f"{count}"}
        write(tmp_path, {count: count / 50}, "data.first_per_class", data=data, photos=4 * count)
    assert not found(tmp_path)
