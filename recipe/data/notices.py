"""What is seen about data at the start of a run and makes its figures worth less than they look: a line each, or none.

Nothing here stops a run: all of it is meant at times.
"""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from recipe.config import Config
from recipe.data.class_folders import look_alikes
from recipe.data.dataset import Dataset
from recipe.data.folder import Contents, members_of
from recipe.data.imagefolder import VAL_DIRS
from recipe.data.order import Order
from recipe.data.split import is_divided
from recipe.errors import DataError

SECONDS = 3.0  # that comparing the images of training and validation may take
TAIL = 4096  # bytes at the end of a file, which tell nearly all images apart
FEW_STEPS = 10  # an epoch
A_POINT = 100  # validation images: with so many, or fewer, one of them is a point of top-1
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def noticed(
    config: Config, train_set: Dataset, val_set: Dataset, order: Order, world_size: int, compare: bool = True
) -> Iterator[str]:
    """The lines. `compare`: also look for images that are in both sets, which reads files for SECONDS at most."""
    yield from scale_of_pixels(config)
    yield from dict.fromkeys((*train_set.notices(), *val_set.notices()))
    if train_set.root is not None and val_set.root is not None:
        if not _one_folder(config, train_set, val_set):
            yield from same_images(train_set, val_set) if compare else ()
        else:
            yield f"validated on the training images, {train_set.root}: the figures say what the network remembers"
    yield from unread_validation(config, train_set)
    yield from names_of_classes(train_set.classes)
    if (config.data.name, config.scale.name) != ("grocery", "demo"):  # the demo is so small on purpose
        yield from few_steps(config, order, world_size)
    if len(val_set) <= A_POINT:
        yield f"few validation images: one of the {len(val_set)} is {100 / len(val_set):.1f} points of top-1"


def scale_of_pixels(config: Config) -> Iterator[str]:
    """A mean or std of pixels from 0 to 255; those of this data are of pixels from 0 to 1."""
    if max(config.data.mean) > 1 or max(config.data.std) > 2:
        mean, std = (
            f"data.{name}=[{','.join(f'{value / 255 if max(values) > 1 else value:.4g}' for value in values)}]"
            for name, values in (("mean", config.data.mean), ("std", config.data.std))
        )
        yield f"pixels count from 0 to 1, data.mean and data.std as if from 0 to 255: here they would be {mean} {std}"


def unread_validation(config: Config, train_set: Dataset) -> Iterator[str]:
    """A validation folder beside the training images that are validated on instead, with data.val_fraction."""
    if config.data.val_fraction is None or train_set.root is None:
        return
    root = Path(str(config.data.root))
    unread = [root / name for name in VAL_DIRS if (root / name).is_dir()]
    if unread and train_set.root == root / config.data.train_dir:
        yield f"{' and '.join(map(str, unread))} is not read: data.val_fraction validates on images of {train_set.root}"


def names_of_classes(classes: Sequence[str]) -> Iterator[str]:
    """Names that look alike, and those of parts of a data set."""
    alike = look_alikes(classes)
    if alike:
        more = f" … ({len(alike):,} pairs)" if len(alike) > 1 else ""
        yield f"classes that look alike: {alike[0]}{more}"
    if {name.casefold() for name in classes} <= SPLITS:
        yield f"the classes are {', '.join(classes)}: names of parts, which data.train_dir and data.val_dir take"
    elif parts := [name for name in classes if name.casefold() in SPLITS]:
        yield f"{' and '.join(parts)} among the classes: the name of a part, whose images are trained on as one class"


def few_steps(config: Config, order: Order, world_size: int) -> Iterator[str]:
    """Where an epoch has so few steps that a recipe's ingredients have no time to work; what would make them more."""
    if order.steps >= FEW_STEPS:
        return
    images = order.positions - order.dropped
    steps = f"{order.steps} steps" if order.steps > 1 else "1 step"
    larger = f", more than the {images:,} images," if config.batch_size > images else ""
    line = f"few steps: batch_size={config.batch_size}{larger} makes {steps} an epoch"
    smaller = _with_more_steps(config, order, world_size)
    if smaller is not None:
        lr = config.optimizer.lr * smaller.batch_size / config.batch_size
        micro = smaller.batch_size // smaller.micro_batches
        batch = f"batch_size={smaller.batch_size}{f' micro_batch_size={micro}' * (micro != config.micro_batch_size)}"
        line += f"; {batch} optimizer.lr={lr:.4g} would make {smaller.steps}"
    yield line


