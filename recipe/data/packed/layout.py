"""From the files of archives to those of a data set, CLASS/NAME as a folder has them: by class folders or WebDataset's
labels (`KEY.jpg` beside `KEY.cls` or `KEY.json`).
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recipe.data.image_files import is_image
from recipe.data.packed.entries import Entry, is_sidecar
from recipe.errors import DataError

OF_JSON = ("label", "cls", "class", "class_name")  # what a .json calls an image's class
CLASS_NAMES = ("classnames.txt", "classes.txt")  # beside shards: a line for each number


@dataclass
class Placed:
    """The images of a data set, and what else there is."""

    files: list[tuple[str, int]] = field(default_factory=list)  # name in the set, and bytes
    numbers: list[tuple[int, int]] = field(default_factory=list)  # of each: its archive, and its place there
    strays: list[str] = field(default_factory=list)  # what is no image, or in no class folder
    not_files: list[str] = field(default_factory=list)  # in words
    by: str = "class folders"  # what labels them


def inside(name: str, folder: str) -> str | None:
    """A name relative to a folder of an archive; None where it is not in it."""
    return name[len(folder) + 1 :] if folder and name.startswith(f"{folder}/") else None if folder else name


def place(
    archives: Sequence[Path],
    entries: Sequence[Sequence[Entry]],
    folder: str,
    class_names: Sequence[str] | None,
    num_classes: int | None,
) -> Placed:
    """The images below a folder of archives. Raises DataError, naming archive and file.

    Args:
        folder: "": all of them.
        class_names: of labels that are numbers; None: they are called by their numbers.
        num_classes: where labels that are numbers end, None where nothing says it.
    """
    placed, names, labels = Placed(), [], {}
    for number, own in enumerate(entries):
        for at, entry in enumerate(own):
            name = inside(entry.name, folder)
            if name is None or any(part.startswith(".") for part in name.split("/")):
                continue
            if entry.kind:
                placed.not_files.append(f"{name} ({entry.kind})")
            elif is_sidecar(name):
                labels[number, _key(name), os.path.splitext(name)[1].lower()] = entry
            elif is_image(name):
                names.append(((number, at), name))
            else:
                placed.strays.append(name)
    keys = [(where[0], _key(name)) for where, name in names]
    found = [_label(archives, labels, key) for key in keys]
    labelled = any(label is not None for label in found)
    common = common_folder([name for _, name in names])
    if common and not labelled and all("/" not in name[len(common) + 1 :] for _, name in names):
        common = common.rpartition("/")[0]  # the one class that there is
    names = [(where, inside(name, common) or "") for where, name in names]
    placed.strays = [inside(name, common) or name for name in placed.strays]
    if labelled and not _folders_say_the_same(names, found):
        names = _by_label(archives, entries, names, keys, found, class_names, num_classes)
        placed.by = ".cls or .json" + (" and a list of classes" if class_names is not None else "")
    loose = [name for _, name in names if "/" not in name]
    if loose and len(loose) == len(names):
        where = names[0][0]
        example = f"{archives[where[0]]}: {entries[where[0]][where[1]].name}"
        raise DataError(f"{example} has no label: it is in no class folder, and no .cls or .json is beside it")
    placed.strays += loose
    for where, name in names:
        if "/" in name:
            placed.files.append((name, entries[where[0]][where[1]].size))
            placed.numbers.append(where)
    _refuse_twins(archives, entries, placed)
    return placed


def _key(name: str) -> str:
    """What WebDataset calls a sample: all before the first point of the file's name."""
    above, _, file = name.rpartition("/")
    return f"{above}/{file.partition('.')[0]}"


def common_folder(names: Sequence[str]) -> str:
    """The folder that all images lie in: with two classes or more it is no class, nor are those above it."""
    return os.path.commonpath([name.rpartition("/")[0] for name in (min(names), max(names))]) if names else ""


def _label(archives: Sequence[Path], labels: dict[tuple[int, str, str], Entry], key: tuple[int, str]) -> str | None:
    """An image's label as text; None where nothing says it."""
    if (entry := labels.get((*key, ".cls"))) is not None:
        try:
            return entry.label.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise DataError(f"{archives[key[0]]}: {entry.name} holds no text, and so no label") from None
    if (entry := labels.get((*key, ".json"))) is not None:
        try:
            content = json.loads(entry.label)
        except ValueError as error:
            raise DataError(f"{archives[key[0]]}: {entry.name} is no JSON: {error}") from None
        if isinstance(content, dict):
            return next((str(content[name]) for name in OF_JSON if content.get(name) is not None), None)
    return None


def _folders_say_the_same(names: list[tuple[tuple[int, int], str]], labels: list[str | None]) -> bool:
    """Whether every image lies in a class folder, and each label is that of one folder alone."""
    pairs = {(name.partition("/")[0], label) for (_, name), label in zip(names, labels, strict=True)}
    folders, own = ({pair[side] for pair in pairs} for side in (0, 1))
    return all("/" in name for _, name in names) and len(pairs) == len(folders) == len(own)


def _by_label(
    archives: Sequence[Path],
    entries: Sequence[Sequence[Entry]],
    names: list[tuple[tuple[int, int], str]],
    keys: list[tuple[int, str]],
    labels: list[str | None],
    class_names: Sequence[str] | None,
    num_classes: int | None,
) -> list[tuple[tuple[int, int], str]]:
    """The names, below the names of their labels' classes. Numbers are written so that they sort as numbers do."""
    end = len(class_names) if class_names is not None else num_classes
    are_numbers = all(label is not None and label.removeprefix("-").isdecimal() for label in labels)
    width = len(str((end or 1 + max(int(str(label)) for label in labels)) - 1)) if are_numbers else 0
    placed: list[tuple[tuple[int, int], str]] = []
    seen: set[tuple[int, str]] = set()
    for (where, name), key, label in zip(names, keys, labels, strict=True):
        file = f"{archives[where[0]]}: {entries[where[0]][where[1]].name}"
        if label is None or not label or "/" in label or label.startswith("."):
            raise DataError(f"{file} has no label beside it, as others have in .cls or .json")
        if key in seen:
            raise DataError(f"{file} is one of two images that have one label beside them: which is meant is not said")
        seen.add(key)
        if are_numbers:
            number = int(label)
            if number < 0 or (end is not None and number >= end):
                raise DataError(f"{file} has the label {number}: there are labels from 0 to {(end or 1) - 1:,}")
            label = class_names[number] if class_names is not None else f"{number:0{width}}"
        placed.append((where, f"{label}/{name}"))
    return placed


def _refuse_twins(archives: Sequence[Path], entries: Sequence[Sequence[Entry]], placed: Placed) -> None:
    first: dict[str, tuple[int, int]] = {}
    for (name, _), where in zip(placed.files, placed.numbers, strict=True):
        if (other := first.setdefault(name, where)) != where:
            one, two = (f"{archives[at[0]]}: {entries[at[0]][at[1]].name}" for at in (other, where))
            raise DataError(f"two images are called {name}: {one}, and {two}")
