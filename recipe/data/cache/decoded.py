"""A file of decoded images: pixels, then where those of each image stand, then a header that makes it whole.

Each image lies as decoders leave it, (height, width, 3) uint8. The file is written once, and from then on only read.
"""

import json
import mmap
import os
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from recipe.data.decode import Picture
from recipe.ingredients.box import Box

FORMAT = 1
HEADER_BYTES = 4096  # at the beginning of the file; pixels follow
LONGEST_GUESS = 64  # bytes of the range that an image's values were guessed to have
# Of an image: where its pixels begin, its sides, and what was guessed. A height of 0: it is not in the file.
ENTRY = np.dtype([("at", "<i8"), ("height", "<i4"), ("width", "<i4"), ("guess", f"S{LONGEST_GUESS}")])


class Image(NamedTuple):
    """What is known of an image that was written."""

    number: int
    at: int
    height: int
    width: int
    guess: str


def write_pixels(descriptor: int, pixels: Tensor, at: int) -> None:
    """Write an image's pixels, (3, height, width) uint8. Raises OSError where there is no room."""
    content = memoryview(pixels.permute(1, 2, 0).contiguous().numpy().reshape(-1))
    while len(content):
        written = os.pwrite(descriptor, content, at)
        at, content = at + written, content[written:]


def write_entries(descriptor: int, images: Sequence[Image], count: int, end: int) -> None:
    """What makes the file whole: where each of `count` images stands, behind the pixels' end, and the header."""
    entries = np.zeros(count, dtype=ENTRY)
    for image in images:
        entries[image.number] = image.at, image.height, image.width, image.guess.encode()
    header = {"format": FORMAT, "entries": end, "images": count}
    os.pwrite(descriptor, entries.tobytes(), end)
    os.pwrite(descriptor, json.dumps(header).encode().ljust(HEADER_BYTES), 0)


def header_of(descriptor: int) -> dict[str, int] | None:
    """The header of a file; None where it was not made to its end."""
    try:
        header = json.loads(os.pread(descriptor, HEADER_BYTES, 0))
    except ValueError:
        return None
    return header if isinstance(header, dict) and header.get("format") == FORMAT else None


class DecodedImages:
    """Images by number, of a file that is whole. Processes that fork share its memory, as all that open it do."""

    def __init__(self, descriptor: int) -> None:
        header = header_of(descriptor)
        assert header is not None
        mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        entries = np.frombuffer(mapped, ENTRY, header["images"], header["entries"])
        self.bytes = header["entries"] - HEADER_BYTES
        self._at, self._heights, self._widths = (entries[name].tolist() for name in ("at", "height", "width"))
        self._guesses = {int(i): entries["guess"][i].decode() for i in np.flatnonzero(entries["guess"] != b"")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that nothing may write there, which nothing does
            self._pixels = torch.frombuffer(mapped, dtype=torch.uint8, count=header["entries"])

    def __len__(self) -> int:
        return sum(height > 0 for height in self._heights)

    def picture(self, number: int) -> Picture | None:
        """An image; None where it could not be decoded."""
        height, width = self._heights[number], self._widths[number]
        if not height:
            return None
        at = self._at[number]

        def pixels(box: Box) -> Tensor:
            start = at + 3 * (box.top * width + box.left)
            return self._pixels.as_strided((3, box.height, box.width), (1, 3 * width, 3), start)

        return Picture(height, width, pixels, self._guesses.get(number, ""))
