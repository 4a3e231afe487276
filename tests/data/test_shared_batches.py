"""Batches in shared memory keep their pixels for as long as they are looked at, and are whole on other devices."""

import time

import pytest
import torch
from gpus import needs_gpus
from loading import IMAGES, Batches, assert_same, make_config, micro_batches, ranks_of

from recipe.config import SamplerConfig
from recipe.data.dataset import load
from recipe.data.loader import EvalBatch, TrainLoader, eval_batches
from recipe.data.order import make_order
from recipe.data.shared_batches import SharedBatches, empty_batches
from recipe.machine.distributed import Ranks


@pytest.fixture(scope="module")
def all_batches() -> Batches:
    return micro_batches(make_config())


@pytest.mark.parametrize("repetitions", [1, 4])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_keep_their_pixels_until_the_next_but_one_is_asked_for(
    all_batches: Batches, workers: int, repetitions: int
) -> None:
    """However far the workers are ahead; later their memory is used again."""
    config = make_config(workers, epochs=16, sampler=SamplerConfig(repetitions=repetitions))
    dataset, _ = load(config.data)
    order = make_order(config, IMAGES)
    loader = TrainLoader(dataset, order, config, ranks_of(), (0, 0))
    before = copy_before = torch.empty(0)
    addresses = set()
    for epoch in range(config.epochs):
        for _, batches in loader.epoch(epoch):
            for batch in batches:
                copy = batch.images.clone()
                time.sleep(0.002)  # for the workers to go on
                assert torch.equal(before, copy_before)
                before, copy_before = batch.images, copy
                addresses.add(batch.images.data_ptr())
    loader.close()
    assert len(addresses) < order.steps * config.epochs  # of four times as many batches


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_batches_keep_their_pixels_until_the_next_but_one_is_asked_for(workers: int) -> None:
    config = make_config(workers)
    _, dataset = load(config.data)
    batches = eval_batches(dataset, config, ranks_of(), 30, 24)
    first = next(batches)
    copy = first.images.clone()
    second = next(batches)
    assert first.images.data_ptr() != second.images.data_ptr()
    time.sleep(0.1)  # for the worker to go on
    assert torch.equal(first.images, copy)


def test_batches_for_other_devices_are_in_memory_of_their_own() -> None:
    """Which may copy them when the host is further on."""
    shared = SharedBatches(tasks=1, images=2, size=8)
    (images,) = empty_batches([2], 8, shared.buffer(1))
    images.fill_(7)
    sent = shared.send(1, [EvalBatch(images, torch.zeros(2, dtype=torch.int64), torch.arange(2))])
    (there,), (own,) = (SharedBatches.received(sent, copied) for copied in (False, True))
    images.fill_(9)
    assert (there.images == 9).all()
    assert (own.images == 7).all()


@needs_gpus()
def test_batches_for_a_gpu_are_pinned_and_whole(all_batches: Batches) -> None:
    on_gpu = Ranks(0, 1, 0, 1, torch.device("cuda", 0))
    found = micro_batches(make_config(1), on_gpu)
    assert_same(found, all_batches)
    loader = TrainLoader(load(make_config().data)[0], make_order(make_config(), IMAGES), make_config(1), on_gpu, (0, 0))
    _, batches = next(loader.epoch(0))
    assert next(batches).images.is_pinned()
    loader.close()
