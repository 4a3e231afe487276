"""A data set: images by number, their labels, the names of the classes, and a fingerprint."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from recipe.config import DataConfig
from recipe.data.decode import Picture, picture_of
from recipe.data.folder import ImageFolder, scan_folder
from recipe.data.notices import look_alikes
from recipe.data.prepare.grocery import prepare_grocery
from recipe.data.prepare.store import refuse_unfinished
from recipe.data.split import folds_of, part_fingerprint, share_of_every_class
from recipe.errors import DataError
from recipe.randomness import generator_at

VAL_DIRS = ("val", "valid", "validation")
TEST_DIR = "test"
SYNTHETIC_SIDE = 256  # pixels


class Dataset(Protocol):
    """Images by number. `labels` is (images,) int64; `fingerprint` changes when the set does."""

    labels: np.ndarray
    classes: list[str]
    fingerprint: str

    def __len__(self) -> int: ...

    def open(self, index: int) -> Picture:
        """One image. Raises DataError, as does asking for its pixels."""
        ...

    def name(self, index: int) -> str:
        """What to call an image: its file, relative to the data set's folder."""
        ...


@dataclass
class RandomImages:
    """Images of random pixels, the same on every call."""

    split: str
    numbers: np.ndarray  # (images,) int64: which of the split's images
    labels: np.ndarray
    classes: list[str]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Its number."""
        return f"{self.split}/{self.numbers[index]}"

    def open(self, index: int) -> Picture:
        """One image."""
        generator = generator_at(0, f"synthetic/{self.split}", int(self.numbers[index]))
        shape = (3, SYNTHETIC_SIDE, SYNTHETIC_SIDE)
        return picture_of(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))

    def part(self, mask: np.ndarray, what: str) -> "RandomImages":
        """The images where the mask, (images,) bool, is true. `what` tells the part's fingerprint from others'."""
        fingerprint = part_fingerprint(self.fingerprint, what)
        return replace(self, numbers=self.numbers[mask], labels=self.labels[mask], fingerprint=fingerprint)


def prepare(config: DataConfig) -> None:
    """Fetch what can be fetched: called by one process, before the others read. Raises DataError."""
    if config.name == "grocery":
        prepare_grocery(config.root)


def load(config: DataConfig, begun_with: Mapping[str, str] | None = None) -> tuple[Dataset, Dataset]:
    """The training and validation set. Raises DataError, naming the folder.

    Args:
        begun_with: the fingerprints `train` and `val` of a run that was begun before: where they are those of the
            images that an earlier version found in these folders, it goes on with these.
    """
    if config.val_fraction is None and config.folds is None:
        val, train = _validation_set(config), _training_set(config)  # the small one first: it may not be there
        if isinstance(train, ImageFolder) and isinstance(val, ImageFolder):
            _check_classes(train, val)
        return _as_in(train, begun_with, "train"), _as_in(val, begun_with, "val")
    images = _training_set(config)
    now = _split(images, config)
    wanted = (begun_with or {}).get("train")
    if wanted in (None, now[0].fingerprint) or not isinstance(images, ImageFolder) or not images.earlier:
        return now
    before = _split(images.as_before(), config)
    return before if before[0].fingerprint == wanted else now


def load_split(
    config: DataConfig, split: str, classes: Sequence[str], begun_with: Mapping[str, str] | None = None
) -> Dataset:
    """The val, test or train set, for networks trained to tell these classes apart; no other split needs to be there.

    `begun_with` as in `load`. Raises DataError where it is not there, or has other classes.
    """
    images: Dataset
    if split == "test":
        images = _test_set(config)
    elif config.val_fraction is not None or config.folds is not None:
        train, val = load(config, begun_with)
        images = val if split == "val" else train
    else:
        images = _as_in(_validation_set(config) if split == "val" else _training_set(config), begun_with, split)
    if images.classes != list(classes):
        where = images.root if isinstance(images, ImageFolder) else f"the {split} set"
        missing, more = (sorted(set(a) - set(b)) for a, b in ((classes, images.classes), (images.classes, classes)))
        told = [f"it {verb} {_few(names)}" for verb, names in (("lacks", missing), ("also has", more)) if names]
        raise DataError(f"the class folders of {where} are not those of the run: {'; '.join(told)}")
    return images


def path_of(images: Dataset, name: str) -> str:
    """Where a file of a data set lies: what tells it from one of the same name in another set."""
    return os.path.join(images.root, name) if isinstance(images, ImageFolder) else name


def _as_in(images: ImageFolder | RandomImages, begun_with: Mapping[str, str] | None, split: str) -> Dataset:
    """The set, or the one of before, where it is that which a run was begun with."""
    if begun_with is None or not isinstance(images, ImageFolder):
        return images
    return images.as_before() if images.earlier and images.earlier == begun_with.get(split) else images


def _training_set(config: DataConfig) -> ImageFolder | RandomImages:
    if config.name == "synthetic":
        return _synthetic("train", config.size, config.num_classes)
    root = _root(config)
    folder = root / config.train_dir
    if (config.val_fraction is not None or config.folds is not None) and not folder.is_dir():
        folder = root  # one folder of class folders
    images = scan_folder(folder, config.exif_orientation)
    if config.num_classes not in (None, len(images.classes)):
        raise DataError(f"{folder} has {len(images.classes)} class folders, not data.num_classes={config.num_classes}")
    return images


def _validation_set(config: DataConfig) -> ImageFolder | RandomImages:
    """The official one."""
    if config.name == "synthetic":
        size = min(max(1, config.size // 4), 50_000)  # as many as ImageNet has
        return _synthetic("val", size, config.num_classes)
    root = _root(config)
    return scan_folder(root / _val_dir(root, config), config.exif_orientation)


def _test_set(config: DataConfig) -> ImageFolder | RandomImages:
    if config.name == "synthetic":
        return _synthetic("test", max(1, config.size // 4), config.num_classes)
    root = _root(config)
    if config.test_dir is None and not (root / TEST_DIR).is_dir():
        raise DataError(f"there is no folder {root / TEST_DIR}: name the one with the test images with data.test_dir=…")
    return scan_folder(root / (config.test_dir or TEST_DIR), config.exif_orientation)


def _root(config: DataConfig) -> Path:
    root = prepare_grocery(config.root) if config.name == "grocery" else Path(str(config.root))
    refuse_unfinished(root)
    return root


def _split(images: ImageFolder | RandomImages, config: DataConfig) -> tuple[Dataset, Dataset]:
    """A training and a validation set from one."""
    names = [str(images.root / name) for name in images.classes] if isinstance(images, ImageFolder) else images.classes
    if config.folds is not None:
        held_out, what = folds_of(images.labels, names, config.folds) == config.fold, f"{config.fold} of {config.folds}"
    else:
        assert config.val_fraction is not None
        held_out, what = share_of_every_class(images.labels, names, config.val_fraction), f"{config.val_fraction:g}"
    return images.part(~held_out, f"without {what}"), images.part(held_out, what)


def _check_classes(train: ImageFolder, val: ImageFolder) -> None:
    lines = []
    for one, other in ((train, val), (val, train)):
        alone = sorted(set(one.classes) - set(other.classes))
        if alone:
            lines.append(f"only {one.root} has {_few(alone)}")
    if lines:
        alike = look_alikes({*train.classes, *val.classes})
        same = f". These look alike and are two names: {', '.join(alike[:5])}" if alike else ""
        raise DataError(f"the class folders of {train.root} and {val.root} differ: {'; '.join(lines)}{same}")


def _few(names: list[str]) -> str:
    return f"{', '.join(names[:5])}{' …' if len(names) > 5 else ''}"


def _val_dir(root: Path, config: DataConfig) -> str:
    if config.val_dir is not None:
        return config.val_dir
    for name in VAL_DIRS:
        if (root / name).is_dir():
            return name
    folders = [entry.name for entry in os.scandir(root) if entry.is_dir()] if root.is_dir() else [config.train_dir]
    if config.train_dir not in folders and len(folders) < 2:
        raise DataError(
            f"{root} holds no class folders: it needs train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg with "
            "data.val_fraction=0.2, with two classes or more"
        )
    raise DataError(
        f"there is no validation folder in {root}: name it {', '.join(VAL_DIRS[:-1])} or {VAL_DIRS[-1]}, "
        "set data.val_dir, or hold out a share of the images with data.val_fraction=0.2"
    )


def _synthetic(split: str, size: int, num_classes: int | None) -> RandomImages:
    assert num_classes is not None
    numbers = np.arange(size, dtype=np.int64)
    classes = [f"class{number}" for number in range(num_classes)]
    return RandomImages(split, numbers, numbers % num_classes, classes, f"synthetic-{split}-{size}-{num_classes}")
