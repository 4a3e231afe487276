"""One image file to pixels."""

import io
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.functional import pil_to_tensor

from recipe.errors import DataError

JPEG_START = b"\xff\xd8\xff"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of segments that hold the image's size
MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # from here on Pillow speaks of a decompression bomb


def read_image(path: str | os.PathLike[str], exif_orientation: bool = False) -> Tensor:
    """The file's pixels as a (3, H, W) uint8 RGB tensor, equal to Pillow's. Raises DataError, naming the file."""
    try:
        return decode(Path(path).read_bytes(), exif_orientation)
    except (OSError, RuntimeError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"cannot read the image {os.fspath(path)}: {reason}") from error


def decode(encoded: bytes, exif_orientation: bool = False) -> Tensor:
    """An encoded image's pixels as a (3, H, W) uint8 RGB tensor, equal to Pillow's on every kind of file.

    JPEG of one or three channels goes through torchvision, which gives Pillow's pixels in less time; CMYK and
    everything else through Pillow. Of an animation the first frame counts; 16-bit greys keep their upper 8 bits;
    transparency is dropped.

    Args:
        exif_orientation: turn and mirror the image as its EXIF tag says. The published runs did not.
    """
    if encoded.startswith(JPEG_START):
        height, width = jpeg_size(encoded)
        if height * width > MOST_PIXELS:  # Pillow refuses these itself; torchvision would ask for the memory
            raise ValueError(f"{width} x {height} pixels, more than any photo has: a decompression bomb?")
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


def jpeg_size(encoded: bytes) -> tuple[int, int]:
    """Height and width from a JPEG file's frame header; (0, 0) where there is none."""
    at = 2
    while at + 9 <= len(encoded):
        if encoded[at] != 0xFF:
            break
        marker = encoded[at + 1]
        if marker in FRAME_HEADERS:
            return int.from_bytes(encoded[at + 5 : at + 7], "big"), int.from_bytes(encoded[at + 7 : at + 9], "big")
        # A fill byte is followed by the marker itself; a segment by its length and content.
        at += 1 if marker == 0xFF else 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return 0, 0
