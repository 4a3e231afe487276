import multiprocessing
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from gpus import needs_gpus
from PIL import Image

from recipe.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EvaluateConfig,
    ResolutionConfig,
    SamplerConfig,
)
from recipe.data.dataset import Dataset, load
from recipe.data.decode import Picture
from recipe.data.folder import ImageFolder, scan_folder
from recipe.data.loader import EvalBatch, TrainLoader, eval_batches, tasks_ahead
from recipe.data.micro_batch import MicroBatch, Task, load_micro_batches
from recipe.data.order import make_order
from recipe.data.shared_batches import Slots, rooms
from recipe.data.transforms import apply_eval, apply_train, draw_train
from recipe.errors import DataError
from recipe.ingredients.policies_batched import apply_batched
from recipe.machine.distributed import Ranks

IMAGES = 45
Batches = dict[tuple[int, int, int], MicroBatch]


def make_config(workers: int = 0, **keys: object) -> Config:
    config = Config(
        epochs=2,
        batch_size=16,
        micro_batch_size=4,
        data=DataConfig(name="synthetic", size=IMAGES, num_classes=5, workers=workers),
        augment=AugmentConfig(policy="ta_wide", random_erase=0.5),
        resolution=ResolutionConfig(train_crop=24, val_resize=30, val_crop=24),
        evaluate=EvaluateConfig(batch_size=4),
    )
    for name, value in keys.items():
        setattr(config, name, value)
    return config


def ranks_of(rank: int = 0, world_size: int = 1) -> Ranks:
    return Ranks(rank, world_size, rank, world_size, torch.device("cpu"))


def micro_batches(
    config: Config, ranks: Ranks | None = None, start: tuple[int, int] = (0, 0), dataset: Dataset | None = None
) -> Batches:
    dataset = dataset or load(config.data)[0]
    loader = TrainLoader(dataset, make_order(config, len(dataset)), config, ranks or ranks_of(), start)
    found = {}
    for epoch in range(start[0], config.epochs):
        for step, batches in loader.epoch(epoch, start[1] if epoch == start[0] else 0):
            for batch in batches:
                assert batch.step == step
                found[epoch, step, batch.number] = batch._replace(images=batch.images.clone())
    loader.close()
    return found


def assert_same(first: Batches, second: Batches) -> None:
    assert list(first) == list(second)
    for address, batch in first.items():
        for own, other in zip(batch, second[address], strict=True):
            assert torch.equal(torch.as_tensor(own), torch.as_tensor(other)), address


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


def broken_folder(folder: Path) -> tuple[ImageFolder, Path]:
    for number in range(16):
        path = folder / f"class{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 30)).save(path)
    broken = folder / "class1" / "07.png"
    broken.write_bytes(broken.read_bytes()[:40])
    return scan_folder(folder), broken


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_file_is_named(tmp_path: Path, workers: int) -> None:
    dataset, broken = broken_folder(tmp_path)
    with pytest.raises(DataError) as caught:
        micro_batches(make_config(workers), dataset=dataset)
    assert str(caught.value).startswith(f"cannot read the image {broken}")
    assert "data.on_corrupt=skip goes on without them" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError) as caught:
        list(eval_batches(dataset, make_config(workers), ranks_of(), 30, 24))
    assert str(caught.value).startswith(f"cannot read the image {broken}")
    assert "data.on_corrupt=skip goes on without them" in str(caught.value)
    assert "\n" not in str(caught.value)


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


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_loads_every_image_once_over_all_ranks(world_size: int, workers: int) -> None:
    config = make_config(workers)
    _, dataset = load(config.data)
    seen = []
    for rank in range(world_size):
        for batch in eval_batches(dataset, config, ranks_of(rank, world_size), 30, 24):
            for image, label, index in zip(batch.images, batch.labels, batch.indices.tolist(), strict=True):
                assert torch.equal(image, apply_eval(dataset.open(index).whole(), 30, 24, "bilinear"))
                assert label == dataset.labels[index]
                seen.append(index)
    assert sorted(seen) == list(range(IMAGES // 4))


def test_evaluation_takes_the_resolution_it_is_given() -> None:
    config = make_config()
    batch = next(eval_batches(load(config.data)[1], config, ranks_of(), 40, 36))
    assert batch.images.shape == (4, 3, 36, 36)


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_files_are_skipped_where_asked(tmp_path: Path, workers: int) -> None:
    """In training the next image stands in, with its own label; in an evaluation the others are counted."""
    dataset, broken = broken_folder(tmp_path)
    config = make_config(workers)
    config.data.on_corrupt = "skip"
    name = str(broken.relative_to(dataset.root))
    index = [dataset.name(i) for i in range(len(dataset))].index(name)
    batches = micro_batches(config, dataset=dataset)
    assert {file for batch in batches.values() for file in batch.unreadable} == {name}

    evaluated = list(eval_batches(dataset, config, ranks_of(), 30, 24))
    seen = torch.cat([batch.indices for batch in evaluated]).tolist()
    assert seen == [i for i in range(len(dataset)) if i != index]
    assert all(len(batch.images) == len(batch.labels) == len(batch.indices) for batch in evaluated)
    assert [file for batch in evaluated for file in batch.unreadable] == [name]

    task = Task(0, 0, 0, [5], [index], 1.0)
    instead = Task(0, 0, 0, [5], [(index + 1) % len(dataset)], 1.0)
    ((one,), (other,)) = (load_micro_batches(dataset, config, [each]) for each in (task, instead))
    assert torch.equal(one.images, other.images)
    assert torch.equal(one.labels, other.labels)


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


@pytest.mark.parametrize(("together", "tasks"), [(1, 4), (2, 2), (4, 1), (8, 1)])
def test_workers_run_ahead_by_as_many_micro_batches_however_many_share_images(together: int, tasks: int) -> None:
    """More would fill the memory of a machine with many ranks."""
    assert tasks_ahead(together) == tasks


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
    slots = Slots(tasks=1, images=2, size=8)
    (images,) = rooms([2], 8, slots.memory(1))
    images.fill_(7)
    sent = slots.send(1, [EvalBatch(images, torch.zeros(2, dtype=torch.int64), torch.arange(2))])
    (shared,), (own,) = (Slots.received(sent, copied) for copied in (False, True))
    images.fill_(9)
    assert (shared.images == 9).all()
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
