"""Data sets whose images are in memory, and what such a file of images is called."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipe.config import DataConfig
from recipe.data.cache.decoded import FORMAT, DecodedImages
from recipe.data.dataset import Dataset
from recipe.data.decode import Picture
from recipe.data.folder import members_of
from recipe.errors import DataError

DECODERS = ("torch", "torchvision", "pillow", "numpy", "pillow-heif")  # another version may give other pixels


class Files(NamedTuple):
    """The files of some data sets, each once, by number."""

    where: list[tuple[Dataset, int]]  # of each number: a data set that has the image, and its number there
    numbers: list[np.ndarray]  # of each data set: (images,) int64
    key: str  # of the files and of what their pixels depend on


def files_of(config: DataConfig, sets: Sequence[Dataset]) -> Files:
    """The files of the data sets. Raises DataError where these are no files.

    The key is the same for all divisions of a folder into images to train and to validate on.
    """
    if any(images.root is None for images in sets):
        raise DataError(f"data.cache=memory keeps the images of files, and data={config.name} has none")
    owners = [(images, index) for images in sets for index in range(len(images))]
    roots = {id(images): os.path.realpath(str(images.root)) for images in sets}
    paths = np.array([os.fsencode(os.path.join(roots[id(images)], images.name(i))) for images, i in owners])
    unique, first, inverse = np.unique(paths, return_index=True, return_inverse=True)
    numbers = np.split(inverse, np.cumsum([len(images) for images in sets])[:-1])
    digest = hashlib.blake2b(repr((FORMAT, config.exif_orientation, _versions())).encode(), digest_size=12)
    for path, number in zip(unique.tolist(), first.tolist(), strict=True):
        digest.update(b"%b\0%b\0" % (path, _state(path, *owners[number])))
    return Files([owners[int(index)] for index in first], numbers, digest.hexdigest())


@dataclass
class CachedImages:
    """A data set whose images are in memory. All else is the data set's own."""

    images: Dataset
    decoded: DecodedImages
    numbers: np.ndarray  # (images,) int64: each image's number in memory
    said: str  # what is told of the memory at the start of a run

    def __post_init__(self) -> None:
        self.labels, self.classes, self.fingerprint = self.images.labels, self.images.classes, self.images.fingerprint

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def root(self) -> Path | None:
        """The folder that names are relative to."""
        return self.images.root

    def name(self, index: int) -> str:
        """The image's file, relative to the folder."""
        return self.images.name(index)

    def open(self, index: int) -> Picture:
        """One image, from memory; where it could not be decoded, from its file. Raises DataError, as that does."""
        return self.decoded.picture(int(self.numbers[index])) or self.images.open(index)

    def part(self, mask: np.ndarray, what: str) -> "CachedImages":
        """The images where the mask, (images,) bool, is true. `what` tells the part's fingerprint from others'."""
        return replace(self, images=self.images.part(mask, what), numbers=self.numbers[mask])

    def versions(self) -> Iterator["CachedImages"]:
        """Itself alone: which version it is was settled before."""
        yield self

    def remarks(self) -> Iterator[str]:
        """Those of the data set."""
        return self.images.remarks()

    def notices(self) -> Iterator[str]:
        """Those of the data set."""
        return self.images.notices()


def _versions() -> list[str]:
    found = []
    for name in DECODERS:
        try:
            found.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            found.append("")
    return found


def _state(path: bytes, images: Dataset, index: int) -> bytes:
    """What changes when a file's content does."""
    if (members := members_of(images)) is not None:
        return members.state_of(images.name(index))
    try:
        about = os.stat(path)
    except OSError:  # it has gone since the folder was scanned
        return b""
    return b"%d %d" % (about.st_size, about.st_mtime_ns)
