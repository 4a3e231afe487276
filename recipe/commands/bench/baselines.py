"""The training steps that are compared: the bare step, ours, timm's and torchvision's reference.

Each is a function that takes a number of optimizer steps and returns how many images that were. All train the same
architecture on micro-batches of one size, one to a step, and have their input in the host's memory: uint8 where it
sends uint8 to the device itself. Targets are random and the learning rate is small, so that weights stay finite: what
computes with NaN draws other power, and runs at another clock.
"""

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import chain, count, cycle, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipe.commands.bench.pipelines import ONE_RANK
from recipe.config import Config
from recipe.data import dataset as datasets
from recipe.data.loader import AHEAD, TrainLoader, default_workers
from recipe.data.micro_batch import MicroBatch
from recipe.data.order import make_order
from recipe.data.prepare.fetch import fetch
from recipe.errors import ConfigError
from recipe.ingredients.augment import draw_erase
from recipe.ingredients.loss import NetworkLoss, make_loss
from recipe.ingredients.optimizer import make_optimizer
from recipe.ingredients.policies import draw_policy
from recipe.ingredients.policies_batched import pack
from recipe.machine.distributed import Ranks
from recipe.machine.signals import StopSignal
from recipe.network.compiling import Compiled
from recipe.network.model import make_model
from recipe.plan.compose import Plan
from recipe.randomness import Draws
from recipe.run.resume import resume
from recipe.run.trainer import Trainer
from recipe.training.loop import autocast, train_one_epoch

Baseline = Callable[[int], int]  # takes so many optimizer steps; how many images that were
CLASSES = 1000
DIFFERENT = 4  # micro-batches in the host's memory, taken in turn
ENDLESS = 10**6  # epochs of photos
RATE = 0.001  # learning rate, whatever the recipe's


