"""The order of an epoch is a function of seed and epoch, and ranks and micro-batches share it without gaps."""

import numpy as np
import pytest

from recipe.config import Config, SamplerConfig
from recipe.data.order import Order, make_order, shard
from recipe.errors import ConfigError


def steps_of(order: Order, epoch: int = 0) -> list[list[list[int]]]:
    images = order.images(epoch)
    return [
        [images[order.micro_batch_positions(step, number)].tolist() for number in range(order.micro_batches)]
        for step in range(order.steps)
    ]


def flat(steps: list[list[list[int]]]) -> list[int]:
    return [image for step in steps for micro_batch in step for image in micro_batch]


@pytest.mark.parametrize("num_images", [96, 99, 112, 118, 127])
def test_each_image_stands_once_in_an_epoch(num_images: int) -> None:
    order = Order(num_images, batch_size=32, micro_batches=4, repetitions=1, seed=0)
    images = flat(steps_of(order))
    assert len(images) == num_images - order.dropped > num_images - 8
    assert len(set(images)) == len(images)
    assert set(images) <= set(range(num_images))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    order = Order(96, 32, 4, 1, seed=0)
    assert order.images(3).tolist() == Order(96, 16, 2, 1, seed=0).images(3).tolist()
    assert order.images(3).tolist() != order.images(4).tolist()
    assert order.images(3).tolist() != Order(96, 32, 4, 1, seed=1).images(3).tolist()


def test_order_is_shuffled_evenly() -> None:
    order = Order(50, 10, 1, 1, seed=0)
    places = np.argsort([order.images(epoch) for epoch in range(400)], axis=1)
    assert places.mean(0) == pytest.approx(np.full(50, 24.5), abs=4)


def test_micro_batches_take_every_mth_position_of_a_step() -> None:
    order = Order(100, batch_size=12, micro_batches=3, repetitions=1, seed=0)
    assert list(order.micro_batch_positions(2, 1)) == [25, 28, 31, 34]
    for step in range(order.steps):
        positions = [list(order.micro_batch_positions(step, number)) for number in range(3)]
        assert sorted(position for micro_batch in positions for position in micro_batch) == list(
            order.step_positions(step)
        )
        assert all(set(np.diff(micro_batch)) <= {3} for micro_batch in positions)


@pytest.mark.parametrize(
    ("num_images", "dropped", "steps"), [(64, 0, 2), (71, 7, 2), (72, 0, 3), (95, 0, 3), (65, 1, 2), (8, 0, 1)]
)
def test_last_step_is_kept_from_two_images_to_a_micro_batch(num_images: int, dropped: int, steps: int) -> None:
    order = Order(num_images, batch_size=32, micro_batches=4, repetitions=1, seed=0)
    assert (order.dropped, order.steps) == (dropped, steps)
    assert len(order.images(0)) == num_images - dropped
    assert min(len(micro_batch) for step in steps_of(order) for micro_batch in step) >= 2


@pytest.mark.parametrize("repetitions", [1, 4])
def test_training_set_under_two_images_to_a_micro_batch_is_refused(repetitions: int) -> None:
    config = Config(batch_size=32, micro_batch_size=8, sampler=SamplerConfig(repetitions=repetitions))
    assert make_order(config, 8).steps == 1
    for num_images in (0, 1, 7):
        with pytest.raises(ConfigError, match=f"has {num_images} images, fewer than two for each of the 4"):
            make_order(config, num_images)


def test_order_follows_the_config() -> None:
    config = Config(batch_size=256, micro_batch_size=32, seed=5, sampler=SamplerConfig(repetitions=4))
    assert make_order(config, 5000) == Order(5000, 256, 8, 4, 5)


def sampler_of_reference(permutation: list[int], repetitions: int, ranks: int) -> list[list[int]]:
    """Each rank's indices, as torchvision's reference RASampler gives them for a permutation."""
    repeated = [index for index in permutation for _ in range(repetitions)]
    repeated += repeated[: -len(repeated) % ranks]
    selected = len(permutation) // 256 * 256 // ranks
    return [repeated[rank::ranks][:selected] for rank in range(ranks)]


