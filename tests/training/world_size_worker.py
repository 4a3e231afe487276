"""Small experiments on as many ranks as there are, and what each rank saw of them. test_world_sizes.py starts it."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from conftest import plan_of, watch_over
from torch import nn

from recipe import config as c
from recipe.config import Config
from recipe.data import dataset as datasets
from recipe.data import loader, micro_batch
from recipe.data.order import make_order
from recipe.errors import UserError
from recipe.machine import distributed
from recipe.machine.distributed import Ranks
from recipe.machine.signals import StopSignal
from recipe.network.model import make_model
from recipe.run import run as runs
from recipe.run.resume import resume
from recipe.run.trainer import Trainer
from recipe.training import loop

Seen = dict[str, Any]

IMAGES, BATCH, MICRO_BATCHES, EPOCHS, STEPS = 90, 32, 4, 2, 3  # the last step has 26 images, with repeats 24
ALPHA = 0.3  # of the average, which the schema writes as a decay
CONFIG = Config(  # v2, small
    epochs=EPOCHS,
    batch_size=BATCH,
    micro_batch_size=BATCH // MICRO_BATCHES,
    model=c.ModelConfig("shufflenet_v2_x0_5"),
    data=c.DataConfig("synthetic", num_classes=10, size=IMAGES, workers=0),
    resolution=c.ResolutionConfig(train_crop=24, val_resize=28, val_crop=24),
    augment=c.AugmentConfig(policy="ta_wide", random_erase=0.5),
    mix=c.MixConfig(mixup_alpha=0.2, cutmix_alpha=1.0),
    loss=c.LossConfig("cross_entropy", label_smoothing=0.1),
    optimizer=c.OptimizerConfig("sgd", lr=0.1, weight_decay=2e-5, norm_weight_decay=0.0),
    schedule=c.ScheduleConfig("cosine", interval="step"),
    ema=c.EmaConfig(decay=1 - ALPHA * EPOCHS / (BATCH * 2) * IMAGES / 1_281_167, steps=2),
    runtime=c.RuntimeConfig(device="cpu"),
    log=c.LogConfig(every_steps=1),
    scale=c.ScaleConfig("imagenet"),
)
TINY: Seen = {"model.name": "tiny"}  # a network of this file, in milliseconds
DOUBLE: Seen = {**TINY, "runtime.precision": "fp64"}
EXPERIMENTS: dict[str, Seen] = {
    "plain order": DOUBLE,
    "repeated augmentation": {**DOUBLE, "sampler.repetitions": 4},
    "eight micro-batches and clipping": {**DOUBLE, "micro_batch_size": 4, "optimizer.grad_clip": 1.0},
    "balanced draws and class weights": {**DOUBLE, "sampler.draw": "balanced", "loss.class_weights": "effective"},
    "real network": {**DOUBLE, "sampler.repetitions": 4, "model.name": "mobilenet_v3_small"},
    **{f"{workers} workers": {**TINY, "data.workers": workers} for workers in range(3)},  # in single precision
}
SHORT: Seen = {"epochs": 1, "ema.decay": None, "optimizer.lr": 1e-6}
SIZES: dict[str, Seen] = {str(size): {**SHORT, "data.size": size} for size in (1, 7, 8, 39, 40, 63, 64, 65)}
SIZES["257"] = {**SHORT, "data.size": 257, "batch_size": 256, "micro_batch_size": 32}


def experiment(ranks: Ranks, name: str, folder: Path) -> Seen:
    """Train one of the experiments: what this rank saw, and what came out on it."""
    config = changed(EXPERIMENTS[name])
    train_set, val_set = datasets.load(config.data)
    network = tiny_network(config) if config.model.name == "tiny" else make_model(config, len(train_set.classes))
    seen: Seen = {"rates": [], "gradients": {}, "figures": [], "initial": deepcopy(network.state_dict())}
    with recorded(seen):
        order = make_order(config, len(train_set), train_set.labels)
        run = resume(plan_of(config, folder), ranks, (train_set, val_set), order, network, StopSignal())
        run.training.optimizer.register_step_pre_hook(lambda *_: note_step(run, seen))
        for epoch in range(run.epochs):
            run.train_epoch(epoch)
            found = run.validate(epoch)
            run.end_epoch(epoch, found)
            seen["figures"].append({weights: evaluation.figures() for weights, evaluation in found.items()})
        run.close()
    assert run.training.ema.model is not None
    return {**seen, "network": run.training.network.state_dict(), "ema": run.training.ema.model.state_dict()}


def size(ranks: Ranks, name: str, folder: Path) -> Seen:
    """Train on a set of one of the sizes, as train.py does: what this rank saw, or why it refused."""
    seen: Seen = {"refused": ""}
    plan = plan_of(changed(SIZES[name]), folder)
    lent = mock.patch.multiple(distributed, start=lambda _: ranks, stop=lambda: None)  # they join their group only once
    with recorded(seen), lent:
        try:
            runs.train(plan)
        except UserError as error:
            seen["refused"] = str(error)
    return seen


def tiny_network(config: Config) -> nn.Module:
    """With batch norm and dropout. Other roundings stay small in it: deep networks on tiny images are chaotic."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = nn.Conv2d(3, 8, 5, stride=2, bias=False), nn.Conv2d(8, 16, 3, stride=2, bias=False)
        head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 10))
    network = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.BatchNorm2d(16), nn.ReLU(), head)
    return network.double() if config.runtime.precision == "fp64" else network


