"""The operations of policies.py on one image as an array, with the pixels that Pillow makes, in less time.

On small images most of an operation's time is not spent on pixels: Pillow's tables of 256 levels are made in Python,
torchvision's matrices as well. Here whole numbers and tables are NumPy's. What mixes two images in float32 or looks
between pixels stays Pillow's own code: its last bit is that of the machine's Pillow.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from recipe.ingredients import timm_rand_augment
from recipe.ingredients.policies import Operation

Pixels = np.ndarray[Any, np.dtype[np.uint8]]  # (H, W, 3)
RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
LEVELS = np.arange(256)
UNCHANGED = LEVELS.astype(np.uint8)


def operate(pixels: Pixels, operations: Sequence[Operation], interpolation: str) -> Pixels:
    """The operations, in order, on an image, (H, W, 3) uint8, which is left as it is: bit for bit `apply_operations`.

    Args:
        interpolation: nearest, bilinear or bicubic; of shears and rotations.
    """
    for name, value in operations:
        pixels = _OPERATIONS[name](pixels, value, interpolation)
    return pixels


# With Pillow.


def _to_pillow(pixels: Pixels) -> Image.Image:
    height, width = pixels.shape[:2]
    return Image.frombytes("RGB", (width, height), pixels.tobytes())


def _from_bytes(content: bytes, shape: tuple[int, ...]) -> Pixels:
    """As an array that may be written to: PyTorch takes no other without a warning."""
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)


def _from_pillow(picture: Image.Image) -> Pixels:
    return _from_bytes(picture.tobytes(), (picture.height, picture.width, 3))


def _shear_x(pixels: Pixels, value: float, how: str) -> Pixels:
    return _affine(pixels, (1.0, math.tan(math.radians(math.degrees(math.atan(value)))), 0.0, 0.0, 1.0, 0.0), how)


def _shear_y(pixels: Pixels, value: float, how: str) -> Pixels:
    angle = math.radians(math.degrees(math.atan(value)))
    return _affine(pixels, (1.0, 0.0, 0.0, math.sin(angle) / math.cos(angle), 1.0, 0.0), how)


def _affine(pixels: Pixels, matrix: tuple[float, ...], how: str) -> Pixels:
    picture = _to_pillow(pixels)
    return _from_pillow(picture.transform(picture.size, Image.Transform.AFFINE, matrix, RESAMPLING[how]))


def _rotate(pixels: Pixels, value: float, how: str) -> Pixels:
    return _from_pillow(_to_pillow(pixels).rotate(value, RESAMPLING[how]))


def _brightness(pixels: Pixels, value: float, how: str) -> Pixels:
    picture = _to_pillow(pixels)
    return _from_pillow(Image.blend(Image.new("RGB", picture.size), picture, 1 + value))


def _color(pixels: Pixels, value: float, how: str) -> Pixels:
    picture = _to_pillow(pixels)
    return _from_pillow(Image.blend(picture.convert("L").convert("RGB"), picture, 1 + value))


def _contrast(pixels: Pixels, value: float, how: str) -> Pixels:
    picture = _to_pillow(pixels)
    grey = np.frombuffer(picture.convert("L").tobytes(), np.uint8)
    mean = int(int(grey.sum()) / len(grey) + 0.5)
    return _from_pillow(Image.blend(Image.new("RGB", picture.size, (mean, mean, mean)), picture, 1 + value))


def _sharpness(pixels: Pixels, value: float, how: str) -> Pixels:
    picture = _to_pillow(pixels)
    return _from_pillow(Image.blend(picture.filter(ImageFilter.SMOOTH), picture, 1 + value))


# With NumPy.


def _translate_x(pixels: Pixels, value: float, how: str) -> Pixels:
    by, width = int(value), pixels.shape[1]
    moved = np.zeros_like(pixels)
    moved[:, max(by, 0) : max(width + by, 0)] = pixels[:, max(-by, 0) : max(width - by, 0)]
    return moved


def _translate_y(pixels: Pixels, value: float, how: str) -> Pixels:
    by, height = int(value), pixels.shape[0]
    moved = np.zeros_like(pixels)
    moved[max(by, 0) : max(height + by, 0)] = pixels[max(-by, 0) : max(height - by, 0)]
    return moved


def _posterize(pixels: Pixels, value: float, how: str) -> Pixels:
    return pixels & np.uint8(256 - 2 ** (8 - int(value)))


def _solarize(pixels: Pixels, value: float, how: str) -> Pixels:
    table = np.where(value > LEVELS, LEVELS, 255 - LEVELS).astype(np.uint8)
    return _from_bytes(pixels.tobytes().translate(table.tobytes()), pixels.shape)


def _invert(pixels: Pixels, value: float, how: str) -> Pixels:
    return 255 - pixels


def _auto_contrast(pixels: Pixels, value: float, how: str) -> Pixels:
    planes = _planes(pixels)
    lowest, highest = planes.min(1).tolist(), planes.max(1).tolist()
    return _looked_up(map(_stretching, lowest, highest), planes, pixels)


@lru_cache(maxsize=4096)
def _stretching(low: int, high: int) -> bytes:
    """The table that makes a channel's darkest level black and its lightest white."""
    if high == low:
        return UNCHANGED.tobytes()
    scale = 255.0 / (high - low)
    return (LEVELS * scale + -low * scale).clip(0, 255).astype(np.uint8).tobytes()


def _equalize(pixels: Pixels, value: float, how: str) -> Pixels:
    """Each channel's levels spread evenly over its pixels; one of fewer than 255 below the lightest level stays."""
    planes = _planes(pixels)
    counts = np.stack([np.bincount(plane, minlength=256) for plane in planes])
    lightest = counts[range(3), planes.max(1)]
    step = (planes.shape[1] - lightest[:, None]) // 255
    tables = (step // 2 + counts.cumsum(1) - counts) // np.maximum(step, 1)
    tables = np.where(step > 0, np.minimum(tables, 255), LEVELS).astype(np.uint8)
    return _looked_up((table.tobytes() for table in tables), planes, pixels)


def _planes(pixels: Pixels) -> Pixels:
    """The channels, (3, H·W), each by itself."""
    return np.ascontiguousarray(pixels.reshape(-1, 3).T)


def _looked_up(tables: Iterable[bytes], planes: Pixels, pixels: Pixels) -> Pixels:
    """Each pixel's entry in its channel's table, by the quickest that looks bytes up."""
    found = np.empty((planes.shape[1], 3), dtype=np.uint8)
    for channel, table in enumerate(tables):
        found[:, channel] = np.frombuffer(planes[channel].tobytes().translate(table), np.uint8)
    return found.reshape(pixels.shape)


_OPERATIONS: dict[str, Callable[[Pixels, float, str], Pixels]] = {
    "Identity": lambda pixels, value, how: pixels,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateX": _translate_x,
    "TranslateY": _translate_y,
    "Rotate": _rotate,
    "Brightness": _brightness,
    "Color": _color,
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
}


def _on_pillow(operation: Callable[[Any, float, str], Any]) -> Callable[[Pixels, float, str], Pixels]:
    return lambda pixels, value, how: _from_pillow(operation(_to_pillow(pixels), value, how))


_OPERATIONS.update({name: _on_pillow(operation) for name, operation in timm_rand_augment.OPERATIONS.items()})
