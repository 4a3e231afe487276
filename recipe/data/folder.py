"""Images in class folders: scanned once, and from then on only checked against the folder."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from recipe.data.decode import Picture, open_image
from recipe.data.image_files import EARLIER_SUFFIXES, is_image, kinds, left_out
from recipe.data.split import part_fingerprint
from recipe.data.walk import broken_link, walk
from recipe.errors import DataError, RunError
from recipe.files import cache_folders, in_cache, write_atomically

# What systems and archivers put beside class folders: thumbnails, other halves of files, what was deleted.
NOT_CLASSES = frozenset(
    ["@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "__MACOSX", "lost+found", "$RECYCLE.BIN"]
)
CACHE_FORMAT = 2
CACHED_FROM = 20_000  # files: below that a scan takes no time


class Contents(Protocol):
    """The files of a set that lies in archives, see `recipe.data.packed.members`; names are those of the set."""

    said: str

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises OSError, ValueError or DataError."""
        ...

    def where(self, name: str) -> str:
        """Its archive and its name there, for messages."""
        ...

    def size_of(self, name: str) -> int:
        """Its bytes."""
        ...

    def state_of(self, name: str) -> bytes:
        """What changes when its content does."""
        ...


@dataclass
class ImageFolder:
    """Images in class folders. Paths are kept in one array, which forked workers share without copying."""

    root: Path
    paths: np.ndarray  # (images,) bytes, relative to root, in sorted order
    labels: np.ndarray  # (images,) int64
    classes: list[str]
    fingerprint: str
    exif_orientation: bool = False
    strays: list[str] = field(default_factory=list)  # files that are no images by their names, or in no class folder
    not_files: list[str] = field(default_factory=list)  # what is neither a file nor a folder, in words
    earlier: str = ""  # the fingerprint without images whose suffixes were not known before; empty where there are none
    kept_out: list[str] = field(default_factory=list)  # those images, where the set is the one without them
    members: Contents | None = None  # where the images lie in archives; None: they are files below root

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        """The image's file, relative to the data set's folder."""
        return os.fsdecode(self.paths[index])

    def open(self, index: int) -> Picture:
        """One image. Raises DataError, naming the file, as does asking for its pixels."""
        name = self.name(index)
        if self.members is None:
            return open_image(os.path.join(self.root, name), self.exif_orientation)
        return open_image(self.members.where(name), self.exif_orientation, partial(self.members.read, name))

    def part(self, mask: np.ndarray, what: str) -> "ImageFolder":
        """The images where the mask, (images,) bool, is true. `what` tells the part's fingerprint from others'."""
        fingerprint = part_fingerprint(self.fingerprint, what)
        return replace(self, paths=self.paths[mask], labels=self.labels[mask], fingerprint=fingerprint, earlier="")

    def of_new_kinds(self) -> np.ndarray:
        """Which images have suffixes that were not known before, (images,) bool."""
        if not self.earlier:
            return np.zeros(len(self), dtype=bool)
        return np.array([not self.name(index).lower().endswith(EARLIER_SUFFIXES) for index in range(len(self))])

    def versions(self) -> Iterator["ImageFolder"]:
        """The images; and where an earlier version of this program found fewer of them, those."""
        yield self
        if self.earlier:
            yield self.as_before()

    def remarks(self) -> Iterator[str]:
        """What is in the folder and not in the set, and images that were not found until more suffixes were known."""
        if self.members is not None:
            yield self.members.said
        yield from left_out(self.root, self.strays, self.not_files)
        new, kept_out = [self.name(int(i)) for i in np.flatnonzero(self.of_new_kinds())], self.kept_out
        for names, what in ((new, "images that earlier versions left out"), (kept_out, "this run began without")):
            if names:
                yield f"{what}: {names[0]}{' …' * (len(names) > 1)} ({len(names):,} in {self.root})"

    def notices(self) -> Iterator[str]:
        """Folders that systems and archivers make: those beside the class folders are left out, those inside not."""
        root = self.root
        others = sorted(set(os.listdir(root)) & NOT_CLASSES) if self.members is None else []
        if others:
            yield f"left out, no class{'es' * (len(others) > 1)} but what systems make: {', '.join(others)} in {root}"
        names = self.paths.tobytes()  # of a million files searched in a moment
        for name in sorted(NOT_CLASSES):
            if os.fsencode(f"/{name}/") in names:
                count = sum(os.fsencode(f"/{name}/") in path for path in self.paths.tolist())
                yield f"{count:,} of the images of {root} lie in folders {name}, made by systems: copies of others?"

    def as_before(self) -> "ImageFolder":
        """The images that were found when fewer suffixes were known: what is of that time goes on with them."""
        if not self.earlier:
            return self
        new = self.of_new_kinds()
        names = [self.name(int(index)) for index in np.flatnonzero(new)]
        old = {"paths": self.paths[~new], "labels": self.labels[~new], "fingerprint": self.earlier, "earlier": ""}
        return replace(self, **old, kept_out=names)


