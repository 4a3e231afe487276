"""The operations of policies.py on a batch of tensors, on any device, with the pixels that Pillow makes.

A data worker draws a policy and sends `pack`'s numbers; the device does the pixels. Codes and magnitudes stay on the
host, where they come from: the host sorts the images by operation, so each group is one vectorised computation, and
sends places and parameters in one copy. Nothing is ever asked back from the device.

Equality. Bit for bit `apply_operations` for every operation and interpolation: no pixel differed in tests against
Pillow 13.0 on x86-64. A Pillow built to fuse multiplications and additions (64-bit Arm) may differ by a grey level.

The same on every device:
- Integers only, so exact by construction: Identity, TranslateX, TranslateY, Posterize, Solarize, Equalize, Invert, and
  ShearX, ShearY, Rotate with nearest. The grey image of Color and Contrast, Contrast's mean, Sharpness' blur.
- Additions, multiplications and (AutoContrast) a division, each rounded once as IEEE 754 says, in the order written:
  Brightness, Color, Contrast, Sharpness in float32; AutoContrast, and ShearX, ShearY, Rotate with bilinear or bicubic,
  in float64. This relies on eager torch doing each operation apart: a compiler that fuses a·b + c into one rounding
  could change a grey level.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recipe.ingredients.geometry import GEOMETRIC, INTERPOLATIONS, interpolation_of, numbers_of, warp
from recipe.ingredients.policies import OPERATIONS, Operation

NAMES = (*OPERATIONS, "Invert")  # an operation's code is its place here; Identity is 0
CODES = {name: code for code, name in enumerate(NAMES)}
PARAMETERS = 6  # numbers that the device gets for each image and operation: those of an affine map, or one and zeros
PIXELS_ON_CPU = 2**16  # computed at once: 2 images at 176; with 4, rotations took three times as long
PIXELS = 2**22  # elsewhere, for the memory's: their float64 copy takes 100 MB


def pack(policies: Sequence[Sequence[Operation]]) -> tuple[Tensor, Tensor]:
    """The operations of n images as numbers, on the host.

    Returns:
        codes: (n, K) int64, K the length of the longest list; Identity fills the shorter ones.
        magnitudes: (n, K) float64, as policies.py has them; 0 where filled.

    Raises:
        ValueError: an operation is unknown.
    """
    longest = max((len(operations) for operations in policies), default=0)
    codes = torch.zeros(len(policies), longest, dtype=torch.int64)
    magnitudes = torch.zeros(len(policies), longest, dtype=torch.float64)
    for image, operations in enumerate(policies):
        for k, (name, value) in enumerate(operations):
            if name not in CODES:
                raise ValueError(f"unknown operation {name!r}: not one of {', '.join(NAMES)}")
            codes[image, k], magnitudes[image, k] = CODES[name], value
    return codes, magnitudes


def apply_batched(images: Tensor, codes: Tensor, magnitudes: Tensor, interpolation: str) -> Tensor:
    """Each image's operations, the first column's first; pixels from outside are black.

    Args:
        images: (n, 3, H, W) uint8 on any device; left as they are.
        codes: (n, K) int64 on the host, from `pack`.
        magnitudes: (n, K) float64 on the host, from `pack`.
        interpolation: nearest, bilinear or bicubic; of shears and rotations.

    Returns:
        (n, 3, H, W) uint8 on the images' device.

    Raises:
        ValueError: a shape, dtype, device, code, magnitude or interpolation is not as above.
    """
    _check(images, codes, magnitudes, interpolation)
    if codes.shape[1] == 0:
        return images
    images = images.clone()
    at_once = PIXELS_ON_CPU if images.device.type == "cpu" else PIXELS
    largest = max(at_once // (images.shape[2] * images.shape[3]), 1)
    for rows, used in zip(_table(images, codes, magnitudes, interpolation), codes.unbind(1), strict=True):
        groups = rows.split(torch.bincount(used, minlength=len(NAMES)).tolist())
        for name, group in zip(NAMES[1:], groups[1:], strict=True):  # without Identity
            for part in group.split(largest) if len(group) else ():
                place, parameters = part[:, 0].long(), part[:, 1:, None, None, None]
                chosen = images.index_select(0, place)
                if name in GEOMETRIC:
                    chosen = warp(chosen, parameters, interpolation_of(name, interpolation))
                else:
                    chosen = _PIXELS[name](chosen, parameters)
                images.index_copy_(0, place, chosen)
    return images


def _check(images: Tensor, codes: Tensor, magnitudes: Tensor, interpolation: str) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(f"images must be (n, 3, H, W) uint8, not {tuple(images.shape)} {images.dtype}")
    if codes.device.type != "cpu" or codes.dtype != torch.int64 or codes.ndim != 2 or len(codes) != len(images):
        raise ValueError(f"codes must be (n, K) int64 on the host, not {tuple(codes.shape)} {codes.dtype}")
    if magnitudes.device.type != "cpu" or magnitudes.dtype != torch.float64 or magnitudes.shape != codes.shape:
        raise ValueError(
            f"magnitudes must be (n, K) float64 on the host, not {tuple(magnitudes.shape)} {magnitudes.dtype}"
        )
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, not {interpolation!r}")
    if codes.shape[1] == 0:  # the policy's work was done elsewhere: no operations for nothing
        return
    if ((codes < 0) | (codes >= len(NAMES))).any():
        raise ValueError(f"codes must be from 0 to {len(NAMES) - 1}, not {codes.unique().tolist()}")
    if not magnitudes.isfinite().all():
        raise ValueError("magnitudes must be finite")
    bits = magnitudes[codes == CODES["Posterize"]]
    if ((bits < 1) | (bits > 8)).any():
        raise ValueError(f"Posterize keeps 1 to 8 bits, not {bits.unique().tolist()}")


# On the host: what the device needs to know of each image.


def _table(images: Tensor, codes: Tensor, magnitudes: Tensor, interpolation: str) -> Tensor:
    """(K, n, 7) float64 on the images' device: for each column, by rising code, an image's place and its parameters."""
    size, places = (images.shape[2], images.shape[3]), codes.argsort(dim=0, stable=True)
    table = torch.zeros(codes.shape[1], len(codes), 1 + PARAMETERS, dtype=torch.float64)
    for k, order in enumerate(places.T.tolist()):
        chosen = zip(order, codes[order, k].tolist(), magnitudes[order, k].tolist(), strict=True)
        rows = [[place, *_parameters(NAMES[code], value, *size, interpolation)] for place, code, value in chosen]
        table[k] = torch.tensor(rows, dtype=torch.float64).view(-1, 1 + PARAMETERS)
    if images.is_cuda:
        table = table.pin_memory()
    return table.to(images.device, non_blocking=True)


def _parameters(name: str, value: float, height: int, width: int, interpolation: str) -> list[float]:
    """Six numbers: an affine matrix, or one parameter and zeros."""
    if name in GEOMETRIC:
        return numbers_of(name, value, height, width, interpolation_of(name, interpolation))
    one = value
    if name in ("Brightness", "Color", "Contrast", "Sharpness"):
        one = 1 + value
    if name == "Posterize":
        one = 256 - 2 ** (8 - int(value))  # the mask of the bits kept
    if name == "Solarize":
        one = min(max(math.ceil(value), 0), 256)  # a grey level is below the value if it is below this
    return [one] + [0.0] * (PARAMETERS - 1)


# On the device. Images are (m, 3, H, W) uint8; parameters (m, 6, 1, 1, 1) float64.


def _brightness(images: Tensor, parameters: Tensor) -> Tensor:
    return _blend(torch.zeros_like(images), images, parameters)


def _color(images: Tensor, parameters: Tensor) -> Tensor:
    return _blend(_grey(images), images, parameters)


def _contrast(images: Tensor, parameters: Tensor) -> Tensor:
    count = images.shape[2] * images.shape[3]
    total = _grey(images).sum((1, 2, 3), keepdim=True)  # int64
    return _blend((2 * total + count) // (2 * count), images, parameters)  # the mean, rounded half up


def _sharpness(images: Tensor, parameters: Tensor) -> Tensor:
    """Away from or towards the 3 x 3 mean in which the pixel itself counts five times; the border is left out."""
    whole = images.int()
    columns = whole[..., :-2] + whole[..., 1:-1] + whole[..., 2:]
    total = columns[..., :-2, :] + columns[..., 1:-1, :] + columns[..., 2:, :] + 4 * whole[..., 1:-1, 1:-1]
    whole[..., 1:-1, 1:-1] = (2 * total + 13) // 26  # the kernel's sum is 13; 13 is odd, so there is no tie
    return _blend(whole, images, parameters)


def _grey(images: Tensor) -> Tensor:
    """(m, 1, H, W) int32: luma of ITU-R 601 in sixteen bits after the point."""
    red, green, blue = images.int().split(1, dim=1)
    return (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16


def _blend(degenerate: Tensor, images: Tensor, parameters: Tensor) -> Tensor:
    """Degenerate + factor · (image − degenerate), cut to 0 … 255, the fraction dropped."""
    start, factor = degenerate.float(), parameters[:, 0].float()
    return images.float().sub_(start).mul_(factor).add_(start).clamp_(0, 255).to(torch.uint8)


def _posterize(images: Tensor, parameters: Tensor) -> Tensor:
    return images & parameters[:, 0].to(torch.uint8)


def _solarize(images: Tensor, parameters: Tensor) -> Tensor:
    return torch.where(images < parameters[:, 0].short(), images, 255 - images)


def _invert(images: Tensor, parameters: Tensor) -> Tensor:
    return 255 - images


def _auto_contrast(images: Tensor, parameters: Tensor) -> Tensor:
    """Each channel's darkest level to 0, its lightest to 255; one of a single level stays."""
    levels = torch.arange(256, dtype=torch.float64, device=images.device)
    low, high = (extreme.double() for extreme in images.flatten(2).aminmax(dim=2, keepdim=True))
    scale = torch.full_like(low, 255.0) / (high - low).clamp(min=1)  # 255.0 / … would multiply by a reciprocal
    table = (levels * scale + -low * scale).clamp(0, 255)
    return _look_up(torch.where(high > low, table, levels).to(torch.uint8), images)


def _equalize(images: Tensor, parameters: Tensor) -> Tensor:
    """Each channel's levels spread evenly over its pixels; one of fewer than 255 below the lightest level stays."""
    pixels = images.flatten(2).long()
    levels = torch.arange(256, device=images.device)
    channels = torch.arange(3 * len(images), device=images.device).view(-1, 3, 1)
    bins = (pixels + 256 * channels).flatten()
    counts = bins.new_zeros(channels.numel() * 256).index_add_(0, bins, torch.ones_like(bins)).view(-1, 3, 256)
    lightest = counts.gather(2, pixels.amax(2, keepdim=True))
    step = (pixels.shape[2] - lightest) // 255
    below = counts.cumsum(2) - counts
    table = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255)
    return _look_up(torch.where(step > 0, table, levels).to(torch.uint8), images)


def _look_up(table: Tensor, images: Tensor) -> Tensor:
    """Each pixel's entry in its channel's (m, 3, 256) uint8 table."""
    return table.gather(2, images.flatten(2).long()).view(images.shape)


_PIXELS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
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
