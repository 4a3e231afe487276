"""A data set: images by number, their labels, the names of the classes, and a fingerprint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from recipe.config import DataConfig
from recipe.data.folder import ImageFolder, scan_folder, split
from recipe.data.grocery import prepare_grocery
from recipe.errors import DataError
from recipe.randomness import generator_at

VAL_DIRS = ("val", "valid", "validation")
SYNTHETIC_SIDE = 256  # pixels


class Dataset(Protocol):
    """Images by number. `labels` is (images,) int64; `fingerprint` changes when the set does."""

    labels: np.ndarray
    classes: list[str]
    fingerprint: str

    def __len__(self) -> int: ...

    def read(self, index: int) -> Tensor:
        """One image's pixels, (3, H, W) uint8. Raises DataError."""
        ...

    def name(self, index: int) -> str:
        """What to call an image: its file, relative to the data set's folder."""
        ...


@dataclass
class RandomImages:
    """Images of random pixels, the same on every call."""

    split: str
    labels: np.ndarray
    classes: list[str]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Its number."""
        return f"{self.split}/{index}"

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
        val_size = min(max(1, config.size // 4), 50_000)  # as many as ImageNet has
        return (
            _synthetic("train", config.size, config.num_classes),
            _synthetic("val", val_size, config.num_classes),
        )
    root = prepare_grocery(config.root) if config.name == "grocery" else Path(str(config.root))
    if config.val_fraction is not None:
        below = root / config.train_dir
        train, val = split(scan_folder(below if below.is_dir() else root, config.exif_orientation), config.val_fraction)
    else:
        val_dir = _val_dir(root, config)
        train = scan_folder(root / config.train_dir, config.exif_orientation)
        val = scan_folder(root / val_dir, config.exif_orientation)
        _check_classes(train, val)
    if config.num_classes not in (None, len(train.classes)):
        raise DataError(
            f"{train.root} has {len(train.classes)} class folders, not data.num_classes={config.num_classes}"
        )
    return train, val


def _check_classes(train: ImageFolder, val: ImageFolder) -> None:
    lines = []
    for one, other in ((train, val), (val, train)):
        alone = sorted(set(one.classes) - set(other.classes))
        if alone:
            lines.append(f"only {one.root} has {', '.join(alone[:5])}{' …' if len(alone) > 5 else ''}")
    if lines:
        raise DataError(f"the class folders of {train.root} and {val.root} differ: {'; '.join(lines)}")


def _val_dir(root: Path, config: DataConfig) -> str:
    if config.val_dir is not None:
        return config.val_dir
    for name in VAL_DIRS:
        if (root / name).is_dir():
            return name
    raise DataError(
        f"there is no validation folder in {root}: name it {', '.join(VAL_DIRS[:-1])} or {VAL_DIRS[-1]}, "
        "set data.val_dir, or hold out a share of the images with data.val_fraction=0.2"
    )


def _synthetic(split: str, size: int, num_classes: int) -> RandomImages:
    labels = np.arange(size, dtype=np.int64) % num_classes
    classes = [f"class{number}" for number in range(num_classes)]
    return RandomImages(split, labels, classes, f"synthetic-{split}-{size}-{num_classes}")
