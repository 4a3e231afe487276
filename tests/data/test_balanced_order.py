"""sampler.draw=balanced: every class as often as any other, a function of seed and epoch, and else an order as ever."""

import numpy as np
import pytest
from scipy import stats

from recipe.config import Config, SamplerConfig
from recipe.data.order import Order, make_order

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [700, 200, 100]))  # no image of class 2


def order_of(draw: str = "balanced", seed: int = 0, repetitions: int = 1) -> Order:
    sampler = SamplerConfig(draw=draw, repetitions=repetitions)
    return make_order(Config(batch_size=64, micro_batch_size=16, seed=seed, sampler=sampler), len(LABELS), LABELS)


def test_classes_and_the_images_within_them_are_even() -> None:
    """The oracle is the formula: P(i) = 1/(3·n) of each of the n images of i's class."""
    images = np.concatenate([order_of().images(epoch) for epoch in range(60)])
    by_class = np.bincount(LABELS[images], minlength=4)
    assert by_class[2] == 0
    assert stats.chisquare(by_class[[0, 1, 3]]).pvalue > 1e-4
    for label in (0, 1, 3):
        within = np.bincount(images[LABELS[images] == label], minlength=len(LABELS))[label == LABELS]
        assert stats.chisquare(within).pvalue > 1e-4, label


def test_epochs_have_their_length_and_are_functions_of_seed_and_epoch() -> None:
    """So a run that was stopped goes on with the same images, and each rank finds its own."""
    plain, balanced = order_of("shuffled"), order_of()
    assert (balanced.steps, balanced.positions, balanced.dropped) == (plain.steps, plain.positions, plain.dropped)
    assert len(balanced.images(0)) == len(plain.images(0))
    assert np.array_equal(balanced.images(3), order_of().images(3))
    assert not np.array_equal(balanced.images(3), balanced.images(4))
    assert not np.array_equal(balanced.images(3), order_of(seed=1).images(3))
    assert balanced.unique_images(balanced.steps) == len(np.unique(balanced.images(0)))


def test_repeats_stay_neighbours() -> None:
    images = order_of(repetitions=4).images(0)
    assert (images.reshape(-1, 4) == images[::4, None]).all()


def test_shuffled_is_the_order_of_before() -> None:
    assert order_of("shuffled").labels is None
    assert np.array_equal(order_of("shuffled").images(2), Order(1000, 64, 4, 1, 0).images(2))


@pytest.mark.parametrize("label", [0, 1, 3])
def test_one_image_of_a_class_is_enough(label: int) -> None:
    labels = np.full(64, 5)
    labels[7] = label
    images = make_order(order_config(), 64, labels).images(0)
    assert 16 < (images == 7).sum() < 48


def order_config() -> Config:
    return Config(batch_size=64, micro_batch_size=16, sampler=SamplerConfig(draw="balanced"))