def bare(config: Config, device: torch.device) -> Baseline:
    """Forward, backward and optimizer on one micro-batch that lies on the device: the limit."""
    network = make_model(config, CLASSES).to(device).train()
    loss_of: nn.Module = NetworkLoss(network, make_loss(config.loss))
    if config.runtime.compile:
        loss_of = Compiled(loss_of, config.runtime)
    optimizer = make_optimizer(network, config.optimizer)
    images, targets = _floats(config).to(device), _targets(config).to(device)

    def take(steps: int) -> int:
        for _ in range(steps):
            with autocast(config, device):
                loss, _ = loss_of(images, targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return steps * len(images)

    return take


def ours(plan: Plan, device: torch.device, folder: Path) -> Baseline:
    """The loop that trains, from micro-batches in pinned memory."""
    synthetic = replace(plan.config.data, name="synthetic", root=None, num_classes=CLASSES, workers=0, size=2**16)
    run = run_of(replace(plan, config=replace(plan.config, data=synthetic)), device, folder)
    run.training.loader.close()
    batches = [micro_batch(run.config, number, device) for number in range(DIFFERENT)]
    steps = ((number % run.order.steps, iter([batch])) for number, batch in enumerate(cycle(batches)))
    return _with_loader(run, steps)


class OnPhotos:
    """The loop that trains, from files: takes whole micro-batches alone, of an epoch's short last step none."""

    def __init__(self, plan: Plan, device: torch.device, folder: Path) -> None:
        """Raises ConfigError where there are fewer images than a micro-batch has."""
        plan = replace(plan, config=replace(plan.config, epochs=ENDLESS))
        run = run_of(plan, device, folder)
        if run.order.num_images < run.config.micro_batch_size:
            images, size = run.order.num_images, run.config.micro_batch_size
            raise ConfigError(f"{images} images are fewer than a micro-batch of {size}: take --micro-batch {images}")
        self._loader, self._config = run.training.loader, run.config
        self._steps = self._whole(chain.from_iterable(self._loader.epoch(epoch) for epoch in range(ENDLESS)))
        self._take = _with_loader(run, self._steps, self._loader)

    def __call__(self, steps: int) -> int:
        """Take so many optimizer steps."""
        return self._take(steps)

    def discard_loaded(self) -> None:
        """Throw away what workers have loaded ahead, faster than they load: what is taken then, they load then."""
        workers = self._config.data.workers
        workers = default_workers(1) if workers is None else workers
        for _ in range(AHEAD * workers):
            next(self._steps)

    def _whole(self, steps: Iterable[tuple[int, Iterator[MicroBatch]]]) -> Iterator[tuple[int, Iterator[MicroBatch]]]:
        for step, (batch,) in steps:
            if len(batch.images) == self._config.micro_batch_size:
                yield step, iter([batch])


def timm_style(config: Config, device: torch.device, mode: str | None = None) -> Baseline:
    """As timm's script trains: its model, uint8 batches normalised on the device, its mixup and cutmix.

    `mode` is torch.compile's, None for an eager network.
    """
    import timm
    from timm.data import Mixup
    from timm.loss import SoftTargetCrossEntropy
    from timm.optim import create_optimizer_v2

    if config.model.args and config.model.source != "timm":
        raise RuntimeError(f"timm's {config.model.name} takes other arguments than torchvision's")
    network: nn.Module = timm.create_model(config.model.name, num_classes=CLASSES, **config.model.args)
    network.to(device).train()
    optimizer = create_optimizer_v2(
        network, opt="momentum", lr=config.optimizer.lr, weight_decay=config.optimizer.weight_decay
    )
    network = network.to(memory_format=torch.channels_last)
    if mode is not None:
        network.compile(mode=mode)
    mixes = Mixup(
        mixup_alpha=config.mix.mixup_alpha,
        cutmix_alpha=config.mix.cutmix_alpha,
        label_smoothing=config.loss.label_smoothing,
        num_classes=CLASSES,
    )
    criterion = SoftTargetCrossEntropy()
    mean, std = (
        torch.tensor(values, device=device).view(3, 1, 1) * 255 for values in (config.data.mean, config.data.std)
    )
    batches = cycle([micro_batch(config, number, device) for number in range(DIFFERENT)])

    def take(steps: int) -> int:
        for batch in islice(batches, steps):
            images = batch.images.to(device, non_blocking=True).float().sub_(mean).div_(std)
            labels = batch.labels.to(device, non_blocking=True)
            images, targets = mixes(images.contiguous(memory_format=torch.channels_last), labels)
            with autocast(config, device):
                loss = criterion(network(images), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return steps * config.micro_batch_size

    return take


def reference_style(config: Config, device: torch.device) -> Baseline:
    """As torchvision's script trains with --amp: eager, float32 batches mixed by the workers, fp16 with loss scaling,
    the loss read back at every step. (On a CPU in bf16, without scaling.)
    """
    network = make_model(replace(config, runtime=replace(config.runtime, channels_last=False)), CLASSES).to(device)
    network.train()
    lowered = config.runtime.precision in ("bf16", "fp16")
    on_gpu = device.type == "cuda"
    optimizer = torch.optim.SGD(network.parameters(), config.optimizer.lr, 0.9, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(device.type, enabled=lowered and on_gpu)
    criterion = nn.CrossEntropyLoss(label_smoothing=config.loss.label_smoothing)
    images, targets = _floats(config).contiguous(), _targets(config)
    if on_gpu:
        images, targets = images.pin_memory(), targets.pin_memory()

    def take(steps: int) -> int:
        for _ in range(steps):
            inputs, wanted = images.to(device, non_blocking=True), targets.to(device, non_blocking=True)
            with torch.autocast(device.type, torch.float16 if on_gpu else torch.bfloat16, enabled=lowered):
                loss = criterion(network(inputs), wanted)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            loss.item()
        return steps * len(images)

    return take


def run_of(plan: Plan, device: torch.device, folder: Path) -> Trainer:
    """A run as train.py has it, in a folder that exists; saves nothing."""
    config = deepcopy(plan.config)
    config.checkpoint.every_minutes = 1e6
    fetch(config.data)
    train_set, val_set = datasets.load(config.data)
    network = make_model(config, len(train_set.classes))
    ranks: Ranks = replace(ONE_RANK, device=device)
    order = make_order(config, len(train_set), train_set.labels)
    plan = replace(plan, config=config, folder=folder)
    run = resume(plan, ranks, (train_set, val_set), order, network, StopSignal())
    run.compiling = False  # nothing to say
    return run


def micro_batch(config: Config, number: int, device: torch.device) -> MicroBatch:
    """A micro-batch as a worker sends it, of noise, with draws of its own.

    None is its step's first: batch norm's statistics are restored after it, as after all but one of a step's.
    """
    size, images = config.resolution.train_crop, config.micro_batch_size
    pixels = torch.randint(0, 256, (images, size, size, 3), dtype=torch.uint8, generator=_generator(number))
    augment, on_device = config.augment, config.augment.policy_on == "device"
    places = range(number * images, (number + 1) * images)
    drawn = [draw_policy(augment, Draws(0, "policy", 0, place), size) if on_device else [] for place in places]
    boxes = [draw_erase(augment.random_erase, Draws(0, "erase", 0, place), size, size) for place in places]
    codes, magnitudes = pack(drawn)
    batch = MicroBatch(
        images=pixels.permute(0, 3, 1, 2),
        labels=_labels(config, number),
        erase=torch.tensor(boxes, dtype=torch.int32),
        codes=codes,
        magnitudes=magnitudes,
        step=0,
        number=1 + number,
        share=1.0,
    )
    if device.type != "cuda":
        return batch
    return batch._replace(images=batch.images.pin_memory(), labels=batch.labels.pin_memory(),
                          erase=batch.erase.pin_memory())  # fmt: skip


class _Given:
    """Stands in for the loader: hands out the next steps of an endless sequence, as one epoch."""

    def __init__(self, steps: Iterator[tuple[int, Iterator[MicroBatch]]], loader: TrainLoader | None) -> None:
        self._steps, self._loader, self.wanted, self.images = steps, loader, 0, 0

    @property
    def wait_seconds(self) -> float:
        """As the loader counts them."""
        return self._loader.wait_seconds if self._loader is not None else 0.0

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[tuple[int, Iterator[MicroBatch]]]:
        """The next `wanted` steps."""
        for step, batches in islice(self._steps, self.wanted):
            yield step, self._counted(batches)

    def _counted(self, batches: Iterator[MicroBatch]) -> Iterator[MicroBatch]:
        for batch in batches:
            self.images += len(batch.images)
            yield batch


def _with_loader(
    run: Trainer, steps: Iterator[tuple[int, Iterator[MicroBatch]]], loader: TrainLoader | None = None
) -> Baseline:
    given: Any = _Given(steps, loader)
    run.training.loader = given
    rounds = count()

    def take(steps: int) -> int:
        given.wanted, before = steps, given.images
        run.training.meter.start_epoch(0, given)
        with contextlib.redirect_stdout(io.StringIO()):
            train_one_epoch(run.training, next(rounds) % run.config.epochs)
        return int(given.images - before)

    return take


def _floats(config: Config) -> Tensor:
    """(n, 3, size, size) float32, in the network's layout."""
    size = config.resolution.train_crop
    images = torch.randn(config.micro_batch_size, 3, size, size, generator=_generator(0))
    layout = torch.channels_last if config.runtime.channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)


def _targets(config: Config) -> Tensor:
    """(n, classes) float32: of random labels, mixed."""
    labels = torch.eye(CLASSES)[_labels(config, 0)]
    return 0.7 * labels + 0.3 * labels.roll(1, 0)


def _labels(config: Config, number: int) -> Tensor:
    return torch.randint(CLASSES, (config.micro_batch_size,), generator=_generator(number))


def _generator(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)
