"""A data set: images by number, their labels, the names of the classes, and a fingerprint."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from recipe.config import DataConfig
from recipe.data.decode import read_image
from recipe.data.grocery import prepare_grocery
from recipe.errors import DataError
from recipe.randomness import generator_at

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
VAL_DIRS = ("val", "valid", "validation")
SYNTHETIC_SIDE = 256  # pixels


class Dataset(Protocol):
    """Images by number. `labels` is (images,) int64; `fingerprint` changes when the set does."""

    labels: np.ndarray
    classes: list[str]
    fingerprint: str

    def __len__(self) -> int: ...

    def read(self, index: int) -> Tensor:
        """One image's pixels, (3, H, W) uint8."""
        ...


@dataclass
class ImageFolder:
    """Images in class folders. Paths are kept in one array, which forked workers share without copying."""

    root: Path
    paths: np.ndarray  # (images,) bytes, relative to root, in sorted order
    labels: np.ndarray
    classes: list[str]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Tensor:
        """One image's pixels, (3, H, W) uint8. Raises DataError, naming the file."""
        return read_image(os.path.join(self.root, os.fsdecode(self.paths[index])))


@dataclass
class RandomImages:
    """Images of random pixels, the same on every call."""

    split: str
    labels: np.ndarray
    classes: list[str]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Tensor:
        """One image's pixels, (3, H, W) uint8."""
        generator = generator_at(0, f"synthetic/{self.split}", index)
        shape = (3, SYNTHETIC_SIDE, SYNTHETIC_SIDE)
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def prepare(config: DataConfig) -> None:
    """Fetch what can be fetched: called by one process, before the others read. Raises DataError."""
    if config.name == "grocery":
        prepare_grocery(config.root)


def load(config: DataConfig) -> tuple[Dataset, Dataset]:
    """The training and validation set. Raises DataError, naming the folder."""
    if config.name == "synthetic":
        assert config.num_classes is not None
        return _synthetic("train", config.size, config.num_classes), _synthetic(
            "val", max(1, config.size // 4), config.num_classes
        )
    root = prepare_grocery(config.root) if config.name == "grocery" else Path(str(config.root))
    train = scan_folder(root / config.train_dir)
    val = scan_folder(root / _val_dir(root, config.val_dir))
    if train.classes != val.classes:
        differences = sorted(set(train.classes) ^ set(val.classes))
        raise DataError(
            f"the class folders of {train.root} and {val.root} differ: only one of them has "
            f"{', '.join(differences[:5])}{' …' if len(differences) > 5 else ''}"
        )
    if config.num_classes not in (None, len(train.classes)):
        raise DataError(
            f"{train.root} has {len(train.classes)} class folders, not data.num_classes={config.num_classes}"
        )
    return train, val


def scan_folder(root: Path) -> ImageFolder:
    """The images below root, in class folders sorted by name; a class folder may have folders of its own."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}")
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{root} needs at least two class folders; it has {len(classes)}")
    digest = hashlib.blake2b(digest_size=8)
    paths: list[bytes] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(_images_below(root / name, name))
        if not found:
            raise DataError(f"the class folder {root / name} has no images")
        for path, size in found:
            digest.update(f"{path}\0{size}\0".encode("utf-8", "surrogateescape"))
            paths.append(os.fsencode(path))
            labels.append(label)
    return ImageFolder(root, np.array(paths), np.array(labels, dtype=np.int64), classes, digest.hexdigest())


def _images_below(folder: Path, relative: str) -> list[tuple[str, int]]:
    """(path relative to the data set's root, bytes) of every image in a folder and the folders in it."""
    found: list[tuple[str, int]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{relative}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                found.extend(_images_below(folder / entry.name, path))
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                found.append((path, entry.stat().st_size))
    return found


def _val_dir(root: Path, val_dir: str | None) -> str:
    if val_dir is not None:
        return val_dir
    for name in VAL_DIRS:
        if (root / name).is_dir():
            return name
    raise DataError(f"there is no validation folder in {root}: name it {' or '.join(VAL_DIRS)}, or set data.val_dir")


def _synthetic(split: str, size: int, num_classes: int) -> RandomImages:
    labels = np.arange(size, dtype=np.int64) % num_classes
    classes = [f"class{number}" for number in range(num_classes)]
    return RandomImages(split, labels, classes, f"synthetic-{split}-{size}-{num_classes}")