def changed(changes: Mapping[str, Any]) -> Config:
    config = deepcopy(CONFIG)
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        setattr(getattr(config, section) if section else config, name, value)
    return config


@contextmanager
def recorded(seen: Seen) -> Iterator[None]:
    """Note what this process loads and draws (without workers), and what it gives to the network."""
    seen |= {"tasks": {}, "draws": {}, "mixes": {}, "inputs": {}}
    load, draw_train, prepare, draw_mix = loader.load_micro_batches, micro_batch.draw_train, loop.prepare, loop.draw_mix
    mixes = []

    def noted_load(dataset: Any, config: Any, tasks: Any, memory: Any) -> Any:
        seen["tasks"].update({task[:3]: task for task in tasks})
        return load(dataset, config, tasks, memory)

    def noted_draw(config: Any, crop: int, seed: int, epoch: int, position: int, *sides: int) -> Any:
        seen["draws"][epoch, position] = draw_train(config, crop, seed, epoch, position, *sides)
        return seen["draws"][epoch, position]

    def noted_mix(*arguments: Any) -> Any:
        mixes.append(draw_mix(*arguments))
        return mixes[-1]

    def noted_prepare(training: Any, batch: Any, epoch: int) -> Any:
        prepared = prepare(training, batch, epoch)
        address = epoch, batch.step, batch.number
        seen["inputs"][address], seen["mixes"][address] = prepared, mixes[-1]
        return prepared

    with (
        mock.patch.object(loader, "load_micro_batches", noted_load),
        mock.patch.object(micro_batch, "draw_train", noted_draw),
        mock.patch.multiple(loop, prepare=noted_prepare, draw_mix=noted_mix),
    ):
        yield


def note_step(run: Trainer, seen: Seen) -> None:
    """Each step's learning rate; the first and the uneven step's gradients, and the network that had the latter."""
    step, network = len(seen["rates"]), run.training.network
    seen["rates"].append(run.training.optimizer.param_groups[0]["lr"])
    if step in (0, STEPS - 1):
        named = network.named_parameters()
        seen["gradients"][step] = {name: weight.grad.clone() for name, weight in named if weight.grad is not None}
        seen["uneven"] = deepcopy(network)


def main(folder: Path, *names: str) -> None:
    """Train on all ranks what is named; each rank writes what it saw to a file of its own."""
    ranks = distributed.start(CONFIG.runtime)
    for name in names:
        seen = (experiment if name in EXPERIMENTS else size)(ranks, name, folder / name)
        torch.save({"folder": folder / name, **seen}, folder / name / f"rank{ranks.rank}.pt")
    distributed.stop()


if __name__ == "__main__":
    watch_over()
    main(Path(sys.argv[1]), *sys.argv[2:])