def members_of(images: object) -> Contents | None:
    """The archives that a data set lies in, also where its images are kept in memory; None where it is files."""
    images = getattr(images, "images", images)
    return images.members if isinstance(images, ImageFolder) else None


def scan_folder(root: Path, exif_orientation: bool = False) -> ImageFolder:
    """The images below root, in class folders sorted by name; a class folder may have folders of its own."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}")
    name = f"scans/{hashlib.blake2b(os.fsencode(root.resolve()), digest_size=12).hexdigest()}.npz"
    kept = (_cached(folder / name, root) for folder in cache_folders())
    found = next((images for images in kept if images is not None), None)
    if found is None:
        found, folders = _scan(root)
        if len(found) >= CACHED_FROM:
            with suppress(RunError):  # nowhere to keep it: scanned again by the next start
                in_cache(name, lambda path: False, partial(_cache, images=found, folders=folders))
    return replace(found, exif_orientation=exif_orientation)


def _scan(root: Path) -> tuple[ImageFolder, list[str]]:
    """The images, and every folder that was looked into, relative to root."""
    classes, strays = _class_folders(root)
    if len(classes) < 2:
        raise DataError(f"{root} needs at least two class folders; it has {len(classes)}")
    found = walk(root, classes)
    if found.broken:
        raise broken_link(root, found.broken)
    return in_class_folders(root, classes, found.files, strays, found.not_files), found.folders


def in_class_folders(
    root: Path, classes: list[str], found: list[tuple[str, int]], strays: list[str], not_files: list[str]
) -> ImageFolder:
    """The images of some files, in the one order that all formats have. Raises DataError where a class has none.

    Args:
        classes: sorted.
        found: names, as CLASS/NAME, and bytes; sorted.
        strays: gets the files that are no images.
        not_files: what is neither a file nor a folder, in words.
    """
    files: dict[str, list[tuple[str, int]]] = {name: [] for name in classes}
    for path, size in found:
        files[path.partition("/")[0]].append((path, size))
    digest, earlier = (hashlib.blake2b(digest_size=8) for _ in range(2))
    paths: list[bytes] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = [(path, size) for path, size in files[name] if is_image(path)]
        strays.extend(path for path, _ in files[name] if not is_image(path))
        if not images:
            raise DataError(_no_images(root, name, strays, not_files))
        for path, size in images:
            line = f"{path}\0{size}\0".encode("utf-8", "surrogateescape")
            digest.update(line)
            if path.lower().endswith(EARLIER_SUFFIXES):
                earlier.update(line)
            paths.append(os.fsencode(path))
            labels.append(label)
    images_found = ImageFolder(root, np.array(paths), np.array(labels, dtype=np.int64), classes, digest.hexdigest())
    before = earlier.hexdigest() if earlier.digest() != digest.digest() else ""
    return replace(images_found, strays=strays, not_files=not_files, earlier=before)


def _class_folders(root: Path) -> tuple[list[str], list[str]]:
    """The class folders, and the images beside them. Raises DataError where one of them cannot be looked at."""
    classes, loose, broken = [], [], []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in NOT_CLASSES:
                    continue
                if os.path.isdir(entry.path):
                    classes.append(entry.name)
                elif not os.path.exists(entry.path):
                    broken.append(entry.name)
                elif is_image(entry.name) and os.path.isfile(entry.path):
                    loose.append(entry.name)
    except OSError as error:
        raise DataError(f"cannot read the folder {root}: {error.strerror}") from error
    if broken:
        raise broken_link(root, sorted(broken))
    return sorted(classes), sorted(loose)


def _no_images(root: Path, name: str, strays: list[str], not_files: list[str]) -> str:
    own = [stray for stray in strays if stray.startswith(f"{name}/")]
    repeated = [told.removeprefix(name) for told in not_files if told.startswith(f"{name} (")]
    there = f"; it has {kinds(own)}" if own else "".join(repeated)
    return f"the class folder {root / name} has no images{there}"


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
                not_files=np.array([os.fsencode(name) for name in images.not_files], dtype=bytes),
                fingerprint=images.fingerprint,
                earlier=images.earlier,
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
            names = {key: [os.fsdecode(name) for name in scan[key]] for key in ("classes", "strays", "not_files")}
            found = ImageFolder(root, scan["paths"], scan["labels"], names["classes"], str(scan["fingerprint"]))
            return replace(found, strays=names["strays"], not_files=names["not_files"], earlier=str(scan["earlier"]))
    except Exception:  # not there, not ours, or not whole: NumPy and zipfile raise many kinds
        return None
