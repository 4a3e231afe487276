"""Fine-tuning as users start it: train.py, from a file of weights, on one and two processes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from processes import ended, started
from safetensors.torch import load_file

TINY = (
    *("+recipe=r00_baseline", "model=resnet18", "data=synthetic", "data.num_classes=6", "data.size=32", "epochs=2"),
    *("batch_size=16", "micro_batch_size=8", "data.workers=0", "log.images=false", "ema.decay=0.9", "ema.steps=1"),
    *("resolution.train_crop=32", "resolution.val_resize=32", "resolution.val_crop=32"),
    "checkpoint.keep_after_training=true",
)


def fine_tuned(root: Path, *overrides: str, processes: int = 0) -> tuple[Path, dict[str, Any], str]:
    """The run's folder, its last checkpoint, and what it printed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        torch.save(torchvision.models.resnet18().state_dict(), root / "own.pth")
    command = (*TINY, f"model.weights={root / 'own.pth'}", f"hydra.run.dir={root / 'run'}", *overrides)
    result = ended(started(root, *command, processes=processes))
    assert result.returncode == 0, result.stderr
    state = torch.load(root / "run" / "checkpoints" / "last.pt", weights_only=True)
    return root / "run", state, result.stdout


@pytest.mark.parametrize("processes", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_frozen_stages_keep_their_weights_and_the_rest_trains(processes: int, tmp_path: Path) -> None:
    folder, state, said = fine_tuned(tmp_path, "model.freeze=layer2", processes=processes)
    before = torch.load(tmp_path / "own.pth", weights_only=True)
    parameters = [name for name, _ in torchvision.models.resnet18(num_classes=6).named_parameters()]
    frozen = [name for name in parameters if name.startswith(("conv1", "bn1", "layer1", "layer2"))]
    final = load_file(folder / "checkpoints" / "model.safetensors")
    for weights in (state["model"], state["ema"], final):
        assert all(torch.equal(weights[name], before[name]) for name in frozen)
        same = [name for name in parameters if name not in frozen and torch.equal(weights[name], before[name])]
        assert same == []
    assert not torch.equal(state["model"]["bn1.running_mean"], before["bn1.running_mean"])
    in_optimizer = [number for group in state["optimizer"]["param_groups"] for number in group["params"]]
    assert len(in_optimizer) == len(state["optimizer"]["state"]) == len(parameters) - len(frozen)
    assert "of 11,179,590 parameters train (model.freeze=layer2)" in said


def test_frozen_statistics_stay_through_epochs_and_evaluations(tmp_path: Path) -> None:
    _, state, _ = fine_tuned(tmp_path, "model.freeze=backbone", "model.frozen_batch_norm=eval")
    before = torch.load(tmp_path / "own.pth", weights_only=True)
    kept = {name: value for name, value in before.items() if not name.startswith("fc.")}
    changed = [name for name, value in kept.items() if not torch.equal(value, state["model"][name])]
    assert changed == []


def test_what_is_not_taken_over_is_said_and_kept(tmp_path: Path) -> None:
    folder, _, said = fine_tuned(tmp_path, "model.stem=small", "optimizer.layer_decay=0.5")
    about = json.loads((folder / "environment.json").read_text())
    assert about["weights"]["fresh"] == ["conv1.weight", "fc.weight", "fc.bias"]
    assert about["weights"]["unused"] == ["conv1.weight", "fc.weight", "fc.bias"]
    assert about["config"]["model.weights"].startswith("own-")
    assert "conv1.weight, fc.weight, fc.bias" in said
    assert "resolution.val_resize=256 resolution.val_crop=224" in said
