"""Weights that torchvision and timm publish: their names, the files they are kept in, the networks they are for."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision

from recipe.config import ModelConfig
from recipe.errors import ConfigError, RunError
from recipe.files import read_json
from recipe.guesses import did_you_mean
from recipe.network import hub, weight_files, weights_cache
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


def fetch(model: ModelConfig) -> Path:
    """Where the weights lie: fetched into the source's cache if they are not there. Raises RunError."""
    if found := kept(model):
        return found
    place, url = place_of(model), url_of(model)
    try:
        if earlier := kept(replace(model, weights_cache=None)):  # in the source's own cache
            weights_cache.copied(earlier, place)
        elif hub.id_of(entry(model)):
            if not hub.is_offline():
                weights_cache.check_reached(url)
            print(f"Fetching {url} (once) into {place}", flush=True)
            _load_from_timm(model, offline=False)
        else:
            sha256 = place.stem.rpartition("-")[2] if model.source == "torchvision" else ""
            print(f"Fetching {url} (once) into {place}", flush=True)
            weights_cache.brought(place, lambda file: weights_cache.download(url, file, sha256))
    except Exception as error:  # of the disk, the network, the hub
        bring = (
            f"that folder there from another machine, or give its {hub.SAFE}"
            if hub.id_of(entry(model))
            else ("the file there from another machine, or give its path")
        )
        raise RunError(
            f"model.weights={model.weights}: {place} is not there, and {url} could not be downloaded "
            f"({_first_line(error)}). Bring {bring} as model.weights; {_another_place(model)}"
        ) from error
    return place


def _another_place(model: ModelConfig) -> str:
    if model.weights_cache is not None:
        return weights_cache.ANOTHER_PLACE
    own = "HF_HOME=FOLDER" if hub.id_of(entry(model)) else "TORCH_HOME=FOLDER"
    return f"{own} names another place, and model.weights_cache=FOLDER one that all machines of a sweep see"


def kept(model: ModelConfig) -> Path | None:
    """Where the weights lie, of torchvision's file or the hub's folder; None where they are not there."""
    place, about = place_of(model), entry(model)
    there = hub.is_whole(place, about) if hub.id_of(about) else place.exists()
    return place if there else None


def place_of(model: ModelConfig) -> Path:
    """Where the weights lie once they are there."""
    about = entry(model)
    return hub.folder_of(about, model.weights_cache) if hub.id_of(about) else hub_file(model)


def url_of(model: ModelConfig) -> str:
    """What is downloaded, or on a hub asked for first."""
    about = entry(model)
    return hub.url_of(about) if hub.id_of(about) else str(_url(about))


def load(model: ModelConfig) -> Any:
    """The published tensors, on the CPU: torchvision's file, or the state of timm's network. Raises RunError.

    What is there is read without asking the network for it.
    """
    if model.source == "torchvision":
        return weight_files.read(fetch(model))
    fetch(model)
    try:
        return _load_from_timm(model, offline=True)
    except Exception as error:  # of the network, the hub, safetensors, pickle
        raise RunError(
            f"model.weights={model.weights}: timm could not read {place_of(model)} ({_first_line(error)}). Remove it, "
            "and it is fetched anew"
        ) from error


def _load_from_timm(model: ModelConfig, offline: bool) -> Any:
    import timm

    cache = hub.cache_of(entry(model), model.weights_cache)
    with hub.offline() if offline else nullcontext():
        network = timm.create_model(f"{model.name}.{model.weights}", pretrained=True, **cache)
    return network.state_dict()


def hub_file(model: ModelConfig) -> Path:
    """The path where torch.hub keeps a file, or in `model.weights_cache` would keep it."""
    torch_s = weights_cache.part(model, "torch")
    return (torch_s / "hub" if torch_s else Path(torch.hub.get_dir())) / "checkpoints" / _file_name(entry(model))


def _url(about: Any) -> str:
    return str(about.url if isinstance(about.url, str) else about.url[0])  # timm's may come with a name


def _file_name(about: Any) -> str:
    return _url(about).rpartition("/")[2] if isinstance(about.url, str) else str(about.url[1])


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
