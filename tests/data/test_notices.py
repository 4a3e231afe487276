"""What is noticed about data at the start of a run: each case has its line, and ordinary data none."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from photos import save_photos

from recipe.config import Config
from recipe.data import notices
from recipe.data.dataset import load
from recipe.data.folder import scan_folder
from recipe.data.order import Order, make_order
from recipe.errors import ConfigError, DataError
from recipe.plan.compose import Plan

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"  # one name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photos in train and val, of which no two are the same."""
    for number, (split, count) in enumerate((("train", 20), ("val", 6))):
        for label, name in enumerate(("ant", "bee")):
            save_photos(tmp_path / split / name, 10 * number + label, count)
    return tmp_path


def config_of(root: Path) -> Config:
    config = Config(batch_size=4, micro_batch_size=2)
    config.data.name, config.data.root = "imagefolder", str(root)
    return config


def lines(config: Config, world_size: int = 1) -> list[str]:
    train_set, val_set = load(config.data)
    return list(notices.noticed(config, train_set, val_set, make_order(config, len(train_set)), world_size))


FEW = "few validation images: one of the 12 is 8.3 points of top-1"


def test_ordinary_data_has_no_line(root: Path) -> None:
    assert lines(config_of(root)) == [FEW]


def test_images_of_both_sets_are_counted_by_their_content(root: Path) -> None:
    for number in (1, 2):
        shutil.copy(root / "train" / "ant" / f"{number}.jpg", root / "val" / "ant" / f"copy{number}.jpg")
    os.link(root / "train" / "ant" / "3.jpg", root / "val" / "bee" / "other.jpg")  # under another class, too
    twin = root / "val" / "bee" / "as_long.jpg"  # as long as one, and another image
    original = (root / "train" / "bee" / "5.jpg").read_bytes()
    twin.write_bytes(original[:-1000] + original[-500:] + original[-1000:-500])
    leak, pair, *_ = lines(config_of(root))
    assert leak == "leak: 3 of 16 validation images are in the training set as well, as"
    assert pair.startswith(f"{root}/val/")
    assert f" = {root}/train/ant/" in pair


def test_images_of_a_share_held_out_are_compared_as_well(tmp_path: Path) -> None:
    save_photos(tmp_path / "ant", 0, 20)
    save_photos(tmp_path / "bee", 1, 20)
    for number in range(20):
        shutil.copy(tmp_path / "ant" / f"{number}.jpg", tmp_path / "ant" / f"{number}-again.jpg")
    config = config_of(tmp_path)
    config.data.val_fraction = 0.25
    assert any(line.startswith("leak: ") and "of 15 validation images" in line for line in lines(config))


def test_comparing_ends_in_time_and_says_so(root: Path) -> None:
    train_set, val_set = scan_folder(root / "train"), scan_folder(root / "val")
    (line,) = notices.same_images(train_set, val_set, seconds=0)
    assert line == (
        "whether validation images are in the training set as well is not known (not all were compared: that takes "
        "more than 0 s)"
    )
    train_set.paths = np.tile(train_set.paths, 25_000)  # a million
    begin = time.monotonic()
    assert "more than 0.5 s" in list(notices.same_images(train_set, val_set, seconds=0.5))[-1]
    assert time.monotonic() - begin < 5


def test_training_folder_as_validation_folder_is_told(root: Path) -> None:
    config = config_of(root)
    config.data.val_dir = "train"
    assert lines(config)[0] == (
        f"validated on the training images, {root / 'train'}: the figures say what the network remembers"
    )


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", "lost+found"])
def test_folders_that_systems_make_are_no_classes(root: Path, name: str) -> None:
    before = scan_folder(root / "train").fingerprint
    (root / "train" / name).mkdir()
    shutil.copy(root / "train" / "ant" / "1.jpg", root / "train" / name / "thumbnail.jpg")
    (root / "val" / name).mkdir(mode=0)  # empty, and nobody may look into it
    found = scan_folder(root / "train")
    assert (found.classes, found.fingerprint) == (["ant", "bee"], before)
    told = lines(config_of(root))
    assert [line for line in told if name in line] == [
        f"left out, no class but what systems make: {name} in {root / split}" for split in ("train", "val")
    ]
    (root / "train" / "ant" / name).mkdir()
    shutil.copy(root / "train" / "ant" / "1.jpg", root / "train" / "ant" / name / "thumbnail.jpg")
    assert any(
        line.startswith(f"1 of the images of {root / 'train'} lie in folders {name}") for line in lines(config_of(root))
    )


def test_pixels_on_a_scale_to_255_are_told_with_the_right_values(root: Path) -> None:
    config = config_of(root)
    config.data.mean, config.data.std = [130, 120, 110], [58, 57, 56]
    line = lines(config)[0]
    assert "data.mean=[0.5098,0.4706,0.4314] data.std=[0.2275,0.2235,0.2196]" in line
    config.data.mean, config.data.std = [0.5098, 0.4706, 0.4314], [0.2275, 0.2235, 0.2196]
    assert lines(config) == [FEW]


