"""The recipes of ffcv, MosaicML and NVIDIA at demo size: steps with finite losses, and the same after a stop."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipe.plan.compose import Plan
from recipe.run.run import train

NAMES = [f"ffcv_{epochs}" for epochs in (16, 24, 32, 40, 56, 88)]
NAMES += ["mosaic_mild", "mosaic_medium", "nvidia_90", "nvidia_250"]
SMALL = [
    "scale=demo",
    "model.source=timm",
    "model.name=test_resnet",
    "data=synthetic",
    "data.size=48",
    "data.workers=0",
]
SMALL += [
    "epochs=3",
    "batch_size=16",
    "micro_batch_size=8",
    "evaluate.every=1",
    "log.every_steps=1",
    "log.images=false",
]
SMALL += ["schedule.warmup_epochs=0.5", "optimizer.lr=0.01", "checkpoint.keep=9", "checkpoint.keep_after_training=true"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_losses_are_finite_and_a_stopped_run_ends_with_the_same_weights(
    plan: Callable[..., Plan], tmp_path: Path, name: str
) -> None:
    composed = plan(f"+recipe={name}", *SMALL)
    whole = replace(composed, folder=tmp_path / "whole")
    train(whole)
    losses = [json.loads(line).get("train/loss") for line in (tmp_path / "whole" / "metrics.jsonl").open()]
    found = [loss for loss in losses if loss is not None]
    assert len(found) == 9
    assert all(math.isfinite(loss) for loss in found)
    stopped = tmp_path / "stopped"
    shutil.copytree(tmp_path / "whole", stopped)
    (stopped / "result.json").unlink()
    (stopped / "checkpoints" / "last.pt").unlink()  # as if it had ended before its last epoch
    (stopped / "checkpoints" / "model.safetensors").unlink()
    train(replace(composed, folder=stopped))
    assert "going on from the checkpoint" in (stopped / "train.log").read_text()
    one, other = (weights(folder) for folder in (tmp_path / "whole", stopped))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert all(torch.isfinite(value).all() for value in one.values())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.pt", weights_only=False)["model"]
    return found
