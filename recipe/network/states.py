"""Networks' state dicts: taken in by networks, and as files of tensors."""

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn


def load(network: nn.Module, state: Mapping[str, Any]) -> None:
    """Give a network the state of one like it, in place. Raises RuntimeError where the names or shapes are others.

    Names and shapes that are the same need no more: what `load_state_dict` makes of versions (torchvision's MNASNet
    puts new layers in the place of its own, under the optimizer's feet) is for states of another form.
    """
    own = network.state_dict()
    if shapes(own) == shapes(state):
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(state[name])
    else:
        load_by_version(network, state)


def load_by_version(network: nn.Module, state: Mapping[str, Any]) -> None:
    """`load_state_dict`, which brings older forms into today's, by the version that the state dict says it has.

    Where it says none, as one from a safetensors file, the newest version of the network that fits is taken. Raises
    RuntimeError where none does.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is an older version
        if hasattr(state, "_metadata"):
            network.load_state_dict(state)
            return
        problem: RuntimeError | None = None
        for version in range(network._version, 0, -1):
            try:
                network.load_state_dict(with_metadata(state, {"": {"version": version}}))
                return
            except RuntimeError as error:
                problem = problem or error
        assert problem is not None
        raise problem


def with_metadata(state: Mapping[str, Any], metadata: Any) -> OrderedDict[str, Any]:
    """The state as PyTorch's own are: with the versions of its modules, where there are any, as an attribute."""
    versioned = OrderedDict(state)
    if metadata is not None:
        versioned._metadata = metadata  # type: ignore[attr-defined]
    return versioned


def shapes(state: Mapping[str, Any]) -> dict[str, torch.Size | None]:
    """The shape of each tensor, by name; None for what is no tensor."""
    return {name: value.shape if isinstance(value, Tensor) else None for name, value in state.items()}


def as_safetensors(network: nn.Module, about: dict[str, str] | None = None) -> bytes:
    """A safetensors file of the network's tensors, each with memory of its own: the format has no shared ones."""
    tensors = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    return safetensors_bytes(tensors, about)
