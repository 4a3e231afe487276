"""Images in class folders, evaluated by a network that calls its classes otherwise: which folder is which class."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from recipe.data.dataset import Dataset
from recipe.data.decode import Picture
from recipe.errors import DataError

NAMED = 3  # folders that a refusal names


@dataclass
class Relabelled:
    """A data set with the classes of a network in place of its folders'."""

    images: Dataset
    classes: list[str]
    labels: np.ndarray  # (images,) int64

    def __len__(self) -> int:
        return len(self.images)

    def open(self, index: int) -> Picture:
        """One image. Raises DataError, as does asking for its pixels."""
        return self.images.open(index)

    def name(self, index: int) -> str:
        """What to call an image."""
        return self.images.name(index)


def relabelled(images: Dataset, classes: list[str]) -> Relabelled:
    """The data set with a network's classes. Raises DataError where a folder is none of them."""
    numbers = np.array(class_numbers(images.classes, classes, str(images.root)), dtype=np.int64)
    return Relabelled(images, classes, numbers[images.labels])


def class_numbers(folders: Sequence[str], classes: Sequence[str], where: str) -> list[int]:
    """The network's class of each folder: by name; of ImageNet's classes also by their synset, as n01440764.

    Raises DataError where a folder is none.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    spoken = {_plain(name): number for number, name in enumerate(classes)}
    synsets = {name: number for number, name in enumerate(imagenet_synsets())}
    known = synsets if len(classes) == len(synsets) and all(name in synsets for name in folders) else numbers
    found = [known.get(name, spoken.get(_plain(name))) for name in folders]
    missing = [name for name, number in zip(folders, found, strict=True) if number is None]
    if missing:
        raise DataError(
            f"{where} has class folders that are none of the {len(classes):,} classes of these weights: "
            f"{', '.join(missing[:NAMED])}{' …' * (len(missing) > NAMED)}. They are called as the weights call them "
            f"({', '.join(classes[:NAMED])} …)" + (" or by ImageNet's synsets (n01440764)" * (len(classes) == 1000))
        )
    return [number for number in found if number is not None]


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """ImageNet's classes by their number: n01440764 …"""
    from timm.data import ImageNetInfo  # late: it imports all of timm

    info = ImageNetInfo()
    return tuple(info.index_to_label_name(number) for number in range(info.num_classes()))


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ")