def test_validation_folder_that_is_not_read_is_told(root: Path) -> None:
    config = config_of(root)
    config.data.val_fraction = 0.5
    told = f"{root / 'val'} is not read: data.val_fraction validates on images of {root / 'train'}"
    assert told in lines(config)
    config.data.val_fraction, config.data.folds, config.data.fold = None, 2, 0  # whose purpose that is
    assert told not in lines(config)
    config.data.folds = config.data.fold = None
    shutil.move(root / "val", root / "elsewhere")
    config.data.val_fraction = 0.5
    assert not any("is not read" in line for line in lines(config))


def test_part_that_is_taken_for_a_class_is_told(root: Path) -> None:
    """One folder of class folders, and val among them."""
    for name in ("ant", "bee"):
        shutil.move(root / "train" / name, root / name)
    (root / "train").rmdir()
    config = config_of(root)
    config.data.val_fraction = 0.5
    told = "val among the classes: the name of a part, whose images are trained on as one class"
    assert told in lines(config)
    shutil.rmtree(root / "val")
    assert not any("among the classes" in line for line in lines(config))


def test_spellings_of_one_name_are_told(root: Path) -> None:
    for split in ("train", "val"):
        for name in (COMPOSED, DECOMPOSED):
            shutil.copytree(root / split / "ant", root / split / name)
        shutil.copytree(root / split / "bee", root / split / "Bee")
    (told,) = (line for line in lines(config_of(root)) if "alike" in line)
    assert told.startswith("classes that look alike: 'Bee' and 'bee' … (2 pairs)")
    (root / "train" / "Bee").rename(root / "train" / "wasp")
    (root / "val" / "Bee").rename(root / "val" / "wasp")
    (told,) = (line for line in lines(config_of(root)) if "alike" in line)
    assert "(NFC)" in told
    assert "(NFD)" in told


def test_spellings_that_differ_between_the_sets_are_named_as_the_reason(root: Path) -> None:
    (root / "train" / "ant").rename(root / "train" / COMPOSED)
    (root / "val" / "ant").rename(root / "val" / DECOMPOSED)
    with pytest.raises(DataError, match=r"look alike and are two names: .*\(NFC\)|look alike.*\(NFD\)"):
        load(config_of(root).data)


@pytest.mark.parametrize(("images", "world_size", "repetitions"), [(100, 1, 1), (100, 2, 1), (3000, 4, 2), (21, 1, 1)])
def test_advice_for_more_steps_makes_them(images: int, world_size: int, repetitions: int) -> None:
    config = Config(batch_size=1024, micro_batch_size=128)
    config.sampler.repetitions = repetitions
    order = Order(images, 1024, 8, repetitions, 0)
    (line,) = notices.few_steps(config, order, world_size)
    assert ("more than the" in line) == (images < 1024)
    advice = dict(word.split("=") for word in line.split("; ")[1].split() if "=" in word)
    config.batch_size = int(advice["batch_size"])
    config.micro_batch_size = int(advice.get("micro_batch_size", 128))
    followed = make_order(config, images)
    assert followed.steps == int(line.rsplit(" ", 1)[1]) >= 10
    assert followed.micro_batches % world_size == 0
    assert followed.micro_batches >= repetitions
    assert list(notices.few_steps(config, followed, world_size)) == []
    assert float(advice["optimizer.lr"]) == pytest.approx(0.1 * config.batch_size / 1024, rel=1e-3)


def test_demo_is_not_warned_of_its_own_settings(root: Path) -> None:
    config = Config(batch_size=16, micro_batch_size=4)
    config.scale.name, config.data.name, config.data.root = "demo", "imagefolder", str(root)
    (few, _) = lines(config)
    assert few.startswith("few steps: batch_size=16 makes 3 steps an epoch")  # of one's own photos
    config.data.name = "grocery"
    assert lines(config) == [FEW]
    config.scale.name = "imagenet"
    assert lines(config) == [few, FEW]


@pytest.mark.parametrize("choice", ["data=grocery", "data=synthetic"])
@pytest.mark.parametrize("folder", ["", "train"])
def test_own_photos_are_not_taken_for_the_demo(
    root: Path, plan: Callable[..., Plan], choice: str, folder: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match="add data=imagefolder") as raised:
        plan("+recipe=v2", "scale=demo", choice, f"data.root={root / folder}")
    assert isinstance(raised.value, ConfigError)
    assert plan("+recipe=v2", "data=imagefolder", f"data.root={root}").config.data.name == "imagefolder"
    (tmp_path / "empty").mkdir()
    assert plan("+recipe=v2", f"data.root={tmp_path / 'empty'}").config.data.name == "grocery"  # to be fetched into it
