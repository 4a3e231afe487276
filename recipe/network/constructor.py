"""The network as its source's constructor makes it, with the further arguments of `model.args`."""

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from types import FunctionType
from typing import Any

import torch
import torchvision
from torch import nn

from recipe.config import ModelConfig
from recipe.errors import ConfigError
from recipe.guesses import nearest
from recipe.network.zoo import AUXILIARY_HEADS
from recipe.stored_config import text

WEIGHTS, CLASSES = "model.weights says what to start from", "the classes come from the data"
CHANNELS, PLACE = "images have three channels here", "runtime.device and runtime.precision say that"
PARTS = "what is trained is a whole classifier"
NORMS = "model.zero_init_residual says that, for networks of both sources"
# Arguments that are set here, with what sets them.
SET_HERE = {
    **dict.fromkeys(("num_classes", "n_classes"), CLASSES),
    **dict.fromkeys(("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict"), WEIGHTS),
    **dict.fromkeys(("weights", "weights_backbone", "checkpoint_path", "cache_dir", "progress"), WEIGHTS),
    **dict.fromkeys(("init_weights", "aux_logits", "transform_input"), WEIGHTS),
    **dict.fromkeys(("in_chans", "in_channels"), CHANNELS),
    **dict.fromkeys(("features_only", "out_indices", "feature_cfg"), PARTS),
    **dict.fromkeys(("scriptable", "exportable", "no_jit"), "`recipe export` makes networks ready for others"),
    **dict.fromkeys(("device", "dtype"), PLACE),
    **dict.fromkeys(("zero_init_residual", "zero_init_last"), NORMS),
}
VAR, VAR_NAMED = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
SHARE = re.compile(r"drop\w*_(rate|prob)|stochastic_depth_prob|(\w+_)?dropout")  # arguments that are probabilities


def bare(model: ModelConfig, num_classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    """The source's network as it starts by itself, from the global generator.

    Raises ConfigError where it cannot be made with `model.args`, which come before the others.

    Args:
        arguments: further ones, of the weights that it is to start from (zoo.arguments).
    """
    try:
        return _made(model, num_classes, {**arguments, **model.args})
    except Exception as error:
        if not model.args:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        if given_twice := re.search(r"got multiple values for (?:keyword )?argument '(\w+)'", reason):
            reason = f"{given_twice[1]} is what its name stands for"
        elif isinstance(error, KeyError):
            reason = f"it does not know {error}"
        raise ConfigError(
            f"{_written(model.args)}: {model.source} cannot make {model.name} with it: {reason}"
        ) from error


def check_args(model: ModelConfig) -> None:
    """Refuse `model.args` that the constructor does not take; it is called once, without data. Raises ConfigError."""
    _check_args(model.source, model.name, json.dumps(model.args, sort_keys=True), model.head)


@lru_cache(maxsize=64)  # the jobs of a sweep ask for the same ones
def _check_args(source: str, name: str, args: str, head: str) -> None:
    model = ModelConfig(name, source, head=head, args=json.loads(args))
    for argument, value in model.args.items():
        _check_value(model, argument, value)
    try:
        _without_data(model)
    except ConfigError as error:
        unexpected = re.search(r"unexpected keyword argument.*'(\w+)'", str(error))
        if unexpected and unexpected[1] in model.args:
            raise _unknown(model, unexpected[1]) from error
        raise
    if source == "torchvision":  # some of its constructors ignore what they do not know
        known = parameters(model)[1]
        for argument in (argument for argument in model.args if argument not in known):
            raise _unknown(model, argument)


def parameters(model: ModelConfig) -> tuple[str, list[str]]:
    """The name of the constructor's class, and the arguments that it and what the source calls before it know."""
    network = type(_without_data(ModelConfig(model.name, model.source)))
    functions = _passing_on(_builder(model))
    found = [parameter for function in functions for parameter in _optional(function)]
    found += [one.name for one in inspect.signature(network).parameters.values() if one.kind not in (VAR, VAR_NAMED)]
    return network.__name__, [name for name in dict.fromkeys(found) if name not in SET_HERE]


def _made(model: ModelConfig, num_classes: int, arguments: Mapping[str, Any]) -> nn.Module:
    if model.source == "timm":
        import timm

        network: nn.Module = timm.create_model(model.name, num_classes=num_classes, **arguments)
        return network
    if model.name in AUXILIARY_HEADS:  # as torchvision does with weights: its way to begin without takes half a minute
        arguments = {**arguments, "init_weights": model.weights is None}
    return torchvision.models.get_model(model.name, weights=None, num_classes=num_classes, **arguments)


def _without_data(model: ModelConfig) -> nn.Module:
    """On tensors without data, which takes no time; on the CPU where a network reads its own values as it is made."""
    with suppress(Exception), torch.device("meta"):
        return bare(model, 2, {})
    with torch.random.fork_rng(devices=[]):
        return bare(model, 2, {})


def _check_value(model: ModelConfig, argument: str, value: Any) -> None:
    given = _written({argument: value})
    if argument in SET_HERE:
        raise ConfigError(f"{given}: {SET_HERE[argument]}; model.args are the constructor's further arguments")
    if argument == "global_pool" and model.head == "concat_pool":
        raise ConfigError(f"{given}: model.head=concat_pool is a pooling; leave one of the two out")
    if value is None and model.source == "timm":
        raise ConfigError(f"{given}: to timm null is as if it were not given; leave it out")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{given}: must be a finite number")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if SHARE.fullmatch(argument) and not (number and 0 <= value < 1):
        raise ConfigError(f"{given}: must be a number, at least 0 and below 1")


def _unknown(model: ModelConfig, argument: str) -> ConfigError:
    constructor, known = parameters(model)
    near = nearest(argument, known)
    hint = f" Did you mean {' or '.join(near)}?" if near else f" It takes {', '.join(known)}"
    return ConfigError(
        f"{_written({argument: model.args[argument]})}: {constructor}, which {model.source} makes {model.name} of, has "
        f"no such argument.{hint}"
    )


def _written(args: Mapping[str, Any]) -> str:
    return f"model.args={text(args)}"


def _builder(model: ModelConfig) -> Callable[..., Any]:
    """The source's function of this name."""
    if model.source == "timm":
        import timm

        return inspect.unwrap(timm.model_entrypoint(model.name))
    return inspect.unwrap(torchvision.models.get_model_builder(model.name))


def _passing_on(builder: Callable[..., Any]) -> list[Callable[..., Any]]:
    """The function and those of its file that it may give its further arguments to."""
    found = [builder]
    for function in found:
        called = [function.__globals__.get(name) for name in function.__code__.co_names]
        own = [each for each in called if isinstance(each, FunctionType) and each.__module__ == builder.__module__]
        found += [each for each in own if each not in found and _takes_further(each)]
    return found


def _takes_further(function: Callable[..., Any]) -> bool:
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    return VAR_NAMED in kinds


def _optional(function: Callable[..., Any]) -> list[str]:
    """The names of the arguments that need not be given."""
    about = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in about if parameter.default is not inspect.Parameter.empty]
