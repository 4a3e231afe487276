"""data.format: where a split's images lie in archives, and the data set that they are. Named at the start of a run."""

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recipe.config import DataConfig
from recipe.data.folder import NOT_CLASSES, ImageFolder, in_class_folders
from recipe.data.image_files import is_image
from recipe.data.packed import imagenet
from recipe.data.packed.entries import Entry
from recipe.data.packed.kept import kept
from recipe.data.packed.layout import CLASS_NAMES, Placed, common_folder, place
from recipe.data.packed.members import Members, stamp
from recipe.data.packed.patterns import COMPRESSED, complete, is_archive, is_pattern, shards_of
from recipe.data.packed.scanning import scan
from recipe.data.packed.tars import entries_of_tar
from recipe.data.packed.zips import entries_of_zip
from recipe.data.split import is_divided
from recipe.errors import DataError

LOOK = {".tar": entries_of_tar, ".zip": entries_of_zip}
CALLED = {"tar": "tar shards", "zip": "a zip", "imagenet_tar": "ImageNet's own tars"}
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


class Located(NamedTuple):
    """Archives that hold a split."""

    format: str
    archives: list[Path]
    root: Path  # what the set is called: where there are files, its archives or their pattern
    inner: tuple[str, ...] = ("",)  # folders of the archives that may be the split; "": all of them


def open_packed(config: DataConfig, split: str, names: Sequence[str]) -> ImageFolder | None:
    """The images of a split that lies in archives; None where it lies in folders. Raises DataError.

    Args:
        names: what the split's folder may be called, in the order of preference.
    """
    found = _find(config, split, names)
    if config.format not in ("auto", "folder") and (found is None or found.format != config.format):
        raise DataError(f"data.format={config.format}: {config.root} has no such archives for {' or '.join(names)}")
    if found is None:
        return None
    beside = _beside(found)
    watched = [*found.archives, *beside]
    try:
        stamps = np.array([stamp(path) for path in watched], dtype=np.int64)
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
    what = repr((found.format, str(found.root), found.inner, split, config.num_classes, [path.name for path in beside]))
    images = kept(what, stamps, watched, lambda: _open(config, found, beside, stamps, split))
    images.root = found.root  # in the words of this config
    return images


def _find(config: DataConfig, split: str, names: Sequence[str]) -> Located | None:
    root, whole = Path(str(config.root)), is_divided(config) and split == "train"
    if config.format == "folder":
        return None
    inner = (*names, "") if whole else tuple(names)
    if root.is_file() or (not root.is_dir() and is_pattern(str(root))):
        if str(root).lower().endswith(COMPRESSED):
            raise DataError(f"{root} is compressed, and cannot be read at any place: unpack it to a .tar with gunzip")
        if not is_archive(root.name):
            raise DataError(f"{root} is no folder, .tar or .zip")
        return _of(shards_of(root) if is_pattern(str(root)) else [root], root, inner)
    if not root.is_dir():
        return None
    for name in names:
        path = root / name
        if is_archive(name):
            return _of(shards_of(path), path)
        if path.is_dir():
            own = _archives_in(path, alone=True)
            if own:
                complete(own)
                return _of(own, path)
            if config.format == "auto":
                return None
        for suffix in LOOK if config.format == "auto" else [f".{config.format}"]:
            if (archive := path.with_name(path.name + suffix)).is_file():
                return _of([archive], archive)
    original = root / (imagenet.TRAIN if split == "train" else imagenet.VAL)
    if split != "test" and original.is_file():
        return Located("imagenet_tar", [original], original)
    own = _archives_in(root, alone=False)
    words = "|".join(SPLITS[split])
    if of_split := [path for path in own if re.search(rf"(?:^|[-_.])(?:{words})(?:[-_.\d]|$)", path.name.lower())]:
        complete(of_split)
        return _of(of_split, root / f"*{SPLITS[split][0]}*{of_split[0].suffix}")
    if whole and (own := _archives_in(root, alone=True)):
        complete(own)
        return _of(own, root, inner)
    return None


def _of(archives: list[Path], root: Path, inner: tuple[str, ...] = ("",)) -> Located:
    kinds = {path.suffix.lower() for path in archives}
    if len(kinds) > 1:
        raise DataError(f"{root} has archives of several kinds ({', '.join(sorted(kinds))}): name one pattern")
    return Located(kinds.pop().removeprefix("."), archives, root, inner)


