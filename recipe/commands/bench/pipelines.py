"""The input pipelines that are compared: ours, torchvision's reference, timm's.

Each is a function that loads one round of images with one worker process and ends it, and returns how many they were.
All see the same files in the same order: whole steps of the training's, about `count` images a round.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms as T

from recipe.config import Config
from recipe.data.dataset import Dataset, path_of
from recipe.data.loader import AHEAD, TrainLoader, eval_batches
from recipe.data.order import Order, make_order
from recipe.ingredients.timm_rand_augment import FILL, RESAMPLING
from recipe.machine.distributed import Ranks

Round = Callable[[int], int]  # loads the round of this number; how many images that were
ONE_RANK = Ranks(0, 1, 0, 1, torch.device("cpu"))
POLICIES: dict[str, Callable[..., Any]] = {
    "ta_wide": T.TrivialAugmentWide,
    "ra": T.RandAugment,
    "imagenet": T.AutoAugment,
}
TIMM_POLICY = "rand-m9-n1-mstd0.5"  # one operation an image, as many as TrivialAugment does


def ours(images: Dataset, config: Config, count: int) -> Round:
    """The loader that trains."""
    config = replace(config, data=replace(config.data, workers=1))
    order = make_order(config, len(images), images.labels)

    def load(number: int) -> int:
        epochs, steps = _epochs_and_steps(order, count)
        first = number * epochs.stop
        last = first + epochs.stop
        limited = replace(config, epochs=last, max_steps=first * order.steps + steps)
        loader = TrainLoader(images, order, limited, ONE_RANK, (first, 0))
        loaded = [len(batch.images) for e in range(first, last) for _, step in loader.epoch(e) for batch in step]
        loader.close()
        return sum(loaded)

    return load


def ours_eval(images: Dataset, config: Config, count: int) -> Round:
    """The loader that evaluates."""
    config = replace(config, data=replace(config.data, workers=1))
    resize, crop = config.resolution.val_resize, config.resolution.val_crop
    order = make_order(config, len(images), images.labels)

    def load(number: int) -> int:
        chosen = np.zeros(len(images), dtype=bool)
        chosen[_indices(order, number, count)] = True
        part = images.part(chosen, "bench")
        return sum(len(batch.images) for batch in eval_batches(part, config, ONE_RANK, resize, crop))

    return load


def reference(images: Dataset, config: Config, count: int) -> Round:
    """As torchvision's classification reference trains: Pillow's images, batches of float32."""
    sizes, augment, how = config.resolution, config.augment, T.InterpolationMode(config.resolution.interpolation)
    size = sizes.train_resize or sizes.train_crop
    steps: list[Any] = [T.RandomResizedCrop(size, augment.scale, augment.ratio, how, antialias=True)]
    if augment.crop == "resize_random":
        steps = [T.Resize(size, how, antialias=True), T.RandomCrop(sizes.train_crop)]
    if augment.hflip:
        steps.append(T.RandomHorizontalFlip(augment.hflip))
    if augment.rotation:
        steps.append(T.RandomRotation(augment.rotation, how))
    if augment.sharpness is not None:
        steps.append(T.RandomAdjustSharpness(augment.sharpness))
    if size > sizes.train_crop:
        steps.append(T.CenterCrop(sizes.train_crop))
    if augment.policy != "none":
        steps.append(_policy(config))
    steps += _to_float(config)
    if augment.random_erase:
        steps.append(T.RandomErasing(augment.random_erase))
    return _load_with(T.Compose(steps), None, images, config, count)


def _policy(config: Config) -> Any:
    """torchvision's transform of Pillow images, or timm's."""
    if config.augment.policy != "timm":
        how = T.InterpolationMode(config.resolution.interpolation)
        return POLICIES[config.augment.policy](interpolation=how)
    from timm.data.auto_augment import rand_augment_transform

    how = RESAMPLING[config.resolution.interpolation]
    return rand_augment_transform(config.augment.timm_policy, {"img_mean": FILL, "interpolation": how})


def reference_eval(images: Dataset, config: Config, count: int) -> Round:
    """As torchvision's classification reference evaluates."""
    sizes, how = config.resolution, T.InterpolationMode(config.resolution.interpolation)
    steps = [T.Resize(sizes.val_resize, how, antialias=True), T.CenterCrop(sizes.val_crop), *_to_float(config)]
    return _load_with(T.Compose(steps), None, images, config, count, once=True)


