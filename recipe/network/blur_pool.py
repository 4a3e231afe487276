"""BlurPool (Zhang, 2019): what halves an image's sides sees it blurred, so that a shift by a pixel changes less.

In the form of ffcv-imagenet and Composer. (timm's is another network: `model.source=timm model.name=resnetblur50`.)
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipe.config import ModelConfig
from recipe.errors import ConfigError

LEAST_CHANNELS = 16  # that a convolution takes, to be blurred: an image's three are not


def set_blur_pool(model: nn.Module, config: ModelConfig) -> None:
    """Blur before the strided convolutions, and in strided max-pooling where asked for, in place; weights stay.

    The filters stand in the state dict, as Composer's do: where a network has none, such weights do not load unseen.
    Raises ConfigError where there is nothing to blur.
    """
    if config.blur_pool == "none":
        return
    strided = [(name, layer) for name, layer in model.named_modules() if type(layer) is nn.Conv2d and _blurred(layer)]
    if not strided:
        raise ConfigError(f"model.blur_pool={config.blur_pool}: {config.name} has no strided convolutions to blur")
    for name, layer in strided:
        model.set_submodule(name, BlurredConv2d.of(layer))
    if config.blur_pool == "convolutions_and_max_pool":
        pools = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.MaxPool2d)]
        for name, pool in pools:
            if max(_pair(pool.stride)) > 1:
                model.set_submodule(name, BlurredMaxPool2d(pool))


class BlurredConv2d(nn.Conv2d):
    """conv(blur(x)): [1 2 1]⊗[1 2 1]/16 of each channel, stride 1, padded with zeros, then the convolution itself."""

    blur_filter: Tensor  # (1, 1, 3, 3)

    @classmethod
    def of(cls, layer: nn.Conv2d) -> "BlurredConv2d":
        """One with the layer's own weights."""
        blurred = cls.__new__(cls)
        blurred.__dict__.update(layer.__dict__)
        blurred.register_buffer("blur_filter", _filter())
        return blurred

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, H, W) as the convolution takes it."""
        return super().forward(_blur(input, self.blur_filter, self.in_channels, stride=(1, 1)))


class BlurredMaxPool2d(nn.Module):
    """Max-pooling with stride 1, then the blur with the pooling's stride, padded with zeros."""

    blur_filter: Tensor  # (1, 1, 3, 3)

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.kernel_size, self.stride, self.padding = pool.kernel_size, _pair(pool.stride), pool.padding
        self.dilation = pool.dilation
        self.register_buffer("blur_filter", _filter())

    def forward(self, images: Tensor) -> Tensor:
        """(n, channels, H, W) to (n, channels, ⌈H/stride⌉, ⌈W/stride⌉) where the padding keeps the sides."""
        highest = F.max_pool2d(images, self.kernel_size, 1, self.padding, self.dilation)
        return _blur(highest, self.blur_filter, int(images.shape[1]), self.stride)


def _blurred(layer: nn.Conv2d) -> bool:
    return max(layer.stride) > 1 and layer.in_channels >= LEAST_CHANNELS


def _filter() -> Tensor:
    line = torch.tensor([1.0, 2.0, 1.0])
    return (line[:, None] * line / 16)[None, None]


def _blur(images: Tensor, weights: Tensor, channels: int, stride: tuple[int, int]) -> Tensor:
    return F.conv2d(images, weights.expand(channels, 1, 3, 3), stride=stride, padding=1, groups=channels)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
