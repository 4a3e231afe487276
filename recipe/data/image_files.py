"""Which files are images, by their names alone, and how those that are none are told: one list and one way for all."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.util import find_spec

from PIL import features

# Suffixes → Pillow's name of the format. Not here: what is drawn and no photo (EPS, WMF, icons), films, layers (PSD).
KNOWN = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".mpo": "MPO",
    ".png": "PNG",
    ".apng": "PNG",
    ".bmp": "BMP",
    ".dib": "DIB",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".pfm": "PPM",
    ".avif": "AVIF",
    ".avifs": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
    ".jp2": "JPEG2000",
    ".j2k": "JPEG2000",
    ".j2c": "JPEG2000",
    ".jpc": "JPEG2000",
    ".jpf": "JPEG2000",
    ".jpx": "JPEG2000",
    ".tga": "TGA",
    ".pcx": "PCX",
    ".sgi": "SGI",
    ".ras": "SUN",
    ".qoi": "QOI",
    ".dds": "DDS",
}
EARLIER_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")  # until 1.0
ALIKE = ({"JPEG", "MPO"}, {"BMP", "DIB"})  # formats that one suffix stands for
NEEDS = {  # formats that not every Pillow reads: whether this one does, and what it would take
    "AVIF": (bool(features.check("avif")), "a Pillow with AVIF"),
    "JPEG2000": (bool(features.check("jpg_2000")), "a Pillow with OpenJPEG"),
    "HEIF": (find_spec("pillow_heif") is not None, "the package pillow-heif"),
}
IMAGE_SUFFIXES = tuple(suffix for suffix, kind in KNOWN.items() if NEEDS.get(kind, (True, ""))[0])

if NEEDS["HEIF"][0]:
    from pillow_heif import register_heif_opener

    register_heif_opener()


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def suffix_of(name: str) -> str:
    """`.jpg` of A.JPG."""
    return os.path.splitext(name)[1].lower()


def is_named_rightly(format: str | None, name: str) -> bool:
    """Whether an image's format, as Pillow calls it, is what its name says."""
    said = KNOWN.get(suffix_of(name))
    return format == said or any({format, said} <= alike for alike in ALIKE)


def what_is_missing(name: str) -> str | None:
    """What it would take to read a file of this name; None where nothing is missing."""
    readable, what = NEEDS.get(KNOWN.get(suffix_of(name), ""), (True, ""))
    return None if readable else what


def left_out(root: str | os.PathLike[str], names: Iterable[str], not_files: Iterable[str] = ()) -> Iterator[str]:
    """What is left out of a folder, as lines of text.

    Args:
        names: of files, relative to root.
        not_files: what is neither a file nor a folder, in words.
    """
    names, others = list(names), list(not_files)
    strays = [name for name in names if not is_image(name)]
    loose = [name for name in names if is_image(name)]
    if strays:
        what = "no images by their names" if len(strays) > 1 else "no image by its name"
        yield f"left out, {what}: {_first(strays)}"
        yield f"({len(strays):,} file{'s' * (len(strays) > 1)} in {root}: {kinds(strays)})"
    if loose:
        yield f"left out, in no class folder: {_first(loose)} ({len(loose):,} in {root})"
    if others:
        yield f"left out, neither file nor folder: {_first(others)} ({len(others):,} in {root})"


def _first(names: list[str]) -> str:
    return f"{names[0]}{' …' if len(names) > 1 else ''}"


def kinds(names: list[str]) -> str:
    """`2 .txt, 1 .heic, which needs the package pillow-heif`."""
    counted = Counter(suffix_of(name) or "without a suffix" for name in names).most_common()
    told = [
        f"{number:,} {kind}" + (f", which needs {what}" if (what := what_is_missing(f"a{kind}")) else "")
        for kind, number in counted[:5]
    ]
    return ", ".join(told) + (" …" if len(counted) > 5 else "")
