"""One image file to pixels."""

import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.functional import pil_to_tensor

from recipe.box import Box
from recipe.data.region import can_decode_region, decode_region
from recipe.errors import DataError

JPEG_START = b"\xff\xd8\xff"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of segments that hold the image's size
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # from here on Pillow speaks of a decompression bomb


class Picture(NamedTuple):
    """An image that was opened: its size, and its pixels where they are asked for."""

    height: int
    width: int
    pixels: Callable[[Box], Tensor]  # of a box, (3, box.height, box.width) uint8 RGB; raises DataError

    def whole(self) -> Tensor:
        """All of them, (3, height, width) uint8 RGB. Raises DataError."""
        return self.pixels(Box(0, 0, self.height, self.width))


class Frame(NamedTuple):
    """What a JPEG file's frame header says, and where it stands."""

    height: int
    width: int
    channels: int
    start: int  # bytes before it


NO_FRAME = Frame(0, 0, 0, 0)
LARGE = 0.85  # share of an image from which on decoding all of it takes less time than decoding a region


def open_image(path: str | os.PathLike[str], exif_orientation: bool = False) -> Picture:
    """Read the file. Of a JPEG only what is asked for is decoded, where `recipe.data.region` can do that.

    The pixels are Pillow's either way. Raises DataError, naming the file.
    """
    with _naming(path):
        with open(path, "rb", buffering=0) as file:
            encoded = file.read()
        frame = jpeg_frame(encoded) if encoded.startswith(JPEG_START) else NO_FRAME
        _check_size(frame)
        if can_decode_region(encoded, frame.channels) and not (exif_orientation and _is_turned(encoded, frame)):
            return Picture(frame.height, frame.width, partial(_decode_box, path, encoded, frame))
        image = decode(encoded, exif_orientation)
    return picture_of(image)


def picture_of(image: Tensor) -> Picture:
    """Of pixels that are there already: (3, H, W) uint8."""
    height, width = image.shape[1:]
    return Picture(height, width, lambda box: box.of(image))


def decode(encoded: bytes, exif_orientation: bool = False) -> Tensor:
    """An encoded image's pixels as a (3, H, W) uint8 RGB tensor, equal to Pillow's on every kind of file.

    JPEG of one or three channels goes through torchvision, which gives Pillow's pixels in less time; CMYK and
    everything else through Pillow. Of an animation the first frame counts; 16-bit greys keep their upper 8 bits;
    transparency is dropped.

    Args:
        exif_orientation: turn and mirror the image as its EXIF tag says. The published runs did not.
    """
    if encoded.startswith(JPEG_START):
        _check_size(jpeg_frame(encoded))
        data = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        image = decode_jpeg(data, mode=ImageReadMode.UNCHANGED, apply_exif_orientation=exif_orientation)
        if image.shape[0] == 3:
            return image
        if image.shape[0] == 1:
            return image.expand(3, -1, -1)
    with Image.open(io.BytesIO(encoded)) as picture:
        turned = ImageOps.exif_transpose(picture) if exif_orientation else picture
        if turned.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip them to white
            turned = Image.fromarray((np.asarray(turned).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        return pil_to_tensor(turned.convert("RGB"))


def jpeg_frame(encoded: bytes) -> Frame:
    """A JPEG file's frame; NO_FRAME where there is none."""
    at = 2
    while at + 10 <= len(encoded):
        if encoded[at] != 0xFF:
            break
        marker = encoded[at + 1]
        if marker in FRAME_HEADERS:
            height, width = (int.from_bytes(encoded[at + i : at + i + 2], "big") for i in (5, 7))
            return Frame(height, width, encoded[at + 9], at)
        # A fill byte is followed by the marker itself; a segment by its length and content.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return NO_FRAME


def _is_turned(encoded: bytes, frame: Frame) -> bool:
    """Whether a JPEG file's EXIF tag says that the image is to be turned or mirrored."""
    if encoded.find(b"Exif\0\0", 0, frame.start) < 0:
        return False
    with Image.open(io.BytesIO(encoded)) as picture:
        return picture.getexif().get(ExifTags.Base.Orientation, 1) != 1


def _decode_box(path: str | os.PathLike[str], encoded: bytes, frame: Frame, box: Box) -> Tensor:
    large = box.height * box.width >= LARGE * frame.height * frame.width
    region = None if large else decode_region(encoded, box)
    if region is not None:
        return region
    with _naming(path):
        return box.of(decode(encoded))  # what is wrong with it is said here


def _check_size(frame: Frame) -> None:
    if frame.height * frame.width > MOST_PIXELS:  # Pillow refuses these itself; torchvision would ask for the memory
        raise ValueError(f"{frame.width} x {frame.height} pixels, more than any photo has: a decompression bomb?")


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever is wrong with a file, as a DataError that names it."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        unknown = isinstance(error, UnidentifiedImageError)  # whose own message names an object in memory
        reason = "not an image" if unknown else (str(error).splitlines() or [type(error).__name__])[0]
        reason = re.sub(r"^decode_jpeg, \S+:\d+, ", "", reason)  # where torchvision was compiled
        raise DataError(f"cannot read the image {os.fspath(path)}: {reason}") from error
