"""A folder of class folders to train, val and test: the first images of each class, or a share of it by chance."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipe.data.folder import ImageFolder, scan_folder
from recipe.data.image_files import left_out
from recipe.data.prepare.whole_folder import Counts, made_of, make_folder, put, refuse_inside
from recipe.errors import DataError
from recipe.guesses import did_you_mean
from recipe.randomness import generator_at

PARTS = ("train", "val", "test")


def split_folder(
    source: Path,
    target: Path,
    first: Sequence[int] | None = None,
    fractions: Sequence[float] | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    copy: bool = False,
) -> tuple[Counts, bool]:
    """Images by part and class in `target`, made of links to them, and whether it was there already.

    Args:
        source: a folder of class folders.
        first: images of each class, sorted by name, for train, or train and val; the rest is the next part.
        fractions: instead, the shares of each class for train and val, or train, val and test. They sum to 1.
        seed: of the fractions' draw. The part of an image depends on it and on the class's own images.
        classes: take these alone; None: all.
        copy: the images, in place of links to them.

    Raises DataError; RunError where another process is at it.
    """
    refuse_inside(target, source)
    images = _scan(source, target)
    for line in left_out(source, images.strays + images.kept_out, images.not_files):
        print(line)
    chosen = _chosen(images, classes)
    rule: dict[str, Any] = {"first": first} if first is not None else {"fractions": fractions, "seed": seed}
    settings = {"source": images.fingerprint, **rule, "classes": chosen if classes is not None else None}
    parts = PARTS[: len(first) + 1 if first is not None else len(fractions or ())]
    numbers = {name: np.flatnonzero(images.labels == images.classes.index(name)) for name in chosen}
    sizes = {name: _sizes(name, len(own), len(parts), first, fractions) for name, own in numbers.items()}

    def fill(folder: Path) -> Counts:
        for name, own in numbers.items():
            ordered = own if first is not None else own[_shuffled(len(own), seed, name)]
            for part, some in zip(parts, np.split(ordered, np.cumsum(sizes[name])[:-1]), strict=True):
                for number in some:
                    file = images.name(int(number))
                    put(folder / part / file, images.root / file, copy)
        return {part: {name: sizes[name][number] for name in chosen} for number, part in enumerate(parts)}

    return make_folder(target, settings, fill)


def shares(count: int, fractions: Sequence[float]) -> list[int]:
    """`count` images in parts of these fractions: each at least one, the others by largest remainder."""
    exact = [fraction * count for fraction in fractions]
    sizes = [max(1, math.floor(part + 1e-9)) for part in exact]
    while sum(sizes) != count:
        step = 1 if sum(sizes) < count else -1
        fitting = [number for number, size in enumerate(sizes) if size + step >= 1]
        sizes[max(fitting, key=lambda number: step * (exact[number] - sizes[number]))] += step
    return sizes


def _sizes(
    name: str, count: int, parts: int, first: Sequence[int] | None, fractions: Sequence[float] | None
) -> list[int]:
    """Images of a class in each part. Raises DataError where it has too few for one of each."""
    least = sum(first) + 1 if first is not None else parts
    if count < least:
        rule = f"--first {','.join(map(str, first))}" if first is not None else f"{parts} parts"
        raise DataError(
            f"the class {name} has {count} image{'s' * (count != 1)}, and {rule} needs {least} or more, so that every "
            "part has one: give other numbers, or name the --classes to take"
        )
    return shares(count, fractions) if fractions is not None else [*first, count - sum(first)]  # type: ignore[misc, arg-type]


def _scan(source: Path, target: Path) -> ImageFolder:
    images = scan_folder(source)
    if made_of(target) == images.earlier != "":
        images = images.as_before()  # an earlier version made it, which found less
    if set(images.classes) <= {"train", "val", "valid", "validation", "test", "predict"}:
        raise DataError(f"{source} is split already ({', '.join(images.classes)}): name one of these folders")
    return images


def _chosen(images: ImageFolder, classes: Sequence[str] | None) -> list[str]:
    if classes is None:
        return images.classes
    for name in classes:
        if name not in images.classes:
            raise DataError(f"{images.root} has no class {name}.{did_you_mean(name, images.classes)}")
    if len(set(classes)) < 2:
        raise DataError("--classes: name two or more")
    return sorted(set(classes))


def _shuffled(count: int, seed: int, name: str) -> np.ndarray:
    """An order of a class's images that other classes do not change."""
    order: np.ndarray = torch.randperm(count, generator=generator_at(seed, f"split/{name}")).numpy()
    return order
