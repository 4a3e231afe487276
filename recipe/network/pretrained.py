"""A network that starts from weights: what is taken over from them, and what is not."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipe.config import Config, ModelConfig
from recipe.errors import RunError
from recipe.files import read_json
from recipe.machine.distributed import Ranks
from recipe.network import definition, fetching, weight_files, zoo
from recipe.network.model import set_format
from recipe.network.own_loading import as_the_source_reads
from recipe.network.stages import head_names, in_head
from recipe.network.states import shapes, with_metadata
from recipe.network.weight_files import Found
from recipe.network.weights import exported, file_of, identity, kind_of
from recipe.network.weights_cache import package_file

NAMED = 5  # parameters that a refusal names


@dataclass(frozen=True)
class Start:
    """What a network took over from weights."""

    weights: str  # without a path
    taken: int  # tensors
    fresh: tuple[str, ...]  # tensors of the network that start from the seed
    unused: tuple[str, ...]  # tensors of the weights that have no place in it
    why: str  # there are such
    arguments: dict[str, Any] = field(default_factory=dict)  # of the network's constructor, as zoo.arguments


def load(network: nn.Module, config: Config, ranks: Ranks, classes: Sequence[str]) -> Start | None:
    """Give the network the weights of `model.weights`, on every rank; None where it starts from the seed alone.

    All names and shapes must fit, but for the head where the classes or its layers are others, and the first
    convolution with another model.stem. Raises ConfigError and RunError.

    Args:
        classes: the names of the training set's classes: those of a run are taken over only for the same.
    """
    model = config.model
    if model.weights is None:
        return None
    ranks.on_first(lambda: fetching.fetch(model))
    state, inside, beside = _read(model, network)
    _take_version(network, state, config)
    own = network.state_dict()
    heads = head_names(network)
    head, source_head = _head_of(own, heads), _head_of(state, heads)
    why = _why_new_head(model, head, source_head, classes)
    skipped = {name for name in (*head, *source_head) if why}
    if new := _new_stem(model, own, state):
        skipped |= new
        why = f"{why}; model.stem={model.stem}" if why else f"model.stem={model.stem}"
    _check_fit(model, own, state, skipped)
    taken = {name: tensor for name, tensor in state.items() if name not in skipped}
    _check_finite(model, network, taken)
    with torch.no_grad():
        for name, tensor in taken.items():
            own[name].copy_(tensor)
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
        unused=(*(name for name in state if name in skipped), *beside),
        why=why or ("no part of the network" if beside else ""),
        arguments=zoo.arguments(model),
    )


def _new_stem(model: ModelConfig, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> set[str]:
    """The tensors of a chosen stem that the weights do not have in this shape."""
    if model.stem == "imagenet" or "conv1.weight" not in state:
        return set()
    names = [name for name in ("conv1.weight", "conv1.bias") if name in own]
    return {name for name in names if name not in state or state[name].shape != own[name].shape}


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
    else:
        theirs = exported(str(model.weights)).get("classes") if kind_of(str(model.weights)) == "file" else None
    return "other classes" if theirs not in (None, list(classes)) else ""


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
        raise RunError(_other_network(model, "; ".join(problems)))


def _other_network(model: ModelConfig, problems: str) -> str:
    """A sentence that says what to give instead."""
    shown, theirs = definition.shown(model), definition.differences(model)
    if shown and kind_of(str(model.weights)) in ("name", "package"):
        return (
            f"model.weights={model.weights} are published for {model.name} without "
            f"{', '.join(f'model.{name}' for name in shown)}, and {definition.written(shown)} makes another network of "
            f"it: {problems}. Leave one of the two out"
        )
    *most, last = ("name", "source", *(name for name in definition.names() if not name.startswith("head")))
    mend = f"Give the {', '.join(f'model.{name}' for name in most)} and model.{last} that they were trained with"
    if theirs:
        same = definition.written({name: its for name, (its, _) in theirs.items()})
        mend = f"They were trained with {same}: give the same"
    return (
        f"model.weights={model.weights} are not weights of model.name={model.name} ({model.source}, "
        f"model.stem={model.stem}{f', {definition.written(shown)}' if shown else ''}): {problems}. {mend}"
    )


def _check_finite(model: ModelConfig, network: nn.Module, taken: Mapping[str, Tensor]) -> None:
    """Refuse weights of a training that had diverged: the first step would be blamed for them."""
    parameters = dict(network.named_parameters())  # buffers may hold infinities, as masks do
    wrong = [
        name
        for name, tensor in taken.items()
        if tensor.is_floating_point() and (tensor.isnan().any() or (name in parameters and tensor.isinf().any()))
    ]
    if wrong:
        where = file_of(str(model.weights)) if kind_of(str(model.weights)) in ("run", "file") else model.weights
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise RunError(
            f"model.weights: {where} holds values that are not finite (NaN or infinity), in {', '.join(wrong[:NAMED])}"
            f"{more} of {len(taken)} tensors: the training that saved it had diverged. Give an earlier checkpoint"
        )


def _read(model: ModelConfig, network: nn.Module) -> Found:
    """The state dict, in this network's names where it is in any that its source knows."""
    weights = str(model.weights)
    kind = kind_of(weights)
    own = network.state_dict()
    if kind == "package":
        state = weight_files.network_in(weight_files.read(package_file(weights, model)), own).state
        return Found(in_order(state, model, weights), "", ())
    content = zoo.load(model) if kind == "name" else weight_files.read(file_of(weights))
    found = weight_files.network_in(content, own)
    heads = head_names(network)
    if _backbone(found.state, heads) == _backbone(own, heads):
        return found
    read = as_the_source_reads(found.state, model, network, zoo.arguments(model))
    if read is None:
        return found
    auxiliary = zoo.AUXILIARY_HEADS.get(model.name) if model.source == "torchvision" else None
    left_out = tuple(name for name in found.state if auxiliary and name.startswith(auxiliary))
    return Found(read, found.inside, (*left_out, *found.beside))


def _backbone(state: Mapping[str, Tensor], heads: tuple[str, ...]) -> dict[str, torch.Size | None]:
    return {name: shape for name, shape in shapes(state).items() if not in_head(name, heads)}


def _take_version(network: nn.Module, state: Mapping[str, Tensor], config: Config) -> None:
    """Give the network the layers that it had in the version that the weights are of (torchvision's first MNASNet)."""
    version = getattr(state, "_metadata", {}).get("", {}).get("version")
    if version is None or version == network._version:
        return
    frozen = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a newer one
        network.load_state_dict(with_metadata({}, {"": {"version": version}}), strict=False)
    for name in frozen:
        network.get_parameter(name).requires_grad_(False)
    set_format(network, config.runtime)


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