def _archives_in(folder: Path, alone: bool) -> list[Path]:
    """The tars of a folder, or else its zips, sorted; with `alone` none where it has folders of its own."""
    with os.scandir(folder) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(".")]
        if alone and any(entry.is_dir() for entry in seen):
            return []
        files = sorted(Path(entry.path) for entry in seen if entry.is_file())
    tars = [path for path in files if path.suffix.lower() == ".tar"]
    return tars or [path for path in files if path.suffix.lower() == ".zip"]


def _beside(found: Located) -> list[Path]:
    """Files that labels come from, beside the archives."""
    folder = found.archives[0].parent
    if found.format == "imagenet_tar":
        folders = (folder, folder / "ILSVRC2012_devkit_t12" / "data")
        places = [place / name for place in folders for name in imagenet.TABLES]
        return [path for path in places if path.is_file()] if found.archives[0].name == imagenet.VAL else []
    places = [place / name for place in (folder, folder.parent) for name in CLASS_NAMES]
    return [path for path in places if path.is_file()][:1]


def _open(config: DataConfig, found: Located, beside: list[Path], stamps: np.ndarray, split: str) -> ImageFolder:
    archives = [*found.archives, *beside]
    if found.format == "imagenet_tar":
        archive = found.archives[0]
        own, placed = imagenet.train_images(archive) if split == "train" else imagenet.val_images(archive, beside)
        entries = [own]
    else:
        entries = _entries(tuple(found.archives), stamps.tobytes())
        class_names = beside[0].read_text("utf-8", "replace").splitlines() if beside else None
        placed = place(found.archives, entries, _inner(entries, found), class_names, config.num_classes)
    return _set_of(found, archives, stamps, entries, placed)


@lru_cache(maxsize=1)
def _entries(archives: tuple[Path, ...], stamps: bytes) -> list[list[Entry]]:
    """What the archives hold, once for all splits that lie in them."""
    return scan([(path,) for path in archives], LOOK[archives[0].suffix.lower()])


def _inner(entries: Sequence[Sequence[Entry]], found: Located) -> str:
    """The folder of the archives that is the split. Raises DataError where there is none."""
    names = [entry.name for own in entries for entry in own if is_image(entry.name)]
    top = common_folder(names)
    for folder in found.inner:
        for inner in (folder, f"{top}/{folder}"):
            if not folder or any(name.startswith(f"{inner}/") for name in names):
                return inner if folder else ""
    wanted = " or ".join(found.inner)
    raise DataError(
        f"{found.root} has no folder {wanted} in it: data.train_dir and data.val_dir name those it has, and "
        "data.val_fraction=0.2 holds out a share of the images"
    )


def _set_of(
    found: Located, archives: list[Path], stamps: np.ndarray, entries: Sequence[Sequence[Entry]], placed: Placed
) -> ImageFolder:
    classes = sorted({name.partition("/")[0] for name, _ in placed.files} - NOT_CLASSES)
    if len(classes) < 2:
        raise DataError(f"{found.root} needs at least two classes; it has {len(classes)}")
    files = sorted(file for file in placed.files if file[0].partition("/")[0] not in NOT_CLASSES)
    images = in_class_folders(found.root, classes, files, sorted(placed.strays), sorted(placed.not_files))
    names = np.array([os.fsencode(name) for name, _ in placed.files])
    order = np.argsort(names, kind="stable")
    own = [entries[archive][number] for archive, number in placed.numbers]
    columns: dict[str, Any] = {
        "inner": np.array([os.fsencode(entry.name) for entry in own]),
        "archive": np.array([archive for archive, _ in placed.numbers], dtype=np.int32),
        "crc": np.array([entry.crc for entry in own], dtype=np.int64),
        "deflated": np.array([entry.deflated for entry in own], dtype=bool),
        **{key: np.array([getattr(entry, key) for entry in own], dtype=np.int64) for key in ("size", "at", "stored")},
    }
    deflated = int(columns["deflated"].sum())
    compressed = f", {deflated:,} of them compressed" if deflated else ""
    several = f"{len(found.archives):,} " if found.format == "tar" else ""
    what = "a tar" if several == "1 " else f"{several}{CALLED[found.format]}"
    images.members = Members(
        archives,
        stamps,
        names[order],
        **{key: column[order] for key, column in columns.items()},
        said=f"read from {what} as they are{compressed}, labels by {placed.by}: {found.root}",
    )
    return images
