"""State dicts as torchvision and timm themselves read them: old names, old layouts, tensors that older files lack."""

import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from recipe.config import ModelConfig
from recipe.network.constructor import bare
from recipe.network.stages import head_names
from recipe.network.states import load_by_version, with_metadata
from recipe.network.zoo import AUXILIARY_HEADS

ON_IMAGENET = 1000  # classes


def as_the_source_reads(
    state: Mapping[str, Tensor], model: ModelConfig, network: nn.Module, arguments: Mapping[str, Any]
) -> dict[str, Tensor] | None:
    """The same weights in the form that the source's loading brings them into; None where it refuses them.

    Args:
        network: the one that is to start from them, of any number of classes.
    """
    read = _by_timm if model.source == "timm" else _by_torchvision
    for num_classes in _numbers_of_classes(state, network):
        try:
            return read(state, model, num_classes, arguments)
        except Exception:  # their filters meet names and shapes that they were not made for
            continue
    return None


def _numbers_of_classes(state: Mapping[str, Tensor], network: nn.Module) -> list[int]:
    """The numbers of classes to try: the rows of the head, or where it has another name, of what is likely to be it."""
    for head in head_names(network):
        if f"{head}.weight" in state:
            return [state[f"{head}.weight"].shape[0]]
    matrices = [tensor for tensor in state.values() if tensor.dim() == 2]
    return [*(tensor.shape[0] for tensor in matrices[-1:]), ON_IMAGENET]


def _by_torchvision(
    state: Mapping[str, Tensor], model: ModelConfig, num_classes: int, arguments: Mapping[str, Any]
) -> dict[str, Tensor]:
    auxiliary = AUXILIARY_HEADS.get(model.name, ())
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(auxiliary)} if auxiliary else state
    given = with_metadata(kept, getattr(state, "_metadata", None))
    network = bare(model, num_classes, arguments)
    own_loader = getattr(sys.modules[type(network).__module__], "_load_state_dict", None)  # DenseNet's file has one
    if own_loader is not None:
        own_loader(network, SimpleNamespace(get_state_dict=lambda **_: given), progress=False)
    else:
        load_by_version(network, given)
    return network.state_dict()


def _by_timm(
    state: Mapping[str, Tensor], model: ModelConfig, num_classes: int, arguments: Mapping[str, Any]
) -> dict[str, Tensor]:
    import timm

    about: Any = timm.get_pretrained_cfg(model.name)
    offset = (about.label_offset or 0) if about is not None else 0
    if offset and num_classes == about.num_classes + offset:  # a class for the background, which timm takes off
        num_classes = about.num_classes
    else:
        offset = 0
    arguments = {**arguments, **model.args}
    overlay = {"state_dict": dict(state), "num_classes": num_classes, "label_offset": offset}
    network = timm.create_model(
        model.name, pretrained=True, num_classes=num_classes, pretrained_cfg_overlay=overlay, **arguments
    )
    return network.state_dict()
