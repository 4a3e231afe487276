"""Any of Pillow's images to 8-bit RGB: what each mode becomes, and whether the range of its values had to be guessed.

Modes of 8 bits and less become RGB as Pillow converts them; transparency is dropped. Deeper values belong to a range
that few files tell. Taken is the least that holds all values of the image: see docs/DATA.md for the table.
"""

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

Values = np.ndarray[Any, Any]

SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
LEAST_BITS = (8, 12, 16)  # that whole numbers are taken to have; larger ones as many as the largest value
RANGES = (1, 255, 4095, 65535)  # that fractions are taken to lie in, from 0
OVERSHOOT = 2  # times a range: sharpening and resizing lead out of it
UNDERSHOOT = -0.05  # of the largest value: below it, the range is not taken to begin at 0
UNSIGNED, SAMPLE_FORMAT = (1,), 339  # TIFF's
CHANNELS = {"RGB": 3, "RGBX": 3, "RGBA": 3, "L": 1}  # colours among the bands of images whose 16 bits Pillow halves
OTHER_BYTE = {"16B": "16L", "16L": "16B", "16N": "16B", "16": "16B"}  # of 16 bits, on a little-endian machine
GREY_AND_ALPHA = "LA;16B"  # of PNG, which Pillow makes RGBA; it cannot read the other byte, but both as four bands


def to_rgb(encoded: bytes, exif_orientation: bool = False) -> tuple[Tensor, str]:
    """The pixels of an encoded image, (3, H, W) uint8, and the range that its values were guessed to have, or "".

    Raises what Pillow raises.
    """
    with Image.open(io.BytesIO(encoded)) as picture:
        raw_mode, declared = _raw_mode(picture), _declared(picture)
        bits = 16 if picture.mode in SIXTEEN or picture.format == "PPM" else 32
        unsigned = picture.format == "TIFF" and getattr(picture, "tag_v2", {}).get(SAMPLE_FORMAT, UNSIGNED) == UNSIGNED
        turned = ImageOps.exif_transpose(picture) if exif_orientation else picture
        if declared:
            grey, guess = (np.asarray(turned) >> 8).astype(np.uint8), ""
        elif turned.mode in SIXTEEN or turned.mode == "I":
            values = np.asarray(turned)
            grey, guess = from_integers(values.view(np.uint32) if unsigned and bits == 32 else values, bits)
        elif turned.mode == "F":
            grey, guess = from_fractions(np.asarray(turned))
        else:
            converted = turned.convert("LA") if turned.mode == "La" else turned  # Pillow has no other way
            pixels = pil_to_tensor(converted.convert("RGB"))
            if ";16" in raw_mode and (found := _dark_16_bits(encoded, turned, raw_mode, exif_orientation)):
                return found
            return pixels, ""
    return torch.from_numpy(grey)[None].expand(3, -1, -1), guess


def from_integers(values: Values, bits: int) -> tuple[Values, str]:
    """Whole numbers as 8 bits, and the range they were taken to have, or "" where it is that of their type."""
    low, high = int(values.min()), int(values.max())
    if low < 0:
        return _from_least_to_most(values, low, high)
    own = next((least for least in LEAST_BITS if high < 1 << least), high.bit_length())
    guess = "" if own == bits or high == 0 else f"0 to {(1 << own) - 1:,}"
    return (values >> (own - 8)).astype(np.uint8), guess


def from_fractions(values: Values) -> tuple[Values, str]:
    """Floating-point numbers as 8 bits, and the range they were taken to have."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if low >= UNDERSHOOT * high and high <= OVERSHOOT * RANGES[-1]:
        top = next(top for top in RANGES if high <= OVERSHOOT * top)
        if top == 255:  # as Pillow converts them
            return values.clip(0, 255).astype(np.uint8), "0 to 255"
        return np.rint(values.clip(0, top) * (255 / top)).astype(np.uint8), f"0 to {top:,}" if high else ""
    if max(-low, high) <= OVERSHOOT:
        return np.rint((values.clip(-1, 1) + 1) * 127.5).astype(np.uint8), "-1 to 1"
    return _from_least_to_most(values, low, high)


def _from_least_to_most(values: Values, low: float, high: float) -> tuple[Values, str]:
    """Black for the least value of the image, white for the largest."""
    scaled = (values.astype(np.float64) - low) * (255 / max(high - low, 1e-300))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8), f"{low:,g} to {high:,g}"


def _raw_mode(picture: Image.Image) -> str:
    """What Pillow reads a file's bytes as; "" where the file is read in another way."""
    tiles = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles else None
    raw_mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return raw_mode if isinstance(raw_mode, str) else ""


def _declared(picture: Image.Image) -> bool:
    """Whether deep values are of a range that the file tells: of PGM's Pillow brings them to 16 bits.

    Where 65,535 is told, that is the type's and not the image's.
    """
    tiles = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles and picture.mode == "I" and picture.format == "PPM" else None
    return isinstance(arguments, tuple) and arguments[-1] != 0xFFFF


def _dark_16_bits(
    encoded: bytes, upper: Image.Image, raw_mode: str, exif_orientation: bool
) -> tuple[Tensor, str] | None:
    """Colours of 16 bits of which Pillow reads the upper 8 alone, where these hold nothing: from the lower as well.

    None where the upper byte is more than the 4 bits that belong to a range of 12, or the lower cannot be had.
    """
    colours = CHANNELS.get(upper.mode, 0)
    high = np.atleast_3d(np.asarray(upper))[..., :colours]
    if not colours or high.max() >= 1 << (LEAST_BITS[1] - 8):
        return None
    kind, suffix = raw_mode.split(";")
    other = "RGBA" if raw_mode == GREY_AND_ALPHA else f"{kind};{OTHER_BYTE.get(suffix, suffix)}"
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.tile = [_with_raw_mode(tile, other) for tile in picture.tile]
            turned = ImageOps.exif_transpose(picture) if exif_orientation else picture
            low = np.atleast_3d(np.asarray(turned))
    except (OSError, ValueError):
        return None
    low = low[..., 1:2] if raw_mode == GREY_AND_ALPHA else low[..., :colours]
    pixels, guess = from_integers(high.astype(np.uint16) << 8 | low, 16)
    return torch.from_numpy(pixels).permute(2, 0, 1).expand(3, -1, -1), guess


def _with_raw_mode(tile: Any, raw_mode: str) -> Any:
    arguments = (raw_mode, *tile[3][1:]) if isinstance(tile[3], tuple) else raw_mode
    return tile._replace(args=arguments)
