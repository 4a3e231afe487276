"""Mixup and cutmix on a micro-batch, with the batch rolled by one as partner.

Mixup: Zhang et al., 2018. Cutmix: Yun et al., 2019. Drawing (`draw_mix`) is apart from doing (`mix`).
"""

import math
from typing import NamedTuple

from torch import Tensor

from recipe.config import MixConfig
from recipe.randomness import Draws


class MixDraw(NamedTuple):
    """λ, the share of the first image, and for cutmix the box that the partner fills (y1, y2, x1, x2)."""

    lam: float = 1.0
    box: tuple[int, int, int, int] | None = None


def draw_mix(config: MixConfig, draws: Draws, height: int, width: int) -> MixDraw:
    """One micro-batch's λ ~ Beta(α, α) and box; with both alphas above 0, one of the two with equal probability."""
    use_cutmix = config.cutmix_alpha > 0 and (config.mixup_alpha == 0 or draws.chance(0.5))
    if use_cutmix:
        lam = draws.beta(config.cutmix_alpha, config.cutmix_alpha)
        x, y = draws.below(width), draws.below(height)
        half = 0.5 * math.sqrt(1 - lam)
        half_w, half_h = int(half * width), int(half * height)
        x1, x2 = max(x - half_w, 0), min(x + half_w, width)
        y1, y2 = max(y - half_h, 0), min(y + half_h, height)
        return MixDraw(1 - (x2 - x1) * (y2 - y1) / (width * height), (y1, y2, x1, x2))
    if config.mixup_alpha > 0:
        return MixDraw(draws.beta(config.mixup_alpha, config.mixup_alpha))
    return MixDraw()


def mix(images: Tensor, labels: Tensor, num_classes: int, draw: MixDraw) -> tuple[Tensor, Tensor]:
    """The mixed images and their targets. What is mixed by cutmix is changed in place, by mixup used up.

    Args:
        images: (n, 3, H, W) float, normalised.
        labels: (n,) int64.

    Returns:
        Images as they came in shape and dtype, and targets (n, num_classes) in the images' dtype.
        Without mixing: the same images and one-hot targets.
    """
    targets = images.new_zeros(len(labels), num_classes).scatter_(1, labels[:, None], 1.0)  # one-hot
    if draw.lam == 1.0:
        return images, targets
    partners = targets.roll(1, 0)
    targets.mul_(draw.lam).add_(partners, alpha=1 - draw.lam)
    if draw.box is not None:
        y1, y2, x1, x2 = draw.box
        inside = images[..., y1:y2, x1:x2]
        inside.copy_(inside.roll(1, 0))
        return images, targets
    # Each product is rounded before they are added. Without rolling images, which would copy them once or, in
    # channels_last on a GPU, twice.
    mixed, others = images * draw.lam, images.mul_(1 - draw.lam)
    mixed[1:].add_(others[:-1])
    mixed[:1].add_(others[-1:])
    return mixed, targets
