"""Whether a network is right as often as it says: expected calibration error, and the temperature that mends it."""

from typing import NamedTuple

import numpy as np

BINS = 15
FURTHEST = 6.0  # temperatures from 2**-6 to 2**6 are looked at
HALVINGS = 30  # of that range


class Bin(NamedTuple):
    """Images whose confidence, the probability of the class they are taken for, is above `low` and at most `high`."""

    low: float
    high: float
    images: int
    confidence: float  # mean; NaN without images
    accuracy: float


class Calibration(NamedTuple):
    """How far the confidence on some images is from their accuracy."""

    nll: float  # mean negative log-likelihood of the labels, in nats
    ece: float  # expected calibration error, a share
    confidence: float  # mean
    bins: list[Bin]


class Temperature(NamedTuple):
    """What dividing the logits by a temperature is worth (Guo et al., 2017): chosen on one half of the images."""

    value: float
    images_to_choose: int
    images_to_tell: int
    before: Calibration  # of the other half
    after: Calibration


def calibration(logits: np.ndarray, labels: np.ndarray, correct: np.ndarray, bins: int = BINS) -> Calibration:
    """Calibration with bins of equal width (Guo et al., 2017): Σ over bins of images/all · |accuracy − confidence|.

    Args:
        logits: (images, classes), of any float type; labels: (images,) int64.
        correct: (images,) bool, whether the label's logit is the largest.
    """
    log_p = log_softmax(logits)
    confidence = np.exp(log_p.max(1)).astype(np.float64)
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    images = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(number, confidence, bins) / images
        accuracy = np.bincount(number, correct, bins) / images
    gaps = np.nan_to_num(np.abs(accuracy - mean))
    return Calibration(
        nll=float(-log_p[np.arange(len(labels)), labels].mean(dtype=np.float64)),
        ece=float((images * gaps).sum() / len(labels)),
        confidence=float(confidence.mean()),
        bins=[Bin(i / bins, (i + 1) / bins, int(images[i]), float(mean[i]), float(accuracy[i])) for i in range(bins)],
    )


def best_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature that minimises the negative log-likelihood of the labels.

    With β = 1/T it is convex in β; its derivative, the mean of E_p[logit] − logit of the label, is bisected.
    """
    logits = logits.astype(np.float32)
    logits -= logits.max(1, keepdims=True)
    of_label = logits[np.arange(len(labels)), labels].mean(dtype=np.float64)
    low, high = -FURTHEST, FURTHEST  # of log2 T
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        weights = np.exp(logits * np.float32(2**-middle))
        expected = ((weights * logits).sum(1) / weights.sum(1)).mean(dtype=np.float64)
        if expected < of_label:  # a larger β, a lower T, would make the labels likelier
            high = middle
        else:
            low = middle
    return float(2 ** ((low + high) / 2))


def temperature(
    logits: np.ndarray, labels: np.ndarray, correct: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Temperature:
    """Choose a temperature on the images of `first`, and say what it is worth on those of `second`, both indices."""
    value = best_temperature(logits[first], labels[first])
    rest = logits[second].astype(np.float32), labels[second], correct[second]
    return Temperature(
        value=value,
        images_to_choose=len(first),
        images_to_tell=len(second),
        before=calibration(*rest),
        after=calibration(rest[0] / np.float32(value), *rest[1:]),
    )


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(images, classes) float32."""
    shifted = logits.astype(np.float32)
    shifted -= shifted.max(1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(1, keepdims=True))
    return shifted
