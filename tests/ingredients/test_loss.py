"""Losses are those of torch, timm and optax, or worked out by hand, of smoothed and mixed targets alike."""

import math
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from timm.loss import BinaryCrossEntropy
from torch import Tensor

from recipe.config import LossConfig
from recipe.ingredients.loss import LOSSES, class_weights, make_loss

LOGITS = [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]]
MIXED = [[0.7, 0.3, 0.0], [0.0, 0.4, 0.6]]


def log_softmax(row: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in row))
    return [value - total for value in row]


def by_hand(logits: list[list[float]], targets: list[list[float]], smoothing: float) -> float:
    losses = []
    for row, target in zip(logits, targets, strict=True):
        smooth = [(1 - smoothing) * t + smoothing / len(row) for t in target]
        losses.append(-sum(t * p for t, p in zip(smooth, log_softmax(row), strict=True)))
    return sum(losses) / len(losses)


def random_batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(16, 10, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(0, 10, (16,), generator=generator)


def tensors() -> tuple[Tensor, Tensor]:
    return torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(MIXED, dtype=torch.float64)


def test_registry_holds_the_schema_s_choices() -> None:
    choices = {item.name: item.metadata.get("choices") for item in fields(LossConfig)}
    assert tuple(LOSSES) == choices["name"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_mixed_targets_are_smoothed(smoothing: float) -> None:
    loss = make_loss(LossConfig(name="cross_entropy", label_smoothing=smoothing))(*tensors())
    assert loss.shape == ()
    assert loss.item() == pytest.approx(by_hand(LOGITS, MIXED, smoothing), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_hot_targets_give_torch_s_cross_entropy_on_indices(smoothing: float) -> None:
    logits, labels = random_batch()
    loss = make_loss(LossConfig(name="cross_entropy", label_smoothing=smoothing))
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, F.one_hot(labels, 10).double()), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_is_the_mean_over_images_and_classes(smoothing: float) -> None:
    losses = []
    for row, target in zip(LOGITS, MIXED, strict=True):
        for logit, t in zip(row, target, strict=True):
            smooth, p = (1 - smoothing) * t + smoothing / 3, 1 / (1 + math.exp(-logit))
            losses.append(-smooth * math.log(p) - (1 - smooth) * math.log(1 - p))
    loss = make_loss(LossConfig(name="bce", label_smoothing=smoothing))(*tensors())
    assert loss.shape == ()
    assert loss.item() == pytest.approx(sum(losses) / 6, rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bce_equals_timm_s(smoothing: float) -> None:
    logits, labels = random_batch()
    loss = make_loss(LossConfig(name="bce", label_smoothing=smoothing))(logits, F.one_hot(labels, 10).double())
    torch.testing.assert_close(loss, BinaryCrossEntropy(smoothing)(logits, labels), rtol=1e-12, atol=0)


@pytest.mark.parametrize("sum_classes", [False, True])
@pytest.mark.parametrize("threshold", [None, 0.0, 0.2, 0.65])
def test_bce_of_a_class_sum_and_a_threshold_equals_timm_s(sum_classes: bool, threshold: float | None) -> None:
    """Of mixed targets, which timm smooths before its loss, and of class numbers."""
    config = LossConfig("bce", label_smoothing=0.1, sum_classes=sum_classes, target_threshold=threshold)
    oracle = BinaryCrossEntropy(0.1, target_threshold=threshold, sum_classes=sum_classes)
    logits, mixed = tensors()
    theirs = oracle(logits, 0.9 * mixed + 0.1 / 3)
    torch.testing.assert_close(make_loss(config)(logits, mixed), theirs, rtol=1e-12, atol=0)
    logits, labels = random_batch()
    ours = make_loss(config)(logits, F.one_hot(labels, 10).double())
    torch.testing.assert_close(ours, oracle(logits, labels), rtol=1e-12, atol=0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nll_of_log_probabilities_is_by_hand_and_torch_s_on_indices(smoothing: float) -> None:
    loss = make_loss(LossConfig(name="nll", label_smoothing=smoothing))
    logits, targets = tensors()
    assert loss(logits.log_softmax(1), targets).shape == ()
    assert loss(logits.log_softmax(1), targets).item() == pytest.approx(by_hand(LOGITS, MIXED, smoothing), rel=1e-12)
    logits, labels = random_batch()
    one_hot = F.one_hot(labels, 10).double()
    expected = (1 - smoothing) * F.nll_loss(logits.log_softmax(1), labels) - smoothing * logits.log_softmax(1).mean()
    torch.testing.assert_close(loss(logits.log_softmax(1), one_hot), expected, rtol=1e-12, atol=0)


def test_nll_takes_its_input_as_log_probabilities_and_an_evaluation_s_cross_entropy_of_them_is_the_same() -> None:
    logits, targets = tensors()
    loss = make_loss(LossConfig(name="nll"))
    assert loss(logits, targets).item() != pytest.approx(by_hand(LOGITS, MIXED, 0.0), rel=0.01)
    log_p = logits.log_softmax(1)
    assert loss(log_p, targets).item() == pytest.approx(F.cross_entropy(log_p, targets).item(), rel=1e-12)


def test_poly_smooths_both_terms_as_the_paper_s_code_does() -> None:
    logits, targets = torch.tensor([[0.14, 1.456, 2.356, -0.124, -2.47]]), torch.tensor([[0.1, 0.15, 0.2, 0.25, 0.3]])
    loss = make_loss(LossConfig(name="poly", poly_epsilon=2.0, label_smoothing=0.3))(logits.double(), targets.double())
    assert loss.item() == pytest.approx(4.41986, abs=1e-5)


def test_poly_gives_the_value_that_optax_tests_for() -> None:
    """Computed there with the code in the paper."""
    logits, targets = torch.tensor([[0.14, 1.456, 2.356, -0.124, -2.47]]), torch.tensor([[0.1, 0.15, 0.2, 0.25, 0.3]])
    loss = make_loss(LossConfig(name="poly", poly_epsilon=2.0))(logits.double(), targets.double())
    assert loss.item() == pytest.approx(4.531657285679147, rel=1e-6)


@pytest.mark.parametrize(("epsilon", "smoothing"), [(1.0, 0.0), (2.0, 0.0), (-1.0, 0.1)])
def test_poly_adds_epsilon_times_what_the_target_s_probability_lacks(epsilon: float, smoothing: float) -> None:
    missing = [
        1
        - sum(
            ((1 - smoothing) * t + smoothing / len(row)) * math.exp(p)
            for t, p in zip(target, log_softmax(row), strict=True)
        )
        for row, target in zip(LOGITS, MIXED, strict=True)
    ]
    expected = by_hand(LOGITS, MIXED, smoothing) + epsilon * sum(missing) / 2
    loss = make_loss(LossConfig(name="poly", label_smoothing=smoothing, poly_epsilon=epsilon))(*tensors())
    assert loss.shape == ()
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_computed_in_float32(name: str, low: torch.dtype) -> None:
    logits, labels = random_batch(low)
    targets = F.one_hot(labels, 10).float()
    criterion = make_loss(LossConfig(name=name, label_smoothing=0.1))
    loss = criterion(logits, targets)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, criterion(logits.float(), targets))


@pytest.mark.parametrize("name", list(LOSSES))
def test_float64_logits_keep_their_precision(name: str) -> None:
    logits, labels = random_batch()
    loss = make_loss(LossConfig(name=name))(logits, F.one_hot(labels, 10).double())
    assert loss.dtype == torch.float64
    assert loss.item() != loss.float().item()


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradient_lowers_the_loss(name: str) -> None:
    logits, targets = tensors()
    logits.requires_grad_()
    criterion = make_loss(LossConfig(name=name, label_smoothing=0.1))
    loss = criterion(logits, targets)
    loss.backward()
    assert logits.grad is not None
    assert criterion(logits.detach() - 0.1 * logits.grad, targets) < loss


COUNTS = [70, 20, 10, 0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("balanced", [100 / (3 * n) if n else 0 for n in COUNTS]),
        ("effective", [(1 - 0.9) / (1 - 0.9**n) if n else 0 for n in COUNTS]),
    ],
)
def test_class_weights_are_the_papers(name: str, expected: list[float]) -> None:
    weights = class_weights(LossConfig("cross_entropy", class_weights=name, class_beta=0.9), COUNTS)
    assert weights is not None
    if name == "effective":
        expected = [3 * value / sum(expected) for value in expected]
    assert weights.tolist() == pytest.approx(expected, rel=1e-12)
    assert class_weights(LossConfig("cross_entropy"), COUNTS) is None


def test_balanced_weights_give_every_class_its_share_of_the_loss() -> None:
    weights = class_weights(LossConfig("cross_entropy", class_weights="balanced"), COUNTS)
    assert weights is not None
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(COUNTS))
    targets = F.one_hot(labels, 4).double()
    loss = make_loss(LossConfig("cross_entropy", class_weights="balanced"), weights)
    logits = torch.zeros(100, 4, dtype=torch.float64)
    assert loss(logits, targets).item() == pytest.approx(math.log(4), rel=1e-12)  # as without weights
    logits[labels == 2, 2] = 100.0  # the rarest class right: a third of the loss gone
    assert loss(logits, targets).item() == pytest.approx(2 / 3 * math.log(4), rel=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weighted_losses_are_torch_s_and_timm_s_of_mixed_targets(smoothing: float) -> None:
    logits, targets = tensors()
    weights = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
    smooth = (1 - smoothing) * targets + smoothing / 3
    by_formula = -(weights * smooth * logits.log_softmax(1)).sum(1).mean()
    ours = make_loss(LossConfig("cross_entropy", label_smoothing=smoothing), weights)
    torch.testing.assert_close(ours(logits, targets), by_formula, rtol=1e-12, atol=0)
    ours = make_loss(LossConfig("bce", label_smoothing=smoothing), weights)
    oracle = BinaryCrossEntropy(0.0, weight=weights)
    torch.testing.assert_close(ours(logits, targets), oracle(logits, smooth), rtol=1e-12, atol=0)