def timm_train(images: Dataset, config: Config, count: int) -> Round:
    """As timm trains with its prefetcher: uint8 batches, a rand-augment of one operation for any policy.

    It crops as `random_resized` does, to train_crop, and has neither rotation nor sharpness.
    """
    from timm.data import create_transform
    from timm.data.loader import fast_collate

    transform = create_transform(
        config.resolution.train_crop,
        is_training=True,
        use_prefetcher=True,  # it normalises and erases on the device
        scale=(config.augment.scale[0], config.augment.scale[1]),
        ratio=(config.augment.ratio[0], config.augment.ratio[1]),
        hflip=config.augment.hflip,
        color_jitter=0.0,
        auto_augment=None if config.augment.policy == "none" else TIMM_POLICY,
        interpolation=config.resolution.interpolation,
    )
    return _load_with(transform, fast_collate, images, config, count)


def timm_eval(images: Dataset, config: Config, count: int) -> Round:
    """As timm evaluates with its prefetcher."""
    from timm.data import create_transform
    from timm.data.loader import fast_collate

    sizes = config.resolution
    transform = create_transform(
        sizes.val_crop,
        use_prefetcher=True,
        interpolation=sizes.interpolation,
        crop_pct=sizes.val_crop / sizes.val_resize,
    )
    return _load_with(transform, fast_collate, images, config, count, once=True)


def _epochs_and_steps(order: Order, count: int) -> tuple[range, int]:
    """What a round takes: whole steps, over as many epochs as that needs."""
    steps = max(1, count // order.batch_size)
    return range(-(-steps // order.steps)), steps


def _indices(order: Order, number: int, count: int) -> np.ndarray:
    """The images of a round, in order."""
    epochs, steps = _epochs_and_steps(order, count)
    first = number * epochs.stop
    in_order = np.concatenate([order.images(first + epoch) for epoch in epochs])
    return in_order[: order.images_seen(steps)]


def _to_float(config: Config) -> list[Any]:
    return [T.PILToTensor(), T.ConvertImageDtype(torch.float), T.Normalize(config.data.mean, config.data.std)]


def _load_with(
    transform: Callable[[Image.Image], Any],
    collate: Callable[[Any], Any] | None,
    images: Dataset,
    config: Config,
    count: int,
    once: bool = False,
) -> Round:
    """Files opened by Pillow, in PyTorch's loader. `once`: each file of a round once, as in an evaluation."""
    order = make_order(config, len(images), images.labels)

    def load(number: int) -> int:
        indices = _indices(order, number, count)
        if once:
            indices = np.unique(indices)
        loader = DataLoader(
            _Files(images, transform),
            batch_size=config.micro_batch_size,
            sampler=indices.tolist(),
            num_workers=1,
            prefetch_factor=AHEAD,
            multiprocessing_context="fork",
            collate_fn=collate,
        )
        return sum(len(labels) for _, labels in _ended(loader))

    return load


def _ended(loader: DataLoader[Any]) -> Iterator[Sequence[Any]]:
    """The batches; then the worker is gone, and what it used is in this process's accounts."""
    iterator = iter(loader)
    yield from iterator
    del iterator


class _Files(TorchDataset[Any]):
    def __init__(self, images: Dataset, transform: Callable[[Image.Image], Any]) -> None:
        self._images, self._transform = images, transform

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with open(path_of(self._images, self._images.name(index)), "rb") as file:
            picture = Image.open(file).convert("RGB")
        return self._transform(picture), int(self._images.labels[index])
