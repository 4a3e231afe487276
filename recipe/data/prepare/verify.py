"""Every image of a folder decoded once, as training does it: which cannot be read, which are odd, how large they are;
and what is wrong with the class folders.
"""

import io
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from recipe.data.class_folders import Problems, look_at_classes
from recipe.data.decode import decode_any
from recipe.data.image_files import IMAGE_SUFFIXES, is_image, is_named_rightly, kinds, left_out
from recipe.data.modes import SIXTEEN
from recipe.data.prepare.chunks import in_chunks
from recipe.data.prepare.whole_folder import FACTS, facts_of
from recipe.data.store import MARKER, STORE, read_own
from recipe.data.unreadable import read, why_unreadable
from recipe.data.walk import walk
from recipe.errors import DataError

TINY = 16  # pixels: a shorter side below it
ORIENTATION = 0x0112  # EXIF's tag


class Size(NamedTuple):
    """Of an image, and the first one by name that has it."""

    width: int
    height: int
    name: str


@dataclass
class Verified:
    """What was seen."""

    images: int = 0
    odd: Counter[str] = field(default_factory=Counter)  # images that can be read, by what is odd about them
    bad: dict[str, str] = field(default_factory=dict)  # name relative to the folder → reason
    others: int = 0  # files that are no images by their names
    broken: int = 0  # links that lead to nothing, which are bad, and which training does not go on without
    left_out: list[str] = field(default_factory=list)  # lines about them, and about what is no file
    classes: Problems = field(default_factory=lambda: Problems([], []))
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)  # images of each width and height
    names: dict[tuple[int, int], str] = field(default_factory=dict)  # the first image of each

    def __iadd__(self, other: "Verified") -> "Verified":
        self.images += other.images
        self.odd.update(other.odd)
        self.bad.update(other.bad)
        self.counts.update(other.counts)
        for size, name in other.names.items():
            self.names[size] = min(name, self.names.get(size, name))
        return self

    def look(self, name: str, path: Path, content: Callable[[], bytes]) -> None:
        """Note what an image shows that `content` reads; `path` is what messages call it."""
        try:
            encoded = content()
            pixels, guess = decode_any(encoded)
            self.odd.update(oddities(encoded, os.path.splitext(name)[1]))
        except Exception as error:  # decoders raise anything on damaged files
            self.bad[name] = why_unreadable(error, path)
            return
        self.odd["of a guessed range (docs/DATA.md)"] += bool(guess)
        size = pixels.shape[2], pixels.shape[1]
        self.counts[size] += 1
        self.names[size] = min(name, self.names.get(size, name))

    def sizes(self) -> dict[str, Size]:
        """The smallest, the median and the largest image, by pixels; none where none can be read."""
        ordered = sorted(self.counts, key=lambda size: (size[0] * size[1], size))
        if not ordered:
            return {}
        middle, seen = (self.counts.total() + 1) // 2, 0
        for median in ordered:
            seen += self.counts[median]
            if seen >= middle:
                break
        found = {"smallest": ordered[0], "median": median, "largest": ordered[-1]}
        return {which: Size(*size, self.names[size]) for which, size in found.items()}


def verify(root: Path, workers: int) -> Verified:
    """What decoding all images of a folder shows. Raises DataError where there is none, or BrokenProcessPool."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}")
    walked = walk(root)
    names = [name for name, _ in walked.files]
    images = [name for name in names if is_image(name)]
    strays = [name for name in names if not is_image(name) and not _is_ours(root, name)]
    if not images:
        there = f"; there are {kinds(strays)}" if strays else ""
        raise DataError(f"{root} has no images ({', '.join(IMAGE_SUFFIXES)}){there}")
    found = Verified(
        others=len(strays), broken=len(walked.broken), left_out=list(left_out(root, strays, walked.not_files))
    )
    found.bad = {name: "a link to something that is not there" for name in walked.broken}
    found.classes = look_at_classes(walked.folders, images)
    for some in in_chunks(partial(_look_at, root), images, workers):
        found += some
    found.bad = dict(sorted(found.bad.items()))
    return found


def _is_ours(root: Path, name: str) -> bool:
    """Whether a file is one that this program has put beside the class folders."""
    if name == FACTS:
        return facts_of(root) is not None
    return name in (STORE, MARKER) and read_own(root / name) is not None


def oddities(encoded: bytes, suffix: str) -> list[str]:
    """What is odd about an image that can be read."""
    with Image.open(io.BytesIO(encoded)) as picture:
        mode, size = picture.mode, picture.size
        try:
            orientation = picture.getexif().get(ORIENTATION, 1)
        except Exception:  # broken EXIF data: any of a dozen errors
            orientation = 1
        kind = picture.format
    found = {
        f"{kind} named {suffix}": not is_named_rightly(kind, f"image{suffix}"),
        "CMYK": mode == "CMYK",
        "16 bit": mode in SIXTEEN or (mode == "I" and kind == "PPM"),
        "32 bit": mode == "F" or (mode == "I" and kind != "PPM"),
        "grey": mode in ("L", "LA", "La", "1"),
        "with transparency": mode in ("RGBA", "RGBa", "LA", "La", "PA"),
        "turned by EXIF": orientation not in (0, 1),
        f"under {TINY} px": min(size) < TINY,
    }
    return [name for name, is_so in found.items() if is_so]


def _look_at(root: Path, names: list[str]) -> Verified:
    found = Verified(images=len(names))
    for name in names:
        found.look(name, root / name, partial(read, root / name))
    found.odd = +found.odd
    return found
