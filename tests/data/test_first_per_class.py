"""data.first_per_class: which images of a training set are trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recipe.config import DataConfig
from recipe.data.dataset import load, load_split
from recipe.errors import DataError
from recipe.plan.compose import Plan


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Class folders with 12, 8 and 3 images to train on and 2 of each to validate on."""
    for split, counts in (("train", (12, 8, 3)), ("val", (2, 2, 2))):
        for name, count in zip(("ant", "bee", "cat"), counts, strict=True):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / split / name / f"{number:02}.png")
    return tmp_path


def trained_on(root: Path, **keys: Any) -> tuple[list[str], Any, Any]:
    train, val = load(DataConfig(name="imagefolder", root=str(root), **keys))
    return [train.name(index) for index in range(len(train))], train, val


def test_so_many_images_of_each_class_are_trained_on_and_all_are_validated_on(photos: Path) -> None:
    names, train, val = trained_on(photos, first_per_class=5)
    assert np.bincount(train.labels).tolist() == [5, 5, 3]  # all, where a class has fewer
    assert len(val) == 6
    assert names == sorted(names)
    assert names[:5] != [f"ant/{number:02}.png" for number in range(5)]  # not by file names
    assert names == trained_on(photos, first_per_class=5)[0]


def test_fewer_are_among_more_and_each_number_is_another_data_set(photos: Path) -> None:
    sets = {count: trained_on(photos, first_per_class=count) for count in (None, 2, 5)}
    assert set(sets[2][0]) < set(sets[5][0]) < set(sets[None][0])
    assert len({train.fingerprint for _, train, _ in sets.values()}) == 3
    assert len({val.fingerprint for _, _, val in sets.values()}) == 1


@pytest.mark.parametrize("divided", [{"val_fraction": 0.5}, {"folds": 3, "fold": 1}], ids=str)
def test_images_that_are_held_out_stay_the_same(photos: Path, divided: dict[str, Any]) -> None:
    _, whole, held_out = trained_on(photos, **divided)
    names, train, val = trained_on(photos, **divided, first_per_class=2)
    assert val.fingerprint == held_out.fingerprint
    assert np.array_equal(val.paths, held_out.paths)
    assert set(names) < {whole.name(index) for index in range(len(whole))}
    assert np.bincount(train.labels).tolist()[:2] == [2, 2]


def test_evaluating_on_the_training_set_takes_the_same_images(photos: Path) -> None:
    names, train, _ = trained_on(photos, first_per_class=4)
    again = load_split(DataConfig(name="imagefolder", root=str(photos), first_per_class=4), "train", train.classes)
    assert [again.name(index) for index in range(len(again))] == names


def test_more_than_every_class_has_is_refused(photos: Path) -> None:
    with pytest.raises(DataError, match=r"data\.first_per_class=12: no class has more than 12 training images; leave"):
        trained_on(photos, first_per_class=12)


def test_it_is_part_of_name_and_hash_where_it_is_set_alone(plan: Callable[..., Plan], photos: Path) -> None:
    data = "+recipe=v2", "scale=demo", "data=imagefolder", f"data.root={photos}"
    without, some = plan(*data), plan(*data, "data.first_per_class=5")
    assert without.training_hash == plan(*data, "data.first_per_class=null").training_hash != some.training_hash
    assert "data.first_per_class=5" in [f"{key}={value}" for key, value in some.differences.items()]