def same_images(train_set: Dataset, val_set: Dataset, seconds: float = SECONDS) -> Iterator[str]:
    """Validation images that are in the training set as well, by content."""
    known = _Known(time.monotonic() + seconds)
    found: dict[str, str] = {}
    try:
        by_size = known.by_size(train_set, val_set)
        for in_train, in_val in by_size:
            found.update(known.equal(in_train, in_val))
        rest = ""
    except TimeoutError:
        rest = f" (not all were compared: that takes more than {seconds:g} s)"
    except (OSError, ValueError, DataError):  # a file that is gone, or not to be read: loading it says so
        rest = " (not all were compared: some cannot be read)"
    if found:
        first, twin = next(iter(found.items()))
        yield f"leak: {len(found):,} of {len(val_set):,} validation images are in the training set as well{rest}, as"
        yield f"{first} = {twin}"
    elif rest:
        yield f"whether validation images are in the training set as well is not known{rest}"


class _ImageFile(NamedTuple):
    """An image of a set, by its name there."""

    root: str  # with a / at the end
    name: str
    members: Contents | None  # where the set lies in archives


class _Known:
    """Files compared until it is too late: then TimeoutError."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def by_size(self, train_set: Dataset, val_set: Dataset) -> list[tuple[list[_ImageFile], list[_ImageFile]]]:
        """Files of the two sets that have the same number of bytes."""
        of_size: dict[int, tuple[list[_ImageFile], list[_ImageFile]]] = defaultdict(lambda: ([], []))
        for number, images in ((1, val_set), (0, train_set)):
            root, members = f"{images.root}/", members_of(images)
            for index in range(len(images)):
                name = images.name(index)
                size = os.stat(root + name).st_size if members is None else members.size_of(name)
                if number == 1 or size in of_size:
                    of_size[size][number].append(_ImageFile(root, name, members))
                self._look_at_the_clock()
        return [pair for pair in of_size.values() if pair[0] and pair[1]]

    def equal(self, in_train: list[_ImageFile], in_val: list[_ImageFile]) -> dict[str, str]:
        """Of files of one size: those of the second list that have the content of one of the first, and which."""
        found = {}
        tails = defaultdict(list)
        for file in in_train:
            tails[self._end_of(file)].append(file)
        for file in in_val:
            for other in tails.get(self._end_of(file), ()):
                if self._content(file) == self._content(other):
                    found[file.root + file.name] = other.root + other.name
                    break
        return found

    def _end_of(self, file: _ImageFile) -> bytes:
        self._look_at_the_clock()
        if file.members is not None:
            return file.members.read(file.name)[-TAIL:]
        with open(file.root + file.name, "rb", buffering=0) as opened:
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - TAIL))
            return opened.read()

    def _content(self, file: _ImageFile) -> bytes:
        self._look_at_the_clock()
        if file.members is not None:
            return hashlib.blake2b(file.members.read(file.name)).digest()
        with open(file.root + file.name, "rb") as opened:
            return hashlib.file_digest(opened, "blake2b").digest()

    def _look_at_the_clock(self) -> None:
        if time.monotonic() > self._deadline:
            raise TimeoutError


def _with_more_steps(config: Config, order: Order, world_size: int) -> Order | None:
    """The largest smaller steps of which an epoch has enough; None where there are none."""
    micro = config.micro_batch_size
    while micro >= 2:
        for count in range(order.batch_size // micro, 0, -1):
            shorter = replace(order, batch_size=count * micro, micro_batches=count)
            fits = count % world_size == 0 and count >= order.repetitions
            if fits and shorter.steps >= FEW_STEPS:
                return shorter
        micro //= 2
    return None


def _one_folder(config: Config, train_set: Dataset, val_set: Dataset) -> bool:
    if is_divided(config.data) or train_set.root is None or val_set.root is None:
        return False
    return os.path.realpath(train_set.root) == os.path.realpath(val_set.root)
