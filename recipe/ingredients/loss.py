"""Losses on soft targets. Each returns the mean over the micro-batch as a scalar tensor."""

from collections.abc import Callable, Sequence

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


def make_loss(config: LossConfig, weights: Tensor | None = None) -> Criterion:
    """The criterion: (logits, targets), both (images, classes) float, to a scalar.

    `weights`: of the classes, (classes,) float64, on the device of the logits, from `class_weights`; None: all 1.
    """
    loss = LOSSES[config.name]
    if weights is not None:
        return lambda logits, targets: loss(_at_least_float32(logits), targets, config, weights)
    return lambda logits, targets: loss(_at_least_float32(logits), targets, config)


def class_weights(config: LossConfig, images: Sequence[int]) -> Tensor | None:
    """The classes' weights, (classes,) float64, by their training images; None where all are 1.

    balanced: N/(C·n_c), with which every class has the same share of the loss (King and Zeng, 2001). effective:
    (1 − β)/(1 − β^n_c), then scaled to C in sum (Cui et al., 2019). A class without images has weight 0, and C counts
    the others.
    """
    if config.class_weights is None:
        return None
    counts = torch.tensor(images, dtype=torch.float64)
    present = counts > 0
    if config.class_weights == "balanced":
        weights = counts.sum() / (present.sum() * counts)
    else:
        weights = (1 - config.class_beta) / (1 - config.class_beta**counts)
        weights *= present.sum() / weights[present].sum()
    return weights.where(present, 0.0)


def cross_entropy(logits: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None = None) -> Tensor:
    """Cross entropy with the target (1 − ε)·t + ε/C (Szegedy et al., 2016); mixed targets are smoothed too.

    With weights w of the classes Σ_c −w_c·t_c·log p_c, t the smoothed target, and still a mean over the images: it is
    not divided by the sum of their weights, so that it is the same however a step is divided.
    """
    weights = weights if weights is None else weights.to(logits.dtype)
    return F.cross_entropy(logits, targets.to(logits.dtype), weights, label_smoothing=config.label_smoothing)


def bce(logits: Tensor, targets: Tensor, config: LossConfig, weights: Tensor | None = None) -> Tensor:
    """Binary cross entropy, each class by itself (Wightman et al., 2021), mean over images and classes.

    With sum_classes Σ over classes, mean over images (Composer's); with a target_threshold τ of the target [t > τ], t
    smoothed and mixed; with weights each class's term times its own. timm's `BinaryCrossEntropy` has all three.
    """
    targets = smoothed(targets, config)
    if config.target_threshold is not None:
        targets = targets > config.target_threshold
    weights = weights if weights is None else weights.to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), weights)
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


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy,
    "bce": bce,
    "poly": poly,
    "nll": nll,
}


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
