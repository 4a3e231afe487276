"""Shears, translations and rotations of batches of 8-bit images, with the pixels that Pillow makes.

The host turns each operation into six numbers (`numbers_of`), the device looks the pixels up (`warp`); points from
outside the image are black. Sources: the affine inverse map at pixel centres, 16.16 fixed point with nearest, and
float64 weights whose result loses its fraction otherwise, are what Pillow's Geometry.c does; the matrices are
torchvision's and Pillow's, rounding by rounding.
Sides must be below 32,768 pixels with nearest, where Pillow leaves fixed point.
"""

import math

import torch
from torch import Tensor

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


def interpolation_of(name: str, interpolation: str) -> str:
    """What an operation really needs: translations go by whole pixels, where all interpolations are one."""
    return "nearest" if name.startswith("Translate") else interpolation


def numbers_of(name: str, value: float, height: int, width: int, interpolation: str) -> list[float]:
    """A geometric operation on images of height x width as the six numbers that `warp` takes."""
    matrix = _matrix(name, value, height, width)
    return _fixed_point(matrix) if interpolation == "nearest" else matrix


def warp(images: Tensor, numbers: Tensor, interpolation: str) -> Tensor:
    """Each image moved by its own numbers.

    Args:
        images: (m, 3, H, W) uint8.
        numbers: (m, 6, 1, 1, 1) float64, from `numbers_of` with the same interpolation; on the images' device.
        interpolation: nearest, bilinear or bicubic.

    Returns:
        (m, 3, H, W) uint8.
    """
    if interpolation == "nearest":
        return _nearest(images, numbers)
    return _bilinear(images, numbers) if interpolation == "bilinear" else _bicubic(images, numbers)


def _matrix(name: str, value: float, height: int, width: int) -> list[float]:
    """(a, b, c, d, e, f): the output's point (x, y) shows the input's (a·x + b·y + c, d·x + e·y + f), in pixels.

    The steps and roundings are those of torchvision's affine (angles by way of degrees) and Pillow's Image.rotate
    (fifteen digits, about the centre), since the last bit can decide a grey level.
    """
    if name == "TranslateX":
        return [1.0, 0.0, -float(int(value)), 0.0, 1.0, 0.0]
    if name == "TranslateY":
        return [1.0, 0.0, 0.0, 0.0, 1.0, -float(int(value))]
    if name == "Rotate":
        angle = -math.radians(value % 360.0)
        cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
        x, y = width / 2, height / 2
        return [cosine, sine, cosine * -x + sine * -y + x, -sine, cosine, -sine * -x + cosine * -y + y]
    angle = math.radians(math.degrees(math.atan(value)))
    if name == "ShearX":
        return [1.0, math.tan(angle), 0.0, 0.0, 1.0, 0.0]
    return [1.0, 0.0, 0.0, math.sin(angle) / math.cos(angle), 1.0, 0.0]


def _fixed_point(matrix: list[float]) -> list[float]:
    """The matrix as whole numbers of 1/65536 pixel, from pixel (0, 0)'s centre on: Pillow's way with nearest."""
    a, b, c, d, e, f = matrix
    parts = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    return [float(math.floor(part * 65536.0 + 0.5)) for part in parts]


def _nearest(images: Tensor, numbers: Tensor) -> Tensor:
    x, y = _source(numbers.long(), images, first=0)
    x, y = x >> 16, y >> 16
    return _pick(images, x, y).masked_fill_(~_is_inside(x, y, images), 0)


def _bilinear(images: Tensor, numbers: Tensor) -> Tensor:
    x, y = _source(numbers, images, first=0.5)
    outside = ~_is_inside(x, y, images)
    left, dx = _whole_and_rest(x - 0.5)
    top, dy = _whole_and_rest(y - 0.5)
    corners = [[_pick(images, left + i, top + j).double() for i in (0, 1)] for j in (0, 1)]
    upper, lower = (_mix(first, second, dx) for first, second in corners)
    return _mix(upper, lower, dy).to(torch.uint8).masked_fill_(outside, 0)  # drops the fraction, as Pillow does


def _bicubic(images: Tensor, numbers: Tensor) -> Tensor:
    x, y = _source(numbers, images, first=0.5)
    outside = ~_is_inside(x, y, images)
    left, dx = _whole_and_rest(x - 0.5)
    top, dy = _whole_and_rest(y - 0.5)
    around = (-1, 0, 1, 2)
    rows = [_cubic([_pick(images, left + i, top + j).double() for i in around], dx) for j in around]
    return _cubic(rows, dy).clamp_(0, 255).to(torch.uint8).masked_fill_(outside, 0)


def _source(numbers: Tensor, images: Tensor, first: float) -> tuple[Tensor, Tensor]:
    """x and y in the input, each (m, 1, H, W), of the output's pixels, the first of which is at (first, first)."""
    a, b, c, d, e, f = numbers.unbind(1)
    height, width = images.shape[2:]
    columns = torch.arange(width, dtype=numbers.dtype, device=images.device) + first
    rows = (torch.arange(height, dtype=numbers.dtype, device=images.device) + first)[:, None]
    return a * columns + b * rows + c, d * columns + e * rows + f


def _is_inside(x: Tensor, y: Tensor, images: Tensor) -> Tensor:
    return (x >= 0) & (x < images.shape[3]) & (y >= 0) & (y < images.shape[2])


def _whole_and_rest(x: Tensor) -> tuple[Tensor, Tensor]:
    whole = x.floor()
    return whole.long(), x - whole


def _pick(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The pixels (m, 3, H, W) at columns x and rows y, (m, 1, H, W) int64; beyond the border, the border's."""
    height, width = images.shape[2:]
    place = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    return images.flatten(2).gather(2, place.flatten(2).expand(-1, 3, -1)).view(images.shape)


def _mix(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """First + (second − first) · share; lerp would round otherwise."""
    return (second - first).mul_(share).add_(first)


def _cubic(values: list[Tensor], d: Tensor) -> Tensor:
    """Keys' cubic convolution (1981) with a = −1 at d of the way from the second of four values to the third."""
    v1, v2, v3, v4 = values
    p2 = v3 - v1
    p3 = 2 * (v1 - v2) + v3 - v4
    p4 = -v1 + v2 - v3 + v4
    return v2 + d * (p2 + d * (p3 + d * p4))
