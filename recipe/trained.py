"""A finished run, read back from its folder: its config, its result, its networks.

Imports PyTorch only for the latter, so that commands refuse a wrong folder at once.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe import compose
from recipe.config import Config
from recipe.errors import RunError
from recipe.files import read_json

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Trained:
    """What a run folder says of its run."""

    folder: Path
    config: Config
    environment: dict[str, Any]
    result: dict[str, Any]

    @property
    def name(self) -> str:
        """The run's name with its seed."""
        return f"{self.result['name']}, seed {self.config.seed}"


def read(folder: Path) -> Trained:
    """The finished run in a folder. Raises RunError where there is none."""
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}")
    if not (folder / "result.json").exists():
        if (folder / "environment.json").exists():
            raise RunError(f"the run in {folder} has not finished: its command again goes on with it")
        raise RunError(f"{folder} is not the folder of a run: it has no result.json")
    return Trained(
        folder=folder,
        config=compose.load(folder / "config.yaml"),
        environment=read_json(folder / "environment.json"),
        result=read_json(folder / "result.json"),
    )


def networks(run: Trained, device: "torch.device") -> "dict[str, nn.Module]":
    """The trained network as "raw" and, where there is one, the averaged as "ema"; the last is the one that counts.

    Without the last checkpoint, of this run or of the one that trained for it, there is only the latter.
    """
    from safetensors.torch import load_file

    from recipe.checkpoint import load_checkpoint
    from recipe.model import make_model

    state = load_checkpoint(run.folder / run.result.get("trained_in", ".") / "checkpoints").state
    weights = run.folder / "checkpoints" / "model.safetensors"
    if state is not None:
        states = {"raw": state["model"], "ema": state["ema"] if run.config.ema.decay is not None else None}
    elif weights.exists():
        states = {run.result["weights"]: load_file(weights)}
    else:
        raise RunError(f"{weights.parent} holds no weights: neither last.pt nor {weights.name}")
    assert run.config.data.num_classes is not None
    found = {}
    for name, values in states.items():
        if values is not None:
            found[name] = make_model(run.config, run.config.data.num_classes)
            found[name].load_state_dict(values)
            found[name].to(device).eval()
    return found
