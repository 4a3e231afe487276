"""Weights that torchvision and timm publish: their names, and the files that they are kept in."""

from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor

from recipe.checks import did_you_mean
from recipe.config import ModelConfig
from recipe.errors import ConfigError, RunError


def name_of(model: ModelConfig) -> str:
    """The published name that `model.weights` gives, DEFAULT resolved. Raises ConfigError where there is none."""
    known = _names(model)
    if not known:
        raise ConfigError(f"model.weights={model.weights}: {model.source} publishes no weights of {model.name}")
    if model.weights == "DEFAULT":
        return _default(model)
    if model.weights not in known:
        raise ConfigError(
            f"model.weights={model.weights}: neither a file or run folder, nor weights that {model.source} publishes "
            f"of {model.name} ({', '.join(known)}).{did_you_mean(str(model.weights), known)}"
        )
    return str(model.weights)


def entry(model: ModelConfig) -> Any:
    """What the source says of its weights: torchvision's WeightsEnum member, timm's PretrainedCfg; None without any.

    Those that `model.weights` names; otherwise the first that torchvision, and the default that timm, lists.
    """
    named = model.weights is not None and model.weights in _names(model)
    if model.source == "timm":
        import timm

        return timm.get_pretrained_cfg(f"{model.name}.{model.weights}" if named else model.name)
    members = torchvision.models.get_model_weights(model.name)
    return members[str(model.weights)] if named else next(iter(members), None)


def fetch(model: ModelConfig) -> None:
    """Bring the weights into the source's cache, if they are not there: called by one process. Raises RunError."""
    if model.source == "timm":
        load(model)
        return
    path = hub_file(model)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    url = entry(model).url
    prefix = path.stem.rpartition("-")[2]
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=True)
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"model.weights={model.weights}: {path} is not there, and {url} could not be downloaded ({error}). "
            "Bring the file there from another machine, or give its path as model.weights"
        ) from error


def load(model: ModelConfig) -> dict[str, Tensor]:
    """The published state dict, on the CPU. Raises RunError."""
    if model.source == "torchvision":
        state: dict[str, Tensor] = torch.load(hub_file(model), map_location="cpu", weights_only=True)
        return state
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE

    name = f"{model.name}.{model.weights}"
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except (OSError, RuntimeError) as error:
        repository = str(entry(model).hf_hub_id).replace("/", "--")
        raise RunError(
            f"model.weights={model.weights}: timm could not fetch {name} ({_first_line(error)}). It is looked for in "
            f"{HF_HUB_CACHE}/models--{repository}: bring that folder from another machine, or its model.safetensors "
            "and give that as model.weights"
        ) from error


def hub_file(model: ModelConfig) -> Path:
    """Where torchvision keeps the file."""
    return Path(torch.hub.get_dir()) / "checkpoints" / str(entry(model).url).rpartition("/")[2]


def _names(model: ModelConfig) -> list[str]:
    if model.source == "timm":
        import timm

        return [name.partition(".")[2] for name in timm.list_pretrained(f"{model.name}.*")]
    return [member.name for member in torchvision.models.get_model_weights(model.name)]


def _default(model: ModelConfig) -> str:
    if model.source == "timm":
        import timm

        about = timm.get_pretrained_cfg(model.name)
        assert about is not None
        return str(about.tag)
    return str(torchvision.models.get_model_weights(model.name)["DEFAULT"].name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
