"""One image file to pixels."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from PIL import ExifTags, Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from recipe.data.modes import to_rgb
from recipe.data.region import can_decode_region, decode_region
from recipe.data.unreadable import A_BOMB, read, why_unreadable
from recipe.errors import DataError
from recipe.ingredients.box import Box

JPEG_START = b"\xff\xd8\xff"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of segments that hold the image's size
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # from here on Pillow speaks of a decompression bomb


class Picture(NamedTuple):
    """An image that was opened: its size, and its pixels where they are asked for."""

    height: int
    width: int
    pixels: Callable[[Box], Tensor]  # of a box, (3, box.height, box.width) uint8 RGB; raises DataError
    guess: str = ""  # the range that its values were taken to have, where nothing tells it: "0 to 4,095"

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


def open_image(
    path: str | os.PathLike[str], exif_orientation: bool = False, content: Callable[[], bytes] | None = None
) -> Picture:
    """The image of a file, which is read now and decoded when its pixels are asked for.

    Of a JPEG only what is asked for is decoded, where `recipe.data.region` can do that; the pixels are Pillow's either
    way. Raises DataError, naming the file.

    Args:
        content: gives the bytes of a file that lies in an archive, where `path` is what messages call it.
    """
    with _naming(path):
        encoded = read(path) if content is None else content()
        frame = jpeg_frame(encoded) if encoded.startswith(JPEG_START) else NO_FRAME
        _check_size(frame)
        if can_decode_region(encoded, frame.channels) and not (exif_orientation and _is_turned(encoded, frame)):
            return Picture(frame.height, frame.width, partial(_decode_box, path, encoded, frame))
        return picture_of(*decode_any(encoded, exif_orientation))


def picture_of(image: Tensor, guess: str = "") -> Picture:
    """An image of pixels that are there already, (3, H, W) uint8. `guess`: see `Picture`."""
    height, width = image.shape[1:]
    return Picture(height, width, lambda box: box.of(image), guess)


def told(name: str, picture: Picture) -> str:
    """A file, and the range that its values were guessed to have; "" where nothing was guessed."""
    return f"{name} (taken as {picture.guess})" if picture.guess else ""


def decode(encoded: bytes, exif_orientation: bool = False) -> Tensor:
    """An encoded image's pixels as a (3, H, W) uint8 RGB tensor, equal to Pillow's on every kind of file of 8 bits.

    Raises what Pillow and torchvision raise: see `recipe.data.unreadable`.

    Args:
        exif_orientation: turn and mirror the image as its EXIF tag says. The published runs did not.
    """
    return decode_any(encoded, exif_orientation)[0]


def decode_any(encoded: bytes, exif_orientation: bool = False) -> tuple[Tensor, str]:
    """`decode`'s pixels, and the range that its values were guessed to have, or "".

    JPEG of one or three channels goes through torchvision, which gives Pillow's pixels in less time; CMYK and
    everything else through Pillow. Of an animation the first frame counts.
    """
    if encoded.startswith(JPEG_START):
        _check_size(jpeg_frame(encoded))
        data = torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        image = decode_jpeg(data, mode=ImageReadMode.UNCHANGED, apply_exif_orientation=exif_orientation)
        if image.shape[0] == 3:
            return image, ""
        if image.shape[0] == 1:
            return image.expand(3, -1, -1), ""
    return to_rgb(encoded, exif_orientation)


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
        raise ValueError(f"{frame.width} x {frame.height} {A_BOMB}")


@contextmanager
def _naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Whatever is wrong with a file, as a DataError that names it."""
    try:
        yield
    except DataError:  # of an archive: it says where
        raise
    except Exception as error:  # decoders raise anything on damaged files
        raise DataError(f"cannot read the image {os.fspath(path)}: {why_unreadable(error, path)}") from error
