"""Data sets that figures are published of, known by their class names and numbers of images, wherever they lie.

Editions that differ in nothing but the size of their images are told apart by that. Imports no torch.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from recipe.errors import DataError

if TYPE_CHECKING:
    from recipe.data.dataset import Images

LOOKED_AT = 25  # images whose size is looked at


@dataclass(frozen=True)
class KnownSet:
    """What a data set is known by."""

    title: str  # as it follows on "published on"
    classes: int
    names: str  # `digest` of theirs
    images: Mapping[str, int]  # by split
    shorter_side: int = 0  # pixels, of half its images at least; 0: there is one edition only


def digest(names: Iterable[str]) -> str:
    """What stands for class names in any order: 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()[:16]


# By the option of conf/data.
KNOWN = {
    "imagenet": KnownSet("ImageNet", 1000, "385e0240499426c0", {"train": 1_281_167, "val": 50_000}),
    "tiny_imagenet": KnownSet("Tiny-ImageNet", 200, "add4bf0c8712ef7f", {"train": 100_000, "val": 10_000}),
    "intel": KnownSet(
        "Intel's scenes",
        6,
        digest(("buildings", "forest", "glacier", "mountain", "sea", "street")),
        {"train": 14_034, "val": 3_000},
    ),
    "imagenette": KnownSet(
        "Imagenette (full size)",
        10,
        digest(
            f"n{number:08}"
            for number in (
                *(1440764, 2102040, 2979186, 3000684, 3028079),
                *(3394916, 3417042, 3425413, 3445777, 3888257),
            )
        ),
        {"train": 9_469, "val": 3_925},
        shorter_side=321,  # the other editions have 320 and 160
    ),
    "caltech": KnownSet(
        "ten animals of Caltech-256",
        10,
        digest(
            ("bear", "chimp", "giraffe", "gorilla", "llama", "ostrich", "porcupine", "skunk", "triceratops", "zebra")
        ),
        {"train": 600, "val": 100, "test": 409},
    ),
}


def is_known(option: str, classes: Sequence[str], images: Mapping[str, int]) -> bool:
    """Whether classes and numbers of images are those of the data set of a `data` option.

    Args:
        images: by split, one or more; `shorter_side` as `described` says it, where editions differ in that.
    """
    known = KNOWN[option]
    counted = {split: number for split, number in images.items() if split in ("train", "val", "test")}
    return (
        len(classes) == known.classes
        and bool(counted)
        and counted.items() <= known.images.items()
        and images.get("shorter_side", 0) >= known.shorter_side
        and digest(classes) == known.names
    )


def described(**splits: "Images") -> dict[str, int]:
    """Numbers of images by split; and where a set has editions that differ in nothing else, their median shorter side.

    A few image files are read for the latter, and else none.
    """
    images = {split: len(those) for split, those in splits.items()}
    those = next(iter(splits.values()))
    several = [known for known in KNOWN.values() if known.shorter_side and known.classes == len(those.classes)]
    if any(images.items() <= known.images.items() and digest(those.classes) == known.names for known in several):
        images["shorter_side"] = _median_shorter_side(those)
    return images


def _median_shorter_side(images: "Images") -> int:
    sides = []
    for index in np.linspace(0, len(images) - 1, min(LOOKED_AT, len(images))).astype(int).tolist():
        try:
            picture = images.open(index)
        except DataError:
            continue
        sides.append(min(picture.height, picture.width))
    return int(np.median(sides)) if sides else 0
