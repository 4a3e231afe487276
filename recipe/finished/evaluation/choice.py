"""Choosing how to evaluate a network: on one half of the images, confirmed on the other."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class EvaluationSetting(NamedTuple):
    """One evaluation of a run."""

    weights: str  # raw, ema or best
    val_resize: int  # pixels
    val_crop: int  # pixels


def choose_on_half(correct: "dict[EvaluationSetting, Tensor]", own: EvaluationSetting) -> dict[str, Any]:
    """The best setting on one half of the images, and what it is worth on the other, against the run's own.

    Choosing and confirming on the same images would flatter the choice.

    Args:
        correct: for each setting, (images,) bool.

    Returns:
        The chosen setting; on the other half its top-1, the own setting's, their difference and the standard error of
        that difference (of paired images), in points.
    """
    first, second = halves(len(correct[own]))
    best = max(correct, key=lambda setting: correct[setting][first].sum().item())
    difference = correct[best][second].double() - correct[own][second].double()
    return {
        **best._asdict(),
        "images_to_choose": len(first),
        "images_to_confirm": len(second),
        "acc1_where_chosen": 100 * correct[best][first].double().mean().item(),
        "acc1": 100 * correct[best][second].double().mean().item(),
        "acc1_of_own": 100 * correct[own][second].double().mean().item(),
        "difference": 100 * difference.mean().item(),
        "standard_error": 100 * difference.std().item() / math.sqrt(len(second)),
    }


def halves(images: int) -> "tuple[Tensor, Tensor]":
    """The numbers of the images to choose on, and of those to confirm on: the same ones every time."""
    import torch  # late: the commands' arguments are looked at first

    from recipe.randomness import generator_at

    order = torch.randperm(images, generator=generator_at(0, "halves"))
    return order[: images // 2], order[images // 2 :]


def lines(choice: dict[str, Any]) -> Iterator[str]:
    """What `choose_on_half` found, for a terminal."""
    what = f"{choice['weights']} weights, val_resize {choice['val_resize']}, val_crop {choice['val_crop']}"
    yield f"Best on one half of the images ({choice['images_to_choose']:,}): {what}"
    yield (
        f"On the other half: top-1 {choice['acc1']:.2f}, the own setting {choice['acc1_of_own']:.2f}: "
        f"{choice['difference']:+.2f} (standard error {choice['standard_error']:.2f})"
    )
