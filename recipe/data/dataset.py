"""From the keys of `data` to a training and a validation set: images by number, labels, classes, a fingerprint."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from recipe.config import DataConfig
from recipe.data.class_folders import look_alikes
from recipe.data.decode import Picture
from recipe.data.formats import FORMATS
from recipe.data.split import first_of_each_class, held_out, is_divided
from recipe.errors import DataError

Version = TypeVar("Version")  # a data set, or two that are parts of one


class Images(Protocol):
    """Images by number, for an evaluation. `labels` is (images,) int64."""

    labels: np.ndarray
    classes: list[str]

    def __len__(self) -> int: ...

    def open(self, index: int) -> Picture:
        """One image. Raises DataError, as does asking for its pixels."""
        ...

    def name(self, index: int) -> str:
        """What to call an image: its file, relative to the folder of all."""
        ...


class Dataset(Images, Protocol):
    """One split of a data set, as a format's module opens it. `fingerprint` changes when the set does."""

    fingerprint: str

    @property
    def root(self) -> Path | None:
        """The folder that `name`s are relative to; None where the images are no files."""
        ...

    def part(self, mask: np.ndarray, what: str) -> "Dataset":
        """The images where the mask, (images,) bool, is true. `what` tells the part's fingerprint from others'."""
        ...

    def versions(self) -> Iterator["Dataset"]:
        """The set as it is found now, then as earlier versions of this program found it, where that differs."""
        ...

    def remarks(self) -> Iterator[str]:
        """What is said of it at the start of a run, as files that are left out: a line each."""
        ...

    def notices(self) -> Iterator[str]:
        """What its folder has that makes a run's figures worth less than they look: a line each."""
        ...


def load(config: DataConfig, begun_with: Mapping[str, str] | None = None) -> tuple[Dataset, Dataset]:
    """The training and validation set. Raises DataError, naming the folder.

    Args:
        begun_with: the fingerprints `train` and `val` of a run that was begun before: where they are those of the
            images that an earlier version found in these folders, it goes on with these.
    """
    begun = begun_with or {}
    if is_divided(config):
        parts = (_divide(images, config) for images in _open(config, "train").versions())
        return _version(parts, begun.get("train"), lambda both: both[0].fingerprint)
    val, train = (
        _version(_open(config, split).versions(), begun.get(split), lambda images: images.fingerprint)
        for split in ("val", "train")  # the small one first: it may not be there
    )
    _check_classes(train, val)
    return train, val


def load_split(
    config: DataConfig, split: str, classes: Sequence[str], begun_with: Mapping[str, str] | None = None
) -> Dataset:
    """The val, test or train set, for networks trained to tell these classes apart; no other split needs to be there.

    `begun_with` as in `load`. Raises DataError where it is not there, or has other classes.
    """
    if is_divided(config) and split != "test":
        train, val = load(config, begun_with)
        images = val if split == "val" else train
    else:
        wanted = (begun_with or {}).get(split)
        images = _version(_open(config, split).versions(), wanted, lambda version: version.fingerprint)
    if images.classes != list(classes):
        where = images.root or f"the {split} set"
        missing, more = (sorted(set(a) - set(b)) for a, b in ((classes, images.classes), (images.classes, classes)))
        told = [f"it {verb} {_few(names)}" for verb, names in (("lacks", missing), ("also has", more)) if names]
        raise DataError(f"the classes of {where} are not those of the run: {'; '.join(told)}")
    return images


def load_alone(config: DataConfig, split: str) -> Dataset:
    """The val, test or train set as it is found, whatever its classes. Raises DataError where it is not there."""
    if is_divided(config) and split != "test":
        return load(config)[0 if split == "train" else 1]
    return _open(config, split)


def path_of(images: Dataset, name: str) -> str:
    """Where a file of a data set lies: what tells it from one of the same name in another set."""
    return os.path.join(images.root, name) if images.root is not None else name


def _open(config: DataConfig, split: str) -> Dataset:
    """A split as its folder, or what makes it, has it."""
    open_split: Callable[[DataConfig, str], Dataset] = import_module(FORMATS[config.name].module).open_split
    images = open_split(config, split)
    if split == "train" and config.num_classes not in (None, len(images.classes)):
        raise DataError(
            f"{images.root or config.name} has {len(images.classes)} classes, not data.num_classes={config.num_classes}"
        )
    return _trained_on(images, config) if split == "train" and not is_divided(config) else images


def _trained_on(images: Dataset, config: DataConfig) -> Dataset:
    """The images of a training set that are trained on."""
    if config.first_per_class is None:
        return images
    chosen = first_of_each_class(images.labels, images.classes, config.first_per_class)
    return images.part(chosen, f"first {config.first_per_class} of each class")


def _divide(images: Dataset, config: DataConfig) -> tuple[Dataset, Dataset]:
    """A training and a validation set from one."""
    names = [str(images.root / name) for name in images.classes] if images.root is not None else images.classes
    validates, what = held_out(images.labels, names, config)
    return _trained_on(images.part(~validates, f"without {what}"), config), images.part(validates, what)


def _version(versions: Iterator[Version], wanted: str | None, fingerprint: Callable[[Version], str]) -> Version:
    """The version that has the wanted fingerprint; the newest, which is the first, where none is wanted or has it."""
    newest = next(versions)
    if wanted is None or fingerprint(newest) == wanted:
        return newest
    return next((earlier for earlier in versions if fingerprint(earlier) == wanted), newest)


def _check_classes(train: Dataset, val: Dataset) -> None:
    sets = (train, train.root or "the training set"), (val, val.root or "the validation set")
    lines = []
    for (one, where), (other, _) in (sets, sets[::-1]):
        alone = sorted(set(one.classes) - set(other.classes))
        if alone:
            lines.append(f"only {where} has {_few(alone)}")
    if lines:
        alike = look_alikes({*train.classes, *val.classes})
        same = f". These look alike and are two names: {', '.join(alike[:5])}" if alike else ""
        raise DataError(f"the classes of {sets[0][1]} and {sets[1][1]} differ: {'; '.join(lines)}{same}")


def _few(names: list[str]) -> str:
    return f"{', '.join(names[:5])}{' …' if len(names) > 5 else ''}"
