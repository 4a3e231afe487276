"""Weights that torchvision and timm publish: their names, the files they are kept in, the networks they are for."""

from pathlib import Path
from typing import Any

import torch
import torchvision

from recipe.config import ModelConfig
from recipe.errors import ConfigError, RunError
from recipe.files import read_json
from recipe.guesses import did_you_mean
from recipe.network import weight_files
from recipe.network.weights import exported, kind_of

AUXILIARY_HEADS = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}  # of torchvision's networks


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
    """The source's entry on its weights: torchvision's WeightsEnum member, timm's PretrainedCfg; None without any.

    Those that `model.weights` names; otherwise the first that torchvision, and the default that timm, lists.
    """
    named = model.weights is not None and model.weights in _names(model)
    if model.source == "timm":
        import timm

        return timm.get_pretrained_cfg(f"{model.name}.{model.weights}" if named else model.name)
    members = torchvision.models.get_model_weights(model.name)
    return members[str(model.weights)] if named else next(iter(members), None)


def arguments(model: ModelConfig) -> dict[str, Any]:
    """The arguments of the source's constructor for a network that starts from `model.weights`, beside its classes.

    Published weights may be of another input size or normalisation than the model's name says, and a run or exported
    file that began with them is so too. Auxiliary heads are left out: they have no part in what a network says.
    """
    found: dict[str, Any] | None = None
    weights = model.weights or ""
    kind = kind_of(weights) if weights else ""
    if kind == "run":
        found = ((read_json(Path(weights) / "environment.json").get("weights")) or {}).get("arguments")
    elif kind == "file" and Path(weights).exists():
        found = exported(weights).get("arguments")
    if found is not None:
        return found
    if model.source == "timm":
        return {}
    member = _member(model, kind)
    if model.name in AUXILIARY_HEADS:
        return {"aux_logits": False, "transform_input": member is not None}
    if member is None:
        return {}
    size = member.meta.get("min_size", (1, 1))
    return {"vit": {"image_size": size[0]}, "maxvit": {"input_size": size}}.get(model.name.partition("_")[0], {})


def _member(model: ModelConfig, kind: str) -> Any:
    """torchvision's member that the weights are, by their name or that of their file; None where they are none."""
    members = torchvision.models.get_model_weights(model.name)
    if kind == "name":
        return members[str(model.weights)]
    file = Path(model.weights or "").name
    return next((member for member in members if kind == "file" and _file_name(member) == file), None)


def fetch(model: ModelConfig) -> None:
    """Bring the weights into the source's cache, if they are not there: called by one process. Raises RunError."""
    if model.source == "timm":
        load(model)
        return
    path = hub_file(model)
    if path.exists():
        return
    url = entry(model).url
    prefix = path.stem.rpartition("-")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=prefix, progress=True)
    except (OSError, RuntimeError) as error:
        raise RunError(
            f"model.weights={model.weights}: {path} is not there, and {url} could not be downloaded ({error}). "
            "Bring the file there from another machine, or give its path as model.weights; TORCH_HOME=FOLDER names "
            "another place"
        ) from error


def load(model: ModelConfig) -> Any:
    """The published tensors, on the CPU: torchvision's file, or the state of timm's network. Raises RunError."""
    if model.source == "torchvision":
        return weight_files.read(hub_file(model))
    import timm
    from huggingface_hub.constants import HF_HUB_CACHE

    name = f"{model.name}.{model.weights}"
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # of the network, the hub, safetensors, pickle
        repository = str(entry(model).hf_hub_id).replace("/", "--")
        raise RunError(
            f"model.weights={model.weights}: timm could not fetch {name} ({_first_line(error)}). It is looked for in "
            f"{HF_HUB_CACHE}/models--{repository}: bring that folder from another machine, or its model.safetensors "
            "and give that as model.weights; HF_HOME=FOLDER names another place"
        ) from error


def hub_file(model: ModelConfig) -> Path:
    """The path where torchvision keeps the file."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _file_name(entry(model))


def _file_name(member: Any) -> str:
    return str(member.url).rpartition("/")[2]


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
