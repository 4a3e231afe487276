"""Micro-batches of a training: the same bits for any number of workers and ranks, and after a restart."""

import multiprocessing
from collections import Counter
from typing import Any

import pytest
import torch
from loading import IMAGES, Batches, assert_same, make_config, micro_batches, ranks_of

from recipe.config import AugmentConfig, SamplerConfig
from recipe.data.dataset import Dataset, load
from recipe.data.decode import Picture
from recipe.data.loader import TrainLoader, eval_batches, tasks_ahead
from recipe.data.micro_batch import Task, load_micro_batches
from recipe.data.order import make_order
from recipe.data.transforms import apply_train, draw_train
from recipe.ingredients.policies_batched import apply_batched


@pytest.fixture(scope="module")
def all_batches() -> Batches:
    return micro_batches(make_config())


def test_micro_batches_come_in_order(all_batches: Batches) -> None:
    assert list(all_batches) == [(epoch, step, m) for epoch in range(2) for step in range(3) for m in range(4)]


@pytest.mark.parametrize("workers", [1, 2])
def test_number_of_workers_changes_no_bit(all_batches: Batches, workers: int) -> None:
    assert_same(micro_batches(make_config(workers)), all_batches)


@pytest.mark.parametrize("start", [(0, 1), (1, 0), (1, 2)])
def test_resumed_loader_goes_on_with_the_same_batches(all_batches: Batches, start: tuple[int, int]) -> None:
    expected = {address: batch for address, batch in all_batches.items() if address[:2] >= start}
    assert_same(micro_batches(make_config(), start=start), expected)


def test_two_ranks_together_load_what_one_does(all_batches: Batches) -> None:
    found = [micro_batches(make_config(), ranks_of(rank, 2)) for rank in range(2)]
    assert not set(found[0]) & set(found[1])
    assert {address[2] for address in found[1]} == {2, 3}
    together = found[0] | found[1]
    assert_same({address: together[address] for address in sorted(together)}, all_batches)


def test_micro_batches_hold_what_the_order_and_the_draws_say(all_batches: Batches) -> None:
    config = make_config()
    dataset, _ = load(config.data)
    order = make_order(config, IMAGES)
    for (epoch, step, number), batch in all_batches.items():
        assert batch.images.dtype == torch.uint8
        positions = order.micro_batch_positions(step, number)
        for row, position in enumerate(positions):
            index = int(order.images(epoch)[position])
            draw = draw_train(config.augment, 24, config.seed, epoch, position, 256, 256)
            assert torch.equal(batch.images[row], apply_train(dataset.open(index).whole(), draw, config.resolution))
            assert batch.labels[row] == index % 5
            assert tuple(batch.erase[row].tolist()) == draw.erase


def test_shares_are_the_images_of_the_step(all_batches: Batches) -> None:
    for epoch in range(2):
        for step, size in enumerate((16, 16, 13)):
            batches = [all_batches[epoch, step, number] for number in range(4)]
            assert [batch.share for batch in batches] == [len(batch.images) / size for batch in batches]
            assert sum(len(batch.images) for batch in batches) == size


def test_repeats_of_an_image_are_augmented_differently() -> None:
    config = make_config(epochs=1, sampler=SamplerConfig(repetitions=4), augment=AugmentConfig(policy="none"))
    batches = micro_batches(config)
    for row in range(4):
        images = [batches[0, 0, number].images[row] for number in range(4)]
        labels = {int(batches[0, 0, number].labels[row]) for number in range(4)}
        assert len(labels) == 1
        assert not any(torch.equal(images[i], images[j]) for i in range(4) for j in range(i))


@pytest.mark.parametrize(("max_steps", "steps"), [(2, [(0, 0), (0, 1)]), (4, [(0, 0), (0, 1), (0, 2), (1, 0)])])
def test_max_steps_ends_the_loading(max_steps: int, steps: list[tuple[int, int]]) -> None:
    assert list(dict.fromkeys(address[:2] for address in micro_batches(make_config(max_steps=max_steps)))) == steps


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_generator_alone(workers: int) -> None:
    before = torch.random.get_rng_state()
    micro_batches(make_config(workers, epochs=1))
    list(eval_batches(load(make_config().data)[1], make_config(workers), ranks_of(), 30, 24))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_closing_ends_the_workers() -> None:
    config = make_config(workers=2)
    dataset, _ = load(config.data)
    before = set(multiprocessing.active_children())
    loader = TrainLoader(dataset, make_order(config, IMAGES), config, ranks_of(), (0, 0))
    _, batches = next(loader.epoch(0))
    next(batches)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    loader.close()
    assert not workers & set(multiprocessing.active_children())


class Counted:
    """A data set that counts how often each image is read."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset, self.reads = dataset, Counter[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def open(self, index: int) -> Picture:
        self.reads[index] += 1
        return self.dataset.open(index)


@pytest.mark.parametrize(("world_size", "reads"), [(1, 1), (2, 1), (4, 2), (8, 4)])
def test_repeats_of_an_image_are_decoded_once_on_a_rank(world_size: int, reads: int) -> None:
    """And come out as if each micro-batch were loaded alone, pixel for pixel and draw for draw."""
    config = make_config(epochs=1, batch_size=32, sampler=SamplerConfig(repetitions=4))
    dataset, _ = load(config.data)
    counted = Counted(dataset)
    order = make_order(config, len(dataset))
    assert order.micro_batches == 8
    found = [micro_batches(config, dataset=counted, ranks=ranks_of(rank, world_size)) for rank in range(world_size)]
    assert len(counted.reads) == 8  # of one step; the last 8 positions are too few for another
    assert set(counted.reads.values()) == {reads}
    for batches in found:
        for (epoch, step, number), batch in batches.items():
            positions = order.micro_batch_positions(step, number)
            indices = order.images(epoch)[positions].tolist()
            share = len(positions) / len(order.step_positions(step))
            (alone,) = load_micro_batches(dataset, config, [Task(epoch, step, number, list(positions), indices, share)])
            assert all(torch.equal(one, other) for one, other in zip(batch[:5], alone[:5], strict=True))
            assert (*batch[5:8], tuple(batch.unreadable), batch.guessed) == alone[5:]


@pytest.mark.parametrize("policy", ["none", "ta_wide", "ra", "imagenet"])
@pytest.mark.parametrize("workers", [0, 1])
def test_policy_on_the_device_makes_the_same_pixels(policy: str, workers: int) -> None:
    """The workers send what was drawn; doing it later, on the whole micro-batch, ends in the same images."""
    host, device = (
        micro_batches(make_config(workers, epochs=1, augment=AugmentConfig(policy=policy, policy_on=where)))
        for where in ("host", "device")
    )
    for address, batch in host.items():
        other = device[address]
        assert batch.codes.shape[1] == 0
        done = apply_batched(other.images, other.codes, other.magnitudes, "bilinear")
        assert torch.equal(batch.images, done), address
        assert torch.equal(batch.images, other.images) == (policy == "none")
        assert torch.equal(batch.erase, other.erase)


@pytest.mark.parametrize(("together", "tasks"), [(1, 4), (2, 2), (4, 2), (8, 2)])
def test_workers_run_ahead_by_four_micro_batches_and_two_tasks_at_least(together: int, tasks: int) -> None:
    """More would fill the memory of a machine with many ranks; with one, a worker stands still until it is fetched."""
    assert tasks_ahead(together) == tasks
