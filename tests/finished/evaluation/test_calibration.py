"""Calibration errors and temperatures are those of their definitions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar

from recipe.finished.evaluation.calibration import best_temperature, calibration, temperature


def drawn(true_temperature: float, images: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits whose labels were drawn from softmax(logits/T)."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (images, 10)).astype(np.float32)
    noise = random.gumbel(size=logits.shape)
    labels = (logits / true_temperature + noise).argmax(1)
    return logits, labels, logits.argmax(1) == labels


def test_negative_log_likelihood_is_pytorchs() -> None:
    logits, labels, correct = drawn(2.0)
    expected = F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    assert calibration(logits, labels, correct).nll == pytest.approx(expected, rel=1e-5)


def test_expected_calibration_error_is_its_formula() -> None:
    logits, labels, correct = drawn(2.0)
    confidence = torch.from_numpy(logits).softmax(1).amax(1).numpy()
    expected = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            expected += inside.sum() / len(labels) * abs(correct[inside].mean() - confidence[inside].mean())
    found = calibration(logits, labels, correct)
    assert found.ece == pytest.approx(expected, abs=1e-6)
    assert sum(b.images for b in found.bins) == len(labels)


def test_network_that_is_as_sure_as_it_is_right_has_no_error() -> None:
    assert calibration(*drawn(1.0)).ece < 0.01 < 0.1 < calibration(*drawn(3.0)).ece


def test_certainty_of_one_falls_into_the_last_bin() -> None:
    logits = np.array([[100.0, 0.0], [100.0, 0.0]], dtype=np.float16)
    found = calibration(logits, np.array([0, 1]), np.array([True, False]))
    assert found.bins[-1].images == 2
    assert found.ece == pytest.approx(0.5)


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.5])
def test_temperature_minimises_the_likelihood(true_temperature: float) -> None:
    logits, labels, _ = drawn(true_temperature)
    tensors = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    expected = minimize_scalar(
        lambda t: F.cross_entropy(tensors[0] / t, tensors[1]).item(), bounds=(0.05, 20), method="bounded"
    ).x
    assert best_temperature(logits, labels) == pytest.approx(expected, rel=1e-3)
    assert best_temperature(logits, labels) == pytest.approx(true_temperature, rel=0.05)


def test_temperature_is_chosen_on_one_half_and_told_on_the_other() -> None:
    """A second half of other labels must not change the choice, and must not look better than it is."""
    logits, labels, correct = drawn(2.0, 2000)
    first, second = np.arange(1000), np.arange(1000, 2000)
    found = temperature(logits, labels, correct, first, second)
    assert found.value == best_temperature(logits[:1000], labels[:1000])
    rest = calibration(logits[1000:], labels[1000:], correct[1000:])
    assert (found.before.nll, found.before.ece) == (rest.nll, rest.ece)
    assert found.after.nll < found.before.nll
    wrong = labels.copy()
    wrong[1000:] = (labels[1000:] + 1) % 10
    other = temperature(logits, wrong, logits.argmax(1) == wrong, first, second)
    assert other.value == found.value
    assert other.after.nll > found.after.nll
