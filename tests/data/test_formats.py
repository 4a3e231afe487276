"""The table of data formats: one line is all that the rest of the program needs to know of a format."""

import importlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from photos import encoded, photo

from recipe.config import Config, DataConfig
from recipe.data import dataset, formats
from recipe.data.formats import FORMATS, Format
from recipe.data.synthetic import RandomImages
from recipe.errors import ConfigError, DataError
from recipe.plan import cross_checks
from recipe.plan.compose import Plan

SMALL = ("data=synthetic", "data.size=26", "data.num_classes=3")


def test_table_and_schema_name_the_same_formats() -> None:
    choices = {item.name: item.metadata.get("choices") for item in fields(DataConfig)}["name"]
    assert set(FORMATS) == set(choices or ())


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_opened_by_its_own_module_and_needs_keys_that_exist(name: str) -> None:
    assert callable(importlib.import_module(FORMATS[name].module).open_split)
    assert set(FORMATS[name].needs) <= {item.name for item in fields(DataConfig)}


def test_table_is_read_without_pytorch() -> None:
    code = "import sys, recipe.data.formats, recipe.data.grocery; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.strip() == "False"


# A format of someone else's: this file is the module with `open_split`, and the test adds the line to the table.
def open_split(config: DataConfig, split: str) -> RandomImages:
    if split == "test":
        raise DataError(f"{config.root} has no images to test on")
    whole = importlib.import_module("recipe.data.synthetic").open_split(replace(config, num_classes=3), split)
    return replace(whole, fingerprint=f"mine-{config.root}")


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Config:
    line = Format(__name__, {"root": "data=mine needs data.root=…"}, divisible=True)
    monkeypatch.setitem(formats.FORMATS, "mine", line)
    return Config(data=DataConfig(name="mine", root=str(tmp_path), size=26))


def test_new_format_is_a_module_and_a_line(mine: Config) -> None:
    train, val = dataset.load(mine.data)
    assert (len(train), len(val)) == (26, 6)
    mine.data.val_fraction = 0.5
    cross_checks._check_data(mine)
    train, val = dataset.load(mine.data)
    assert (len(train), len(val)) == (14, 12)  # 9, 9 and 8 images of a class: 4 of each are held out
    with pytest.raises(DataError, match="no images to test on"):
        dataset.load_split(mine.data, "test", train.classes)
    assert len(dataset.load_split(mine.data, "val", train.classes)) == 12
    mine.data.num_classes = 4
    with pytest.raises(DataError, match=r"mine has 3 classes, not data\.num_classes=4"):
        dataset.load(mine.data)


def test_what_a_format_needs_is_asked_for(mine: Config) -> None:
    mine.data.root = None
    with pytest.raises(ConfigError, match=r"data=mine needs data\.root=…"):
        cross_checks._check_data(mine)


@pytest.mark.parametrize("name", [name for name, format in FORMATS.items() if not format.divisible])
def test_val_fraction_is_for_formats_that_can_be_divided(name: str, plan: Callable[..., Plan], tmp_path: Path) -> None:
    root = [f"data.root={tmp_path}"] if "root" in FORMATS[name].needs else []
    with pytest.raises(ConfigError, match="it is for data=imagefolder"):
        plan("+recipe=v2", *SMALL, f"data.name={name}", "data.val_fraction=0.5", *root)


def test_set_of_an_earlier_version_is_found_by_its_fingerprint(tmp_path: Path) -> None:
    """With and without a validation set of its own: a run goes on with the images that it was begun with."""
    for split in ("train", "val"):
        for name in ("ant", "bee"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(4):
                (tmp_path / split / name / f"{number}.png").write_bytes(encoded(photo(), "PNG"))
            (tmp_path / split / name / "new.jfif").write_bytes(encoded(photo(), "JPEG"))  # not known before
    for keys in ({}, {"val_fraction": 0.5}, {"folds": 2, "fold": 1}):
        config = DataConfig(name="imagefolder", root=str(tmp_path), **keys)
        newest = dataset.load(config)
        assert [len(images) for images in dataset.load(config, {"train": "another", "val": "another"})] == [
            len(images) for images in newest
        ]
        for path in tmp_path.rglob("new.jfif"):
            path.rename(path.with_name(".new"))
        before = dataset.load(config)
        for path in tmp_path.rglob(".new"):
            path.rename(path.with_name("new.jfif"))
        found = dataset.load(config, {"train": before[0].fingerprint, "val": before[1].fingerprint})
        for one, other, now in zip(found, before, newest, strict=True):
            assert one.fingerprint == other.fingerprint != now.fingerprint
            assert [one.name(i) for i in range(len(one))] == [other.name(i) for i in range(len(other))]
