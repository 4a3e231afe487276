"""Losses on soft targets. Each returns the mean over the micro-batch as a scalar tensor."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipe.config import LossConfig

Criterion = Callable[[Tensor, Tensor], Tensor]


class NetworkLoss(nn.Module):
    """A network and its loss as one function: the whole of what a micro-batch differentiates."""

    def __init__(self, network: nn.Module, criterion: Criterion) -> None:
        super().__init__()
        self.network, self.criterion = network, criterion

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The criterion of the network's logits, and the logits, (images, classes), apart from the graph.

        (The logits lie in memory anyway: a compiled function has the kernels that it would have without them.)
        """
        logits = self.network(images)
        return self.criterion(logits, targets), logits.detach()


def make_loss(config: LossConfig) -> Criterion:
    """The criterion: (logits, targets), both (images, classes) float, to a scalar."""
    loss = LOSSES[config.name]
    return lambda logits, targets: loss(_at_least_float32(logits), targets, config)


def cross_entropy(logits: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """Cross entropy with the target (1 − ε)·t + ε/C (Szegedy et al., 2016); mixed targets are smoothed too."""
    return F.cross_entropy(logits, targets.to(logits.dtype), label_smoothing=config.label_smoothing)


def bce(logits: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """Binary cross entropy, each class by itself (Wightman et al., 2021), mean over images and classes.

    With sum_classes Σ over classes, mean over images (Composer's); with a target_threshold τ of the target [t > τ], t
    smoothed and mixed. timm's `BinaryCrossEntropy` has both.
    """
    targets = smoothed(targets, config)
    if config.target_threshold is not None:
        targets = targets > config.target_threshold
    loss = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))
    return loss * logits.shape[1] if config.sum_classes else loss


def poly(logits: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """Poly-1: cross entropy + ε·(1 − p_t), p_t the probability of the smoothed target (Leng et al., 2022)."""
    p_target = (logits.softmax(1) * smoothed(targets, config).to(logits.dtype)).sum(1)
    return cross_entropy(logits, targets, config) + config.poly_epsilon * (1 - p_target).mean()


def nll(log_p: Tensor, targets: Tensor, config: LossConfig) -> Tensor:
    """−Σ t·log p, of log-probabilities in place of logits and the smoothed target. Cross entropy of them is the same.

    (log-softmax leaves log-probabilities as they are, so evaluations take their cross entropy as any network's.)
    """
    return -(smoothed(targets, config).to(log_p.dtype) * log_p).sum(1).mean()


def smoothed(targets: Tensor, config: LossConfig) -> Tensor:
    """(1 − ε)·t + ε/C"""
    return (1 - config.label_smoothing) * targets + config.label_smoothing / targets.shape[1]


LOSSES: dict[str, Callable[[Tensor, Tensor, LossConfig], Tensor]] = {
    "cross_entropy": cross_entropy,
    "bce": bce,
    "poly": poly,
    "nll": nll,
}


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
