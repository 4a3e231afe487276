"""Draws are functions of their address: of no state, no order, no process and no machine."""

import pickle
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from recipe.config import AugmentConfig, MixConfig
from recipe.data.transforms import draw_train
from recipe.ingredients.mix import draw_mix
from recipe.randomness import Draws, generator_at, reseed_device, seed_at

CPU = torch.device("cpu")
SEED_OF_FIRST_ORDER = 3471081512423777433
FIRST_CROP_NUMBER = 0.5491948938082897
ADDRESS = (3, "crop", 7, 11)
OTHER_ADDRESSES = [
    (4, "crop", 7, 11),
    (3 + 2**32, "crop", 7, 11),
    (3, "flip", 7, 11),
    (3, "crop", 8, 11),
    (3, "crop", 7, 12),
    (3, "crop", 71, 1),
    (3, "crop", 7),
    (3, "crop", 7, 11, 0),
]


def numbers(draws: Draws, count: int) -> np.ndarray:
    return np.array([draws.uniform() for _ in range(count)])


def test_same_address_gives_same_numbers() -> None:
    assert np.array_equal(numbers(Draws(*ADDRESS), 100), numbers(Draws(*ADDRESS), 100))
    assert seed_at(*ADDRESS) == seed_at(*ADDRESS)
    assert torch.equal(*(torch.rand(9, generator=generator_at(*ADDRESS)) for _ in range(2)))


@pytest.mark.parametrize("other", OTHER_ADDRESSES)
def test_other_address_gives_other_numbers(other: tuple[int, str]) -> None:
    assert not set(numbers(Draws(*ADDRESS), 100)) & set(numbers(Draws(*other), 100))
    assert seed_at(*ADDRESS) != seed_at(*other)
    orders = [torch.randperm(100, generator=generator_at(*address)) for address in (ADDRESS, other)]
    assert not torch.equal(*orders)


def test_seeds_that_agree_in_their_low_32_bits_differ() -> None:
    orders = [torch.randperm(100, generator=generator_at(seed, "order", 0)) for seed in (5, 5 + 2**32)]
    assert not torch.equal(*orders)
    assert Draws(5, "crop").uniform() != Draws(5 + 2**32, "crop").uniform()


def test_seed_is_the_same_in_every_process_and_release() -> None:
    assert seed_at(0, "order", 0) == SEED_OF_FIRST_ORDER
    assert Draws(0, "crop", 0, 0).uniform() == FIRST_CROP_NUMBER


def test_seed_fits_into_63_bits() -> None:
    assert all(0 <= seed_at(seed, "order") < 2**63 for seed in range(1000))
    assert max(seed_at(seed, "order") for seed in range(1000)) > 2**62


def test_uniform_numbers_are_uniform() -> None:
    drawn = numbers(Draws(*ADDRESS), 40_000)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert len(set(drawn)) == len(drawn)
    assert drawn.mean() == pytest.approx(1 / 2, abs=0.006)
    assert drawn.var() == pytest.approx(1 / 12, abs=0.002)
    assert np.histogram(drawn, 20, (0, 1))[0] / len(drawn) == pytest.approx(np.full(20, 1 / 20), abs=0.006)
    assert np.corrcoef(drawn[:-1], drawn[1:])[0, 1] == pytest.approx(0, abs=0.02)


def test_first_numbers_of_neighbouring_addresses_are_uniform_and_unrelated() -> None:
    drawn = np.array([Draws(0, "crop", 0, position).uniform() for position in range(20_000)])
    assert drawn.mean() == pytest.approx(1 / 2, abs=0.008)
    assert drawn.var() == pytest.approx(1 / 12, abs=0.003)
    assert np.corrcoef(drawn[:-1], drawn[1:])[0, 1] == pytest.approx(0, abs=0.03)


def test_uniform_stays_within_its_limits() -> None:
    draws = Draws(*ADDRESS)
    drawn = np.array([draws.uniform(-3.0, 5.0) for _ in range(5000)])
    assert -3 <= drawn.min() < -2.95
    assert 4.95 < drawn.max() < 5


@pytest.mark.parametrize("n", [1, 2, 7])
def test_below_covers_every_value_evenly(n: int) -> None:
    draws = Draws(*ADDRESS)
    counts = np.bincount([draws.below(n) for _ in range(14_000)], minlength=n)
    assert len(counts) == n
    assert counts / 14_000 == pytest.approx(np.full(n, 1 / n), abs=0.015)


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 1.0])
def test_chance_has_its_probability(probability: float) -> None:
    draws = Draws(*ADDRESS)
    share = np.mean([draws.chance(probability) for _ in range(10_000)])
    assert share == pytest.approx(probability, abs=0.015 if 0 < probability < 1 else 0)


@pytest.mark.parametrize(("alpha", "beta"), [(0.2, 0.2), (1.0, 1.0), (2.0, 6.0)])
def test_beta_has_its_mean_and_variance(alpha: float, beta: float) -> None:
    draws = Draws(*ADDRESS)
    drawn = np.array([draws.beta(alpha, beta) for _ in range(5000)])
    total = alpha + beta
    assert drawn.mean() == pytest.approx(alpha / total, abs=0.025)
    assert drawn.var() == pytest.approx(alpha * beta / total**2 / (total + 1), abs=0.006)


def test_reseeding_makes_dropout_reproducible() -> None:
    ones = torch.ones(1000)

    def dropped(*address: int) -> torch.Tensor:
        torch.rand(5)
        reseed_device(CPU, *address)
        return torch.nn.functional.dropout(ones, 0.5)

    with torch.random.fork_rng(devices=[]):
        masks = [dropped(0, 1, 2, 3) for _ in range(2)]
        others = [dropped(*address) for address in [(1, 1, 2, 3), (0, 2, 2, 3), (0, 1, 3, 3), (0, 1, 2, 4)]]
    assert torch.equal(*masks)
    assert not any(torch.equal(masks[0], other) for other in others)


def every_draw() -> None:
    draws = Draws(0, "anything", 1)
    draws.uniform()
    draws.below(10)
    draws.chance(0.5)
    draws.beta(0.2, 0.2)
    torch.randperm(10, generator=generator_at(0, "order", 0))
    draw_mix(MixConfig(mixup_alpha=0.2, cutmix_alpha=1.0), draws, 32, 32)
    for policy in ("ta_wide", "ra", "imagenet"):
        draw_train(AugmentConfig(policy=policy, random_erase=1.0), 32, 0, 0, 0, 60, 50)


@pytest.mark.parametrize(
    "state",
    [
        lambda: torch.random.get_rng_state().tolist(),
        random.getstate,
        lambda: pickle.dumps(np.random.get_state()),
    ],
    ids=["torch", "python", "numpy"],
)
def test_draws_leave_global_generators_alone(state: Callable[[], object]) -> None:
    before = state()
    every_draw()
    assert state() == before
