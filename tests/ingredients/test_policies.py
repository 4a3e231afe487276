"""Policies draw from the published spaces, and their operations make torchvision's pixels."""

from collections import Counter
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import AutoAugment, InterpolationMode, RandAugment, TrivialAugmentWide
from torchvision.transforms.autoaugment import _apply_op

from recipe.config import AugmentConfig
from recipe.ingredients.policies import NARROW, OPERATIONS, POLICIES, WIDE, Operation, apply_operations, magnitude
from recipe.randomness import Draws

SIZE = 176
TRIVIAL_SPACE = TrivialAugmentWide()._augmentation_space(31)
RAND_SPACE = RandAugment()._augmentation_space(31, (SIZE, SIZE))
AUTO_SPACE = AutoAugment()._augmentation_space(10, (SIZE, SIZE))
Space = dict[str, tuple[torch.Tensor, bool]]


def photo(height: int = 60, width: int = 48) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    gradients = np.stack([40 + x * 150 / width, y * 200 / height, (x + y) * 255 / (width + height)], -1)
    noise = np.random.default_rng(0).normal(0, 20, gradients.shape)
    return Image.fromarray(np.clip(gradients + noise, 0, 255).astype(np.uint8))


def drawn(policy: str, count: int) -> list[list[Operation]]:
    return [POLICIES[policy](Draws(0, "policy", 0, position), SIZE) for position in range(count)]


def shares(counts: Counter[str]) -> dict[str, float]:
    return {name: count / counts.total() for name, count in counts.items()}


def test_registry_holds_the_schema_s_choices() -> None:
    choices = {item.name: item.metadata.get("choices") for item in fields(AugmentConfig)}
    assert (*POLICIES, "timm") == choices["policy"]


@pytest.mark.parametrize(
    ("space", "bins", "limits"),
    [(TRIVIAL_SPACE, 31, WIDE), (RAND_SPACE, 31, NARROW), (AUTO_SPACE, 10, NARROW)],
    ids=["ta_wide", "ra", "imagenet"],
)
def test_magnitudes_are_torchvision_s(space: Space, bins: int, limits: dict[str, float]) -> None:
    for name, (magnitudes, _) in space.items():
        expected = magnitudes.double().tolist() if magnitudes.ndim else [0.0] * bins
        assert [magnitude(name, index, bins, limits, SIZE) for index in range(bins)] == expected, name


@pytest.mark.parametrize("space", [TRIVIAL_SPACE, RAND_SPACE])
def test_operations_are_torchvision_s(space: Space) -> None:
    assert set(OPERATIONS) == set(space)
    assert len(OPERATIONS) == len(space)


def values_of(name: str) -> set[float]:
    values = set()
    for space in (TRIVIAL_SPACE, RAND_SPACE, AUTO_SPACE):
        magnitudes, signed = space.get(name, (torch.tensor(0.0), False))
        chosen = magnitudes.flatten().tolist()[:: 4 if len(magnitudes.shape) else 1]
        values |= {sign * value for value in chosen for sign in ((1, -1) if signed else (1,))}
    return values


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("name", [*OPERATIONS, "Invert"])
def test_pixels_equal_torchvision_s_bit_for_bit(name: str, interpolation: str) -> None:
    for value in values_of(name):
        expected = _apply_op(photo(), name, value, InterpolationMode(interpolation), None)
        assert apply_operations(photo(), [(name, value)], interpolation).tobytes() == expected.tobytes(), value


def test_every_operation_but_identity_changes_pixels() -> None:
    for name in [*OPERATIONS, "Invert"]:
        value = max(values_of(name)) if name not in ("Posterize", "Solarize") else min(values_of(name))
        changed = apply_operations(photo(), [(name, value)], "bilinear").tobytes() != photo().tobytes()
        assert changed == (name != "Identity"), name


def test_operations_are_applied_in_order() -> None:
    first, second = ("Rotate", 20.0), ("TranslateX", 10.0)
    expected = apply_operations(apply_operations(photo(), [first], "bilinear"), [second], "bilinear")
    assert apply_operations(photo(), [first, second], "bilinear").tobytes() == expected.tobytes()
    assert apply_operations(photo(), [second, first], "bilinear").tobytes() != expected.tobytes()


