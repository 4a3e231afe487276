"""Adan and drop path in whole trainings: a stop changes no bit, and 1, 2 and 4 processes are the same experiment."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from recipe.machine.signals import Stopped
from recipe.plan.compose import Plan
from recipe.run.run import train
from recipe.run.trainer import Trainer

STEPS, TIMEOUT = 3, 240  # of an epoch; seconds
RUN = (  # noqa: SIM905 the last step has 26 images
    "+recipe=v1 scale=demo scale.resolution=1 data=synthetic data.size=90 data.num_classes=10 data.workers=0 epochs=2 "
    "resolution.train_crop=32 resolution.val_crop=32 resolution.val_resize=32 batch_size=32 micro_batch_size=8 "
    "schedule.warmup_epochs=0 evaluate.every=2 log.images=false checkpoint.keep_after_training=true"
).split()
ADAN = ["optimizer.source=timm", "optimizer.name=adan", "optimizer.lr=0.001", "optimizer.args={eps: 1e-6}"]
VIT = ["model.source=timm", "model.name=vit_tiny_patch16_224"]
SMALL = "img_size: 32, patch_size: 8, depth: 2, embed_dim: 48, num_heads: 3"
EFFICIENTNET = ["model.name=efficientnet_b0", "optimizer.lr=0.00001"]  # higher ones let roundings grow
EXPERIMENTS: dict[str, list[str]] = {
    "timm's drop path": [*ADAN, *VIT, f"model.args={{{SMALL}, drop_path_rate: 0.5}}"],
    "torchvision's stochastic depth": [*EFFICIENTNET, "model.args={stochastic_depth_prob: 0.5}"],
}
WITHOUT = {
    "timm's drop path": [*ADAN, *VIT, f"model.args={{{SMALL}}}"],
    "torchvision's stochastic depth": [*EFFICIENTNET, "model.args={stochastic_depth_prob: 0.0}"],
}
every = pytest.mark.parametrize("name", EXPERIMENTS)


@every
def test_a_stop_changes_no_bit(
    name: str, plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within an epoch, by a signal."""
    composed = plan(*RUN, *EXPERIMENTS[name])
    whole, stopped = (replace(composed, folder=tmp_path / each) for each in ("whole", "stopped"))
    train(whole)
    after_step = Trainer.after_step

    def signalled(run: Trainer, epoch: int, step: int) -> None:
        if (epoch, step) == (1, 1):
            os.kill(os.getpid(), signal.SIGTERM)
        after_step(run, epoch, step)

    with monkeypatch.context() as patch, suppress(Stopped):
        patch.setattr(Trainer, "after_step", signalled)
        train(stopped)
    assert not (stopped.folder / "result.json").exists()
    torch.manual_seed(1234)  # the process's random numbers must not matter
    train(stopped)
    assert "going on from the checkpoint at epoch 2, step 1" in (stopped.folder / "train.log").read_text()
    assert weights(stopped.folder).keys() == weights(whole.folder).keys()
    assert all(torch.equal(weights(stopped.folder)[key], tensor) for key, tensor in weights(whole.folder).items())
    last = [torch.load(folder / "checkpoints" / "last.pt") for folder in (whole.folder, stopped.folder)]
    for key, tensor in tensors(last[0]["optimizer"]).items():
        assert torch.equal(tensors(last[1]["optimizer"])[key], tensor), key


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Tensor]]:
    root = tmp_path_factory.mktemp("trained")

    @cache
    def of(world_size: int, *overrides: str) -> dict[str, Tensor]:
        folder = root / str(len(list(root.iterdir())))
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={world_size}", "-m"]
        command = [sys.executable, *(start if world_size > 1 else ["-m"]), "recipe.train", *RUN, *overrides]
        done = subprocess.run(
            [*command, "runtime.precision=fp64", f"hydra.run.dir={folder}"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return weights(folder)

    return of


@pytest.mark.parametrize(
    "world_size", [pytest.param(2, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
@every
def test_processes_together_train_the_weights_of_one(
    name: str, world_size: int, trained: Callable[..., dict[str, Tensor]]
) -> None:
    """In double precision, after six steps, of which the last of each epoch is uneven."""
    one, ranks = (trained(number, *EXPERIMENTS[name]) for number in (1, world_size))
    assert difference(ranks, one) < 1e-9


@pytest.mark.slow
@every
def test_paths_are_dropped_in_them(name: str, trained: Callable[..., dict[str, Tensor]]) -> None:
    assert difference(trained(1, *EXPERIMENTS[name]), trained(1, *WITHOUT[name])) > 1e-5


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "checkpoints" / "model.safetensors")


def tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    """An optimizer's, by the number of the parameter and their name."""
    return {
        f"{number}.{name}": value
        for number, own in state["state"].items()
        for name, value in own.items()
        if isinstance(value, Tensor)
    }


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest of two values."""
    assert one.keys() == other.keys()
    return max((one[key].double() - other[key].double()).abs().max().item() for key in one)
