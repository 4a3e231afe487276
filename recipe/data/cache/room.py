"""Whether decoded images fit into memory, and what would."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from recipe.data.cache.images import Files
from recipe.errors import DataError
from recipe.files import size_text
from recipe.machine import limits, shared_files

SAMPLED = 128  # images that the size of all is estimated from
SHARE = 0.75  # of the free memory, at most: a training needs some itself
SIDES = (640, 512, 448, 384, 320, 256, 224, 192, 160, 128, 96, 64)  # pixels, of smaller images that may fit
CHANNELS = 3


class Room(NamedTuple):
    """Bytes, for images in memory."""

    memory: int  # free on the machine, or for this process's control groups
    folder: int  # free in the folder of shared memory

    @property
    def most(self) -> int:
        """That images may take."""
        return min(int(SHARE * self.memory), self.folder)

    @property
    def free(self) -> int:
        """What is told as free."""
        return min(self.memory, self.folder)


def room_in(folder: Path) -> Room:
    """What is free."""
    return Room(limits.free_memory(), shared_files.free_in(folder))


class Estimate(NamedTuple):
    """What images take, from a few of them."""

    sides: np.ndarray  # (sampled, 2) float64: height and width
    images: int  # in all

    def bytes(self, largest: float = np.inf) -> int:
        """All images together, where the longer side has at most `largest` pixels."""
        shrunk = np.minimum(1, largest / self.sides.max(1)) ** 2
        return int((self.sides.prod(1) * shrunk).mean() * CHANNELS * self.images)


def estimate(files: Files) -> Estimate:
    """From evenly spaced ones of the files."""
    chosen = np.unique(np.linspace(0, len(files.where) - 1, SAMPLED).astype(int))
    sides: list[tuple[float, float]] = []
    for number in chosen:
        images, index = files.where[number]
        try:
            picture = images.open(index)
        except DataError:  # which takes no room
            continue
        sides.append((picture.height, picture.width))
    return Estimate(np.array(sides or [(1.0, 1.0)], dtype=np.float64), len(files.where))


def refusal(size: Estimate, room: Room, folder: Path, root: object) -> DataError:
    """What is said where images do not fit: by how much, and what would."""
    there = f"{size_text(room.memory)} of memory are free, of which they may take {SHARE:.0%}"
    if room.folder < SHARE * room.memory:
        there = f"{folder.parent} has {size_text(room.folder)} free ({shared_files.PLACE}=FOLDER names another place)"
    fits = next((side for side in SIDES if size.bytes(side) < room.most), None)
    smaller = f"or smaller images: `recipe data store {root} FOLDER --max-side {fits}`" if fits else ""
    return DataError(
        f"data.cache=memory: {size.images:,} decoded images take about {size_text(size.bytes())}, and {there}: "
        f"data.cache=null{f', {smaller}' if smaller else ''}"
    )
