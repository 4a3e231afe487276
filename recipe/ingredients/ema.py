"""An exponential moving average of the weights, evaluated in place of the trained ones (Polyak and Juditsky, 1992)."""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn

from recipe.config import Config

REFERENCE_IMAGES = 1_281_167  # ImageNet-1k's training set, for which `ema.decay` and `ema.steps` are written


def averaging_rate(decay: float, batch_size: int, steps: int, epochs: int, num_images: int) -> float:
    """alpha = min(1, (1 − decay)·batch_size·steps/epochs·1,281,167/num_images): the weight of the newest model.

    With ImageNet's number of images this is the published formula. The last factor, 1 there, keeps the averaging
    horizon the same fraction of the training on other data sets.
    """
    return min(1.0, (1 - decay) * batch_size * steps / epochs * (REFERENCE_IMAGES / num_images))


class Ema:
    """The averaged copy of a model; `model` is None where the average is off, and `update` then does nothing.

    Every `steps` optimizer steps of an epoch, the first included: ema ← (1 − alpha)·ema + alpha·model, for parameters
    and float buffers; integer buffers are copied. Updates during warm-up epochs copy, and so does the first after it.
    """

    def __init__(self, model: nn.Module, config: Config, num_images: int) -> None:
        self.model: nn.Module | None = None
        if config.ema.decay is None:
            return
        self.model = deepcopy(model).eval().requires_grad_(False)
        self.steps = config.ema.steps
        self.alpha = averaging_rate(config.ema.decay, config.batch_size, config.ema.steps, config.epochs, num_images)
        self._copy_until = math.ceil(config.schedule.warmup_epochs)
        self._averaged, self._integers = _split(self.model)
        self._newest, self._newest_integers = _split(model)  # found once: that takes the host longer than averaging

    @torch.no_grad()
    def update(self, epoch: int, step: int) -> None:
        """Take in the model after optimizer step `step` (from 0) of `epoch`."""
        if self.model is None or step % self.steps:
            return
        copy = epoch < self._copy_until or (epoch == self._copy_until and step == 0)
        torch._foreach_lerp_(self._averaged, self._newest, 1.0 if copy else self.alpha)
        if self._integers:
            torch._foreach_copy_(self._integers, self._newest_integers)


def _split(model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters and float buffers of a model, and its integer buffers.

    Buffers that are no part of its state are what a forward pass makes for itself, in its own shape (timm's ConViT).
    """
    state = model.state_dict()
    buffers = [buffer for name, buffer in model.named_buffers() if name in state]
    tensors = [parameter.detach() for parameter in model.parameters()] + buffers
    return [t for t in tensors if t.is_floating_point()], [t for t in tensors if not t.is_floating_point()]
