"""A network's whole life on a few synthetic images, in this process; for the sweep over all families."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from photos import save_photos
from safetensors.torch import load_file
from torch import nn

from recipe.config import Config, ModelConfig
from recipe.machine.signals import Stopped
from recipe.network.model import make_model
from recipe.network.preprocessing import own_preprocessing
from recipe.network.states import load_by_version
from recipe.plan.compose import Plan
from recipe.run import trained
from recipe.run.run import train
from recipe.run.trainer import Trainer

CLASSES = 3
RUN = (  # noqa: SIM905 two steps of two images
    "+recipe=r00_baseline data=synthetic data.size=4 data.workers=0 batch_size=2 micro_batch_size=2 epochs=1 "
    "optimizer.lr=0.0001 optimizer.momentum=0 evaluate.batch_size=2 log.images=false runtime.device=cpu"
).split()
HUGE = ("gemma4_vit_167m",)  # without an average: memory


def live(
    plan: Callable[..., Plan],
    recipe: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    source: str,
    name: str,
    crop: int | None = None,
) -> None:
    """A step, a stop, the rest, evaluation, prediction, export; what is exported loads where it came from."""
    own = own_preprocessing(ModelConfig(name=name, source=source))
    crop = crop or (own.crop if own is not None else 224)
    sizes = [f"resolution.{key}={crop}" for key in ("train_crop", "val_crop", "val_resize")]
    network = [f"model.source={source}", f"model.name={name}", f"data.num_classes={CLASSES}"]
    composed = plan(*RUN, *network, *sizes, *([] if name in HUGE else ["ema.decay=0.9"]))
    composed = replace(composed, folder=tmp_path / "run")
    stop_after_a_step(composed, monkeypatch)
    train(composed)
    kinds = "raw,best" if name in HUGE else "raw,ema,best"
    assert recipe("evaluate", composed.folder, f"weights={kinds}") == 0
    save_photos(tmp_path / "photos", 0, 1)
    assert recipe("predict", composed.folder, tmp_path / "photos") == 0
    assert recipe("export", composed.folder, "--weights", "raw", "--out", tmp_path / "own.safetensors") == 0
    raw = trained.network(trained.read(composed.folder), torch.device("cpu"), "raw")
    images = torch.rand(2, 3, crop, crop)
    with torch.inference_mode():
        other = theirs(source, name, tmp_path / "own.safetensors", composed.config)
        torch.testing.assert_close(raw(images), other(images), rtol=1e-3, atol=1e-4)


def stop_after_a_step(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train the run's first step."""
    after_step = Trainer.after_step

    def signalled(run: Trainer, epoch: int, step: int) -> None:
        if step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        after_step(run, epoch, step)

    with monkeypatch.context() as patch, suppress(Stopped):
        patch.setattr(Trainer, "after_step", signalled)
        train(plan)
    assert (plan.folder / "checkpoints" / "last.pt").exists()
    assert not (plan.folder / "result.json").exists()


def theirs(source: str, name: str, file: Path, config: Config) -> nn.Module:
    """The source's own network with the weights of an exported file."""
    if source == "timm":
        import timm

        network = timm.create_model(name, num_classes=CLASSES, checkpoint_path=str(file))
    elif name in ("googlenet", "inception_v3"):
        network = make_model(config, CLASSES)
        load_by_version(network, load_file(file))
    else:
        network = torchvision.models.get_model(name, num_classes=CLASSES)
        load_by_version(network, load_file(file))
    return network.eval()
