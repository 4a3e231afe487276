"""What happens to one training image: random crop, rotation, sharpness and whatever else AUGMENTATIONS names, erasing.

Every ingredient is a pair: a draw, which is random and knows no pixels, and doing what was drawn, which is not random.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision

from recipe.config import AugmentConfig
from recipe.ingredients.box import Box
from recipe.randomness import Draws

ERASE_SCALE = (0.02, 0.33)  # area of the erased box, share of the image (Zhong et al., 2017)
ERASE_RATIO = (0.3, 3.3)  # height / width of the erased box
SHARPENED = 0.5  # share of the images, where augment.sharpness is set
ATTEMPTS = 10  # until a box fits into the image
# Pixels of an image that is resized whole: 100 MB. At 256 px that is a strip of 512 squares.
LARGEST = 2**25
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def draw_crop(config: AugmentConfig, draws: Draws, height: int, width: int) -> Box:
    """RandomResizedCrop's box (Szegedy et al., 2015): area uniform, logarithm of width/height uniform.

    After ten boxes that do not fit, the largest central one within the ratios.
    """
    low, high = config.ratio
    for _ in range(ATTEMPTS):
        area = height * width * draws.uniform(*config.scale)
        ratio = math.exp(draws.uniform(math.log(low), math.log(high)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return Box(draws.below(height - h + 1), draws.below(width - w + 1), h, w)
    if width / height < low:
        w, h = width, round(width / low)
    elif width / height > high:
        w, h = round(height * high), height
    else:
        w, h = width, height
    return Box((height - h) // 2, (width - w) // 2, h, w)


def draw_window(draws: Draws, height: int, width: int, resize: int, size: int) -> Box:
    """A random square of `size` in an image of height x width pixels whose shorter side becomes `resize`."""
    h, w = resized(height, width, resize)
    return Box(draws.below(h - size + 1), draws.below(w - size + 1), size, size)


def resized(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Height and width after the shorter side has become `shorter` pixels; the other's fraction is dropped."""
    longer = int(shorter * max(height, width) / min(height, width))
    return (shorter, longer) if height <= width else (longer, shorter)


class Augmentation(NamedTuple):
    """A change of single training images, named after the key of `augment` that switches it on."""

    draw: Callable[[AugmentConfig, Draws], Any]  # random, and knows no pixels: plain values; None: not this image
    do: Callable[[Tensor, Any, str], Tensor]  # of (3, H, W) uint8, what was drawn and resolution.interpolation


def draw_rotation(config: AugmentConfig, draws: Draws) -> float | None:
    """A uniform angle in degrees, counter-clockwise."""
    return draws.uniform(-config.rotation, config.rotation) if config.rotation else None


def draw_sharpness(config: AugmentConfig, draws: Draws) -> float | None:
    """augment.sharpness, of half the images."""
    return config.sharpness if config.sharpness is not None and draws.chance(SHARPENED) else None


def on_pillow(change: Callable[[Any, Any, InterpolationMode], Any]) -> Callable[[Tensor, Any, str], Tensor]:
    """What `Augmentation.do` takes, from a function of Pillow's RGB images, as torchvision's transforms have them."""

    def do(image: Tensor, drawn: Any, interpolation: str) -> Tensor:
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        return torch.from_numpy(np.array(change(picture, drawn, InterpolationMode(interpolation)))).permute(2, 0, 1)

    return do


# In this order, after the crop and the flip and before the policy. A new one is a line here, its functions above, its
# key in `recipe/config.py` and, if it is to have a name, an option in `conf/augment/`. Its draws are of a stream of its
# own, which is called as it is: the others' stay what they were.
AUGMENTATIONS: dict[str, Augmentation] = {
    "rotation": Augmentation(draw_rotation, on_pillow(vision.rotate)),
    "sharpness": Augmentation(
        draw_sharpness, on_pillow(lambda image, factor, _: vision.adjust_sharpness(image, factor))
    ),
}