@pytest.mark.parametrize("repetitions", [2, 3, 4])
@pytest.mark.parametrize("batch_of_rank", [16, 20, 32])
@pytest.mark.parametrize("num_images", [9469, 675])
def test_repeated_augmentation_equals_the_reference_s_sampler_on_8_ranks(
    num_images: int, batch_of_rank: int, repetitions: int
) -> None:
    order = Order(num_images, 8 * batch_of_rank, 8, repetitions, seed=1)
    permutation = Order(num_images, num_images, 1, 1, seed=1).images(2).tolist()
    assert len(permutation) == num_images
    ranks = sampler_of_reference(permutation, repetitions, 8)
    expected = [
        [rank[start : start + batch_of_rank] for rank in ranks] for start in range(0, len(ranks[0]), batch_of_rank)
    ]
    assert order.dropped == 0
    assert steps_of(order, epoch=2) == expected


@pytest.mark.parametrize("num_images", [9469, 640])
def test_plain_order_gives_each_rank_of_the_reference_its_images(num_images: int) -> None:
    order = Order(num_images, 8 * 16, 8, 1, seed=1)
    permutation = order.images(0).tolist()
    for step, micro_batches in enumerate(steps_of(order)[:-1]):
        for rank, images in enumerate(micro_batches):
            assert images == permutation[rank::8][16 * step : 16 * (step + 1)]


@pytest.mark.parametrize(("repetitions", "micro_batches"), [(2, 2), (3, 4), (4, 4), (4, 8), (3, 8)])
@pytest.mark.parametrize("num_images", [100, 255, 300, 1000])
def test_repeats_of_an_image_never_meet_in_a_micro_batch(num_images: int, repetitions: int, micro_batches: int) -> None:
    order = Order(num_images, 8 * micro_batches, micro_batches, repetitions, seed=0)
    steps = steps_of(order)
    assert all(len(set(micro_batch)) == len(micro_batch) for step in steps for micro_batch in step)
    assert len(set(flat(steps))) < len(flat(steps))


def test_repeated_epoch_keeps_its_length_and_sees_a_share_of_the_images() -> None:
    order = Order(2560, 64, 4, 4, seed=0)
    images = order.images(0)
    assert len(images) == 2560
    assert len(set(images.tolist())) == 640


def test_small_repeated_epochs_are_not_rounded_to_256() -> None:
    assert Order(203, 32, 4, 2, seed=0).positions == 200
    assert Order(256 + 203, 32, 4, 2, seed=0).positions == 256


@pytest.mark.parametrize("repetitions", [1, 3])
@pytest.mark.parametrize("num_images", [64, 71, 75, 300])
def test_images_seen_are_counted_as_taken(num_images: int, repetitions: int) -> None:
    order = Order(num_images, 32, 4, repetitions, seed=0)
    taken: list[int] = []
    for step in range(3 * order.steps + 1):
        assert order.images_seen(step) == len(taken), step
        assert order.unique_images(step) == len(set(taken)), step
        epoch, in_epoch = divmod(step, order.steps)
        images = order.images(epoch)
        taken += [images[p] for number in range(4) for p in order.micro_batch_positions(in_epoch, number)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("num_images", [0, 1, 2, 3, 7, 8, 9, 100])
@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_evaluation_has_each_image_on_one_rank_once(num_images: int, world_size: int, batch_size: int) -> None:
    batches = [list(shard(num_images, batch_size, rank, world_size)) for rank in range(world_size)]
    assert sorted(image for rank in batches for batch in rank for image in batch) == list(range(num_images))
    assert all(0 < len(batch) <= batch_size for rank in batches for batch in rank)
    sizes = [sum(map(len, rank)) for rank in batches]
    assert max(sizes) - min(sizes) <= 1
