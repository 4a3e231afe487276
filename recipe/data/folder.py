"""Images in class folders: scanned once, and from then on only checked against the folder."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from recipe.data.decode import Picture, open_image
from recipe.data.split import part_fingerprint
from recipe.errors import DataError
from recipe.files import cache_folder, write_atomically

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# What systems and archivers put beside class folders: thumbnails, other halves of files, what was deleted.
NOT_CLASSES = frozenset(
    ["@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "__MACOSX", "lost+found", "$RECYCLE.BIN"]
)
CACHE_FORMAT = 1
CACHED_FROM = 20_000  # files: below that a scan takes no time


@dataclass
class ImageFolder:
    """Images in class folders. Paths are kept in one array, which forked workers share without copying."""

    root: Path
    paths: np.ndarray  # (images,) bytes, relative to root, in sorted order
    labels: np.ndarray  # (images,) int64
    classes: list[str]
    fingerprint: str
    exif_orientation: bool = False
    strays: list[str] = field(default_factory=list)  # files in class folders that are no images by their names

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """The image's file, relative to the data set's folder."""
        return os.fsdecode(self.paths[index])

    def open(self, index: int) -> Picture:
        """One image. Raises DataError, naming the file, as does asking for its pixels."""
        return open_image(os.path.join(self.root, self.name(index)), self.exif_orientation)

    def part(self, mask: np.ndarray, what: str) -> "ImageFolder":
        """The images where the mask, (images,) bool, is true. `what` tells the part's fingerprint from others'."""
        fingerprint = part_fingerprint(self.fingerprint, what)
        return replace(self, paths=self.paths[mask], labels=self.labels[mask], fingerprint=fingerprint)


def scan_folder(root: Path, exif_orientation: bool = False) -> ImageFolder:
    """The images below root, in class folders sorted by name; a class folder may have folders of its own."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}")
    cache = cache_folder() / "scans" / f"{hashlib.blake2b(os.fsencode(root.resolve()), digest_size=12).hexdigest()}.npz"
    found = _cached(cache, root)
    if found is None:
        found, folders = _scan(root)
        if len(found) >= CACHED_FROM:
            _cache(cache, found, folders)
    return replace(found, exif_orientation=exif_orientation)


def _scan(root: Path) -> tuple[ImageFolder, list[str]]:
    """The images, and every folder that was looked into, relative to root."""
    found = (entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    classes = sorted(set(found) - NOT_CLASSES)
    if len(classes) < 2:
        raise DataError(f"{root} needs at least two class folders; it has {len(classes)}")
    digest = hashlib.blake2b(digest_size=8)
    paths: list[bytes] = []
    labels: list[int] = []
    strays: list[str] = []
    folders: list[str] = [""]
    for label, name in enumerate(classes):
        files = sorted(_files_below(root / name, name, folders))
        images = [(path, size) for path, size in files if path.lower().endswith(IMAGE_SUFFIXES)]
        strays.extend(path for path, _ in files if not path.lower().endswith(IMAGE_SUFFIXES))
        if not images:
            raise DataError(f"the class folder {root / name} has no images")
        for path, size in images:
            digest.update(f"{path}\0{size}\0".encode("utf-8", "surrogateescape"))
            paths.append(os.fsencode(path))
            labels.append(label)
    labels_array = np.array(labels, dtype=np.int64)
    return ImageFolder(root, np.array(paths), labels_array, classes, digest.hexdigest(), strays=strays), folders


def _files_below(folder: Path, relative: str, folders: list[str]) -> Iterator[tuple[str, int]]:
    """(path relative to the data set's root, bytes) of every file in a folder and the folders in it."""
    folders.append(relative)
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{relative}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _files_below(folder / entry.name, path, folders)
            else:
                try:
                    yield path, entry.stat().st_size
                except FileNotFoundError as error:
                    raise DataError(f"{folder / entry.name} is a link to a file that is not there") from error


def _times(root: Path, folders: list[str]) -> np.ndarray:
    """When each folder last got or lost a file, in ns."""
    return np.array([os.stat(os.path.join(root, folder)).st_mtime_ns for folder in folders])


def _cache(path: Path, images: ImageFolder, folders: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(
                file,
                format=CACHE_FORMAT,
                paths=images.paths,
                labels=images.labels,
                classes=np.array([os.fsencode(name) for name in images.classes]),
                strays=np.array([os.fsencode(name) for name in images.strays], dtype=bytes),
                fingerprint=images.fingerprint,
                folders=np.array([os.fsencode(name) for name in folders]),
                times=_times(images.root, folders),
            )

    write_atomically(path, write)


def _cached(path: Path, root: Path) -> ImageFolder | None:
    """The scan of before, where no folder has got or lost a file since."""
    try:
        with np.load(path, allow_pickle=False) as scan:
            folders = [os.fsdecode(name) for name in scan["folders"]]
            if scan["format"] != CACHE_FORMAT or not np.array_equal(_times(root, folders), scan["times"]):
                return None
            classes, strays = ([os.fsdecode(name) for name in scan[key]] for key in ("classes", "strays"))
            return ImageFolder(root, scan["paths"], scan["labels"], classes, str(scan["fingerprint"]), strays=strays)
    except (OSError, ValueError, KeyError, BadZipFile):
        return None  # not there, not ours, or not whole
