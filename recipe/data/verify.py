"""Every image of a folder decoded once, as training does it: which cannot be read, and which are odd."""

import io
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image

from recipe.data.decode import decode
from recipe.data.folder import IMAGE_SUFFIXES
from recipe.data.workers import in_chunks
from recipe.errors import DataError

# Pillow's names of what a suffix promises.
FORMATS = {
    ".jpg": ("JPEG", "MPO"),
    ".jpeg": ("JPEG", "MPO"),
    ".png": ("PNG",),
    ".bmp": ("BMP", "DIB"),
    ".gif": ("GIF",),
    ".webp": ("WEBP",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
    ".ppm": ("PPM",),
    ".pgm": ("PPM",),
}
TINY = 16  # pixels: a shorter side below it
ORIENTATION = 0x0112  # EXIF's tag
REASONS = (OSError, RuntimeError, ValueError, SyntaxError, Image.DecompressionBombError)


@dataclass
class Found:
    """What was seen."""

    images: int = 0
    odd: Counter[str] = field(default_factory=Counter)  # images that can be read, by what is odd about them
    bad: dict[str, str] = field(default_factory=dict)  # name relative to the folder → reason
    others: int = 0  # files that are no images by their names

    def __iadd__(self, other: "Found") -> "Found":
        self.images += other.images
        self.odd.update(other.odd)
        self.bad.update(other.bad)
        return self


def verify(root: Path, workers: int) -> Found:
    """Decode every image below a folder. Raises DataError where there is none, and BrokenProcessPool."""
    if not root.is_dir():
        raise DataError(f"there is no folder {root}")
    names = sorted(_files(root))
    images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
    if not images:
        raise DataError(f"{root} has no images ({', '.join(IMAGE_SUFFIXES)})")
    found = Found(others=len(names) - len(images))
    for some in in_chunks(partial(_look_at, root), images, workers):
        found += some
    found.bad = dict(sorted(found.bad.items()))
    return found


def oddities(encoded: bytes, suffix: str) -> list[str]:
    """What is odd about an image that can be read."""
    with Image.open(io.BytesIO(encoded)) as picture:
        formats, mode, size = FORMATS[suffix.lower()], picture.mode, picture.size
        try:
            orientation = picture.getexif().get(ORIENTATION, 1)
        except Exception:  # broken EXIF data: any of a dozen errors
            orientation = 1
        kind = picture.format
    found = {
        f"{kind} named {suffix}": kind not in formats,
        "CMYK": mode == "CMYK",
        "16 bit": mode.startswith("I"),
        "grey": mode in ("L", "LA", "1"),
        "with transparency": mode in ("RGBA", "LA", "PA"),
        "turned by EXIF": orientation not in (0, 1),
        f"under {TINY} px": min(size) < TINY,
    }
    return [name for name, is_so in found.items() if is_so]


def _look_at(root: Path, names: list[str]) -> Found:
    found = Found(images=len(names))
    for name in names:
        try:
            encoded = (root / name).read_bytes()
            decode(encoded)
            found.odd.update(oddities(encoded, os.path.splitext(name)[1]))
        except REASONS as error:
            found.bad[name] = (str(error).splitlines() or [type(error).__name__])[0].replace(f" {root / name}", "")
    return found


def _files(root: Path) -> Iterator[str]:
    """All files below a folder but hidden ones, relative to it."""
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.relpath(os.path.join(folder, name), root) for name in files if not name.startswith("."))
