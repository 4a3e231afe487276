"""A network from its first layer to its last: the stages of its backbone, and its head.

What is frozen, or trained at a rate of its own, is told in these.
"""

from collections.abc import Iterator
from typing import Any

from torch import nn

# Children that hold a network's stages one by one, in torchvision's and timm's models; others are a stage themselves.
CONTAINERS = ("features", "blocks", "stages", "layers", "trunk_output")
NORM_LAYERS = (
    nn.modules.batchnorm._BatchNorm,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LocalResponseNorm,
)


class Head(nn.Sequential):
    """A classifier of several layers, in the place of the model's own (recipe/network/heads.py)."""


def head_names(model: nn.Module) -> tuple[str, ...]:
    """The modules that turn features into logits: one, or two in distilled networks."""
    modules = dict(model.named_modules())
    heads = [name for name, module in modules.items() if isinstance(module, Head)]
    if not heads and hasattr(model, "get_classifier"):  # timm
        classifier: Any = model.get_classifier()  # type: ignore[operator]
        own = classifier if isinstance(classifier, tuple | list) else (classifier,)
        heads = [name for name, module in modules.items() if any(module is one for one in own)]
    for kind in (nn.Linear, nn.Conv2d):  # SqueezeNet's is a convolution
        heads = heads or [name for name, module in modules.items() if isinstance(module, kind)][-1:]
    return tuple(heads)


def in_head(parameter: str, heads: tuple[str, ...]) -> bool:
    """True where the parameter or buffer of this name is one of the head's."""
    return any(parameter.startswith(f"{name}.") for name in heads)


def stages(model: nn.Module) -> dict[str, list[str]]:
    """The names of the backbone's parameters, by stage, from the first stage to the last before the head.

    Stages are the model's children in their order (ResNet: stem, layer1 … layer4), and one level deeper where a child
    is the list of them (blocks.0, blocks.1 …). Layers before the first are "stem"; a norm belongs to the layer before.
    """
    heads = head_names(model)
    found: dict[str, list[str]] = {}
    first = ""
    for name, unit in _units(model, ""):
        parameters = [f"{name}.{own}" for own, _ in unit.named_parameters()]
        parameters = [parameter for parameter in parameters if not in_head(parameter, heads)]
        if not parameters:
            continue
        if found and isinstance(unit, NORM_LAYERS):
            last = next(reversed(found))
            found[last] += parameters
            if last == first:
                found = {"stem": found[last]}
        else:
            first = first or name
            found[name] = parameters
    listed = {parameter for parameters in found.values() for parameter in parameters}
    loose = [name for name, _ in model.named_parameters() if name not in listed and not in_head(name, heads)]
    if found and loose:  # position embeddings and the like: added before the first stage
        next(iter(found.values())).extend(loose)
    return found


def _units(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each child, or of what it holds where it is a list of stages."""
    for name, child in module.named_children():
        if name in CONTAINERS:
            yield from ((f"{prefix}{name}.{number}", stage) for number, stage in child.named_children())
        elif any(inner in CONTAINERS for inner, _ in child.named_children()):
            yield from _units(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