def draw_augmentations(config: AugmentConfig, stream: Callable[[str], Draws]) -> tuple[tuple[str, Any], ...]:
    """Name and draw of each that changes this image. `stream` gives the draws of a name."""
    drawn = ((name, augmentation.draw(config, stream(name))) for name, augmentation in AUGMENTATIONS.items())
    return tuple((name, value) for name, value in drawn if value is not None)


def apply_augmentations(image: Tensor, drawn: Iterable[tuple[str, Any]], interpolation: str) -> Tensor:
    """What was drawn, done to a (3, H, W) uint8 image: one of the same shape."""
    for name, value in drawn:
        image = AUGMENTATIONS[name].do(image, value, interpolation)
    return image


def resize_shorter_side(image: Tensor, size: int, interpolation: str) -> Tensor:
    """A (3, H, W) uint8 image with its shorter side resized to `size`, with antialiasing."""
    height, width = resized(image.shape[1], image.shape[2], size)
    return resize(image, height, width, interpolation)


def resize_and_crop(image: Tensor, size: int, box: Box, interpolation: str) -> Tensor:
    """The box of `resize_shorter_side`'s image, without the rest of it where that would be too large."""
    height, width = resized(image.shape[1], image.shape[2], size)
    if height * width <= LARGEST:
        return box.of(resize(image, height, width, interpolation))
    return _part_of_resized(image, height, width, box, interpolation)


def _part_of_resized(image: Tensor, height: int, width: int, box: Box, interpolation: str) -> Tensor:
    """A box of a (3, H, W) uint8 image that is resized to height x width: Pillow makes no more than the box.

    With the weights of the whole image: the pixels differ from `resize`'s as Pillow's do, by a grey level mostly.
    """
    down, right = image.shape[1] / height, image.shape[2] / width
    source = (box.left * right, box.top * down, (box.left + box.width) * right, (box.top + box.height) * down)
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    part = picture.resize((box.width, box.height), FILTERS[interpolation], source)
    return torch.from_numpy(np.array(part)).permute(2, 0, 1)


def crop_and_resize(image: Tensor, box: Box, size: int, interpolation: str) -> Tensor:
    """The box of a (3, H, W) uint8 image, resized to (3, size, size) with antialiasing."""
    return resize(box.of(image), size, size, interpolation)


def resize(image: Tensor, height: int, width: int, interpolation: str) -> Tensor:
    """A (3, H, W) uint8 image to (3, height, width) with antialiasing, as Pillow resizes.

    In channels_last, which is faster than colour planes, and leaves them so. Pillow's nearest is
    PyTorch's nearest-exact.
    """
    pixels = image.permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)  # image[None] would give planes back
    if interpolation == "nearest":
        return F.interpolate(pixels, (height, width), mode="nearest-exact")[0]
    return F.interpolate(pixels, (height, width), mode=interpolation, antialias=True)[0]


def draw_erase(probability: float, draws: Draws, height: int, width: int) -> Box:
    """Random erasing's box, empty with probability 1 − p or where no box of ten is smaller than the image."""
    if not draws.chance(probability):
        return Box()
    for _ in range(ATTEMPTS):
        area = height * width * draws.uniform(*ERASE_SCALE)
        ratio = math.exp(draws.uniform(math.log(ERASE_RATIO[0]), math.log(ERASE_RATIO[1])))
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if h < height and w < width:
            return Box(draws.below(height - h + 1), draws.below(width - w + 1), h, w)
    return Box()


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Set each image's box to 0, the mean after normalisation, in place.

    Args:
        images: (n, 3, H, W) float, normalised.
        boxes: (n, 4) int32, each a Box; empty ones change nothing.
    """
    count, _, height, width = images.shape
    corner, size = boxes.view(count, 2, 2, 1).unbind(1)
    place = torch.arange(max(height, width), dtype=torch.int32, device=images.device) - corner
    rows, columns = ((place >= 0) & (place < size)).unbind(1)
    inside = rows.view(count, 1, -1, 1) & columns.view(count, 1, 1, -1)
    return images.masked_fill_(inside if height == width else inside[..., :height, :width], 0.0)