def test_pixels_from_outside_are_black() -> None:
    white = Image.new("RGB", (40, 40), "white")
    moved = np.asarray(apply_operations(white, [("TranslateX", 10.0)], "bilinear"))
    assert (moved[:, :10] == 0).all()
    assert (moved[:, 10:] == 255).all()


def test_none_draws_nothing() -> None:
    assert drawn("none", 3) == [[], [], []]


def test_trivial_augment_draws_one_operation_uniformly() -> None:
    policies = drawn("ta_wide", 7000)
    assert {len(operations) for operations in policies} == {1}
    found = shares(Counter(name for ((name, _),) in policies))
    assert found == pytest.approx(dict.fromkeys(OPERATIONS, 1 / 14), abs=0.012)


def test_trivial_augment_draws_every_bin_uniformly() -> None:
    turned = np.array([abs(value) for ((name, value),) in drawn("ta_wide", 14_000) if name == "Rotate"])
    bins = TRIVIAL_SPACE["Rotate"][0].tolist()
    assert set(turned) == set(bins)
    assert turned.mean() == pytest.approx(135 / 2, abs=4)
    assert turned.std() == pytest.approx(float(np.std(bins)), abs=3)


@pytest.mark.parametrize("policy", ["ta_wide", "ra"])
def test_signs_are_even_where_torchvision_s_are(policy: str) -> None:
    found: dict[str, list[bool]] = {}
    for operations in drawn(policy, 7000):
        for name, value in operations:
            if value:
                found.setdefault(name, []).append(value < 0)
    for name, negative in found.items():
        signed = RAND_SPACE[name][1]
        assert np.mean(negative) == pytest.approx(0.5 if signed else 0.0, abs=0.09 if signed else 0), name


def test_rand_augment_draws_two_operations_at_bin_9_with_replacement() -> None:
    policies = drawn("ra", 4000)
    assert {len(operations) for operations in policies} == {2}
    found = shares(Counter(name for operations in policies for name, _ in operations))
    assert found == pytest.approx(dict.fromkeys(OPERATIONS, 1 / 14), abs=0.012)
    assert np.mean([first == second for (first, _), (second, _) in policies]) == pytest.approx(1 / 14, abs=0.015)
    for name, value in (operation for operations in policies for operation in operations):
        magnitudes = RAND_SPACE[name][0]
        assert abs(value) == (magnitudes[9].item() if magnitudes.ndim else 0), name


def expected_of_auto_augment() -> dict[str, float]:
    pairs = AutoAugment().policies
    expected: dict[str, float] = {}
    for name, probability, _ in (operation for pair in pairs for operation in pair):
        expected[name] = expected.get(name, 0.0) + probability / len(pairs)
    return expected


def test_auto_augment_draws_operations_as_often_as_the_paper() -> None:
    policies = drawn("imagenet", 6000)
    counts = Counter(name for operations in policies for name, _ in operations)
    assert {name: count / 6000 for name, count in counts.items()} == pytest.approx(
        expected_of_auto_augment(), abs=0.025
    )


def test_auto_augment_draws_the_papers_pairs_and_bins() -> None:
    possible: Callable[[str, int | None], list[float]] = lambda name, index: (  # noqa: E731
        [0.0] if index is None else [float(sign * AUTO_SPACE[name][0][index]) for sign in (1, -1)]
    )
    allowed = set()
    for (first, p, i), (second, q, j) in AutoAugment().policies:
        firsts = [[(first, value)] for value in possible(first, i)] + ([[]] if p < 1 else [])
        seconds = [[(second, value)] for value in possible(second, j)] + ([[]] if q < 1 else [])
        allowed |= {tuple(a + b) for a in firsts for b in seconds}
    policies = {tuple(operations) for operations in drawn("imagenet", 6000)}
    assert policies <= allowed
    assert any(value < 0 for operations in policies for _, value in operations)
