"""Progressive resizing: the sizes are those of ffcv's and Composer's code, and what is trained on has them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from recipe.config import Config, DataConfig, ResolutionConfig
from recipe.data import dataset as datasets
from recipe.data.loader import TrainLoader
from recipe.data.order import Order, make_order
from recipe.errors import ConfigError
from recipe.ingredients import resizing
from recipe.machine.distributed import Ranks
from recipe.plan.compose import Plan, plan_of

# Epochs, start and end of the ramp; first epoch at 192 px, and root of the mean square, as counted from the source.
FFCV = [
    (16, 11, 13, 12, 168.6),
    (24, 17, 20, 19, 167.2),
    (32, 23, 27, 25, 167.5),
    (40, 29, 34, 32, 166.9),
    (56, 41, 48, 45, 166.8),
    (88, 65, 76, 71, 166.7),
]


def ffcv(epoch: int, start: int, end: int) -> int:
    """get_resolution of ffcv-imagenet's train_imagenet.py."""
    if epoch <= start:
        return 160
    if epoch >= end:
        return 192
    interp = np.interp([epoch], [start, end], [160, 192])
    return int(np.round(interp[0] / 32)) * 32


def composer(elapsed: float, side: int, initial: float, delay: float, finetune: float, increment: int) -> int:
    """ProgressiveResizing.apply and resize_batch of Composer."""
    scale = initial
    if elapsed >= delay:
        scale = initial + (1 - initial) * min((elapsed - delay) / (1 - finetune - delay), 1)
    return round(scale * side / increment) * increment


@pytest.mark.parametrize(("epochs", "start", "end", "first", "side"), FFCV)
def test_crops_of_each_epoch_are_ffcv_s(epochs: int, start: int, end: int, first: int, side: float) -> None:
    sizes = ResolutionConfig(train_crop=192, first_crop=160, grow_from=start, grow_until=end)
    found = [resizing.crop_at(sizes, epoch) for epoch in range(epochs)]
    assert found == [ffcv(epoch, start, end) for epoch in range(epochs)]
    assert found.index(192) == first
    config = Config(epochs=epochs, resolution=sizes)
    assert resizing.pixels(config) ** 0.5 == pytest.approx(side, abs=0.05)
    assert resizing.pixels(config, 0, first) == 160**2
    assert resizing.pixels(config, first) == 192**2


@pytest.mark.parametrize("initial", [0.5, 0.6])
@pytest.mark.parametrize("delay", [0.2, 0.4])
def test_sizes_of_each_step_are_composer_s(initial: float, delay: float) -> None:
    sizes = ResolutionConfig(train_crop=176, resize_from=initial, resize_delay=delay, resize_finetune=0.2)
    config, images = Config(epochs=9, resolution=sizes), torch.rand(2, 3, 176, 176)
    found = []
    for position in range(9 * 7):
        epoch, step = divmod(position, 7)
        side = composer(position / 63, 176, initial, delay, 0.2, 4)
        assert resizing.resized_to(sizes, 176, position / 63) == side
        resized = resizing.resize_batch(images, config, epoch, step, 7)
        assert torch.equal(resized, F.interpolate(images, (side, side), mode="nearest"))
        found.append(side)
    assert (found[0], found[-1]) == (composer(0, 176, initial, delay, 0.2, 4), 176)
    assert len(set(found)) > 10
    assert resizing.pixels(config) == pytest.approx(np.mean([side**2 for side in found]), rel=0.02)


def test_both_are_off_by_default() -> None:
    config, images = Config(), torch.rand(1, 3, 8, 8)
    assert resizing.in_epoch(config, 3) is config
    assert resizing.resize_batch(images, config, 3, 1, 7) is images
    assert resizing.pixels(config) == 224**2
    assert resizing.smallest(config) == []


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("repetitions", [1, 2])
def test_the_loader_s_images_have_the_crop_of_their_epoch(workers: int, repetitions: int) -> None:
    """Across epochs, whose images are loaded while the one before is trained on; and from any step on."""
    config = Config(epochs=4, batch_size=8, micro_batch_size=4)
    config.data = DataConfig(name="synthetic", size=16, num_classes=4, workers=workers)
    config.resolution = ResolutionConfig(train_crop=32, first_crop=16, grow_from=1, grow_until=3, grow_step=8)
    config.augment.policy, config.sampler.repetitions = "none", repetitions
    train_set, order = datasets.load(config.data)[0], make_order(config, 16)
    whole = batches(config, train_set, order, (0, 0))
    assert [side for _, side, _ in whole if side] == [16] * 8 + [24] * 4 + [32] * 4
    assert [(at, total) for at, _, total in batches(config, train_set, order, (2, 1))] == [
        (at, total) for at, _, total in whole[10:]
    ]
    fixed = replace(config, resolution=ResolutionConfig(train_crop=32))
    assert [total for _, _, total in batches(fixed, train_set, order, (0, 0))][12:] == [t for _, _, t in whole[12:]]


def batches(
    config: Config, images: datasets.Dataset, order: Order, start: tuple[int, int]
) -> list[tuple[tuple[int, int, int], int, int]]:
    """Place, side and sum of pixels of each micro-batch from `start` on."""
    loader, found = TrainLoader(images, order, config, Ranks(0, 1, 0, 1, torch.device("cpu")), start), []
    for epoch in range(start[0], config.epochs):
        for step, micro_batches in loader.epoch(epoch, start[1] if epoch == start[0] else 0):
            for batch in micro_batches:
                assert batch.images.shape == (4, 3, batch.images.shape[-1], batch.images.shape[-1])
                found.append(((epoch, step, batch.number), batch.images.shape[-1], int(batch.images.sum())))
    loader.close()
    return found


@pytest.mark.parametrize(
    ("overrides", "fragments"),
    [
        (["resolution.first_crop=240"], ["first_crop=240 is larger than", "train_crop=224"]),
        (["resolution.first_crop=160", "resolution.train_resize=256"], ["train_resize=256", "null"]),
        (["resolution.first_crop=160", "resolution.grow_from=95"], ["grow_from=95 is after", "grow_until=90"]),
        (["resolution.grow_from=3"], ["resolution.grow_from does nothing here", "resolution.first_crop"]),
        (["resolution.resize_step=3"], ["resolution.resize_step does nothing here", "resolution.resize_from"]),
        (["resolution.resize_from=0.5", "resolution.resize_delay=0.8"], ["resize_delay=0.8", "less than 1"]),
    ],
)
def test_contradictions_are_refused(overrides: Sequence[str], fragments: Sequence[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(["+recipe=v1", *overrides])
    assert all(fragment in str(caught.value) for fragment in fragments)


def test_off_is_in_no_hash_and_on_is(plan: Callable[..., Plan]) -> None:
    off, on = plan("+recipe=v1"), plan("+recipe=v1", "resolution.first_crop=160")
    assert off.training_hash != on.training_hash
    assert off.training_hash == plan("+recipe=v1", "resolution.first_crop=null").training_hash


def test_earlier_runs_count_with_the_pixels_they_had() -> None:
    assert resizing.pixels_of({"resolution.train_crop": 64}) == 64**2
    assert resizing.pixels_of({}) is None
    grown: dict[str, float] = {"epochs": 4, "resolution.train_crop": 64, "resolution.first_crop": 32}
    grown |= {"resolution.grow_from": 1.0, "resolution.grow_until": 2.0}
    assert resizing.pixels_of(grown) == (2 * 32**2 + 2 * 64**2) / 4
