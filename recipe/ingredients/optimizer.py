"""Optimizers, and which parameters get which weight decay."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from recipe.config import OptimizerConfig
from recipe.errors import ConfigError
from recipe.guesses import did_you_mean
from recipe.network.stages import NORM_LAYERS, stages
from recipe.stored_config import text


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer over the model's trainable parameters, in groups of one weight decay and rate each."""
    make = OPTIMIZERS[config.name] if config.source == "torch" else _timm
    return make(parameter_groups(model, config), config)


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Parameters of normalisation layers, other biases, and the rest, each with its weight decay and rate.

    Layers are told by type; with norms_by=name a norm's parameters are those with bn in their name, as in ffcv's and
    NVIDIA's trainers, which decay the batch norms of downsampling paths.
    Returns dicts with `params`, `weight_decay` and `lr_scale` (the group's share of the learning rate), without empty
    groups and without two that are alike. Frozen parameters are in none.
    """
    decay = config.weight_decay
    norm_decay = decay if config.norm_weight_decay is None else config.norm_weight_decay
    bias_decay = decay if config.bias_weight_decay is None else config.bias_weight_decay
    scales = lr_scales(model, config)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(decay, 1.0): []}
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter in seen or not parameter.requires_grad:
                continue
            seen.add(parameter)
            whole = f"{prefix}.{name}" if prefix else name
            of_norm = "bn" in whole if config.norms_by == "name" else isinstance(module, NORM_LAYERS)
            kind = norm_decay if of_norm else bias_decay if name == "bias" else decay
            scale = scales.get(whole, 1.0)
            groups.setdefault((kind, scale), []).append(parameter)
    return [
        {"params": params, "weight_decay": value, "lr_scale": scale}
        for (value, scale), params in groups.items()
        if params
    ]


def lr_scales(model: nn.Module, config: OptimizerConfig) -> dict[str, float]:
    """backbone_lr_factor·layer_decay^depth for each parameter of the backbone, by name; the head's is 1.

    depth: stages from the head down, 1 for the last of the backbone (Clark et al., 2020; Bao et al., 2022).
    """
    factor, decay = config.backbone_lr_factor, config.layer_decay
    if factor == decay == 1:
        return {}
    from_head = enumerate(reversed(stages(model).values()), start=1)
    return {name: factor * decay**depth for depth, names in from_head for name in names}


def clip_gradients(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig, norm_wanted: bool = True
) -> Tensor | None:
    """The gradients' norm, (); None where none is wanted and there is no `grad_clip`, to which they are scaled down."""
    if config.grad_clip is None and not norm_wanted:
        return None
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if config.grad_clip is not None:
        nn.utils.clip_grads_with_norm_(parameters, config.grad_clip, norm)
    return norm


def _sgd(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov, fused=_fused(groups)
    )


def _rmsprop(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(groups, lr=config.lr, momentum=config.momentum, alpha=0.9, eps=config.eps)


def _adam(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=config.lr, betas=_pair(config), eps=config.eps, fused=_fused(groups))


def _adamw(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=config.lr, betas=_pair(config), eps=config.eps, fused=_fused(groups))


def _lamb(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    from timm.optim.lamb import Lamb

    return Lamb(groups, lr=config.lr, betas=_pair(config), eps=config.eps, max_grad_norm=None)


OPTIMIZERS: dict[str, Callable[[list[dict[str, Any]], OptimizerConfig], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adamw,
    "lamb": _lamb,
}


def _timm(groups: list[dict[str, Any]], config: OptimizerConfig) -> torch.optim.Optimizer:
    """timm's, over our groups. Its LAMB clips the gradient to a norm of 1 by itself; ours only as `grad_clip` says."""
    from timm.optim import create_optimizer_v2  # with its defaults, as momentum 0.9

    return create_optimizer_v2(groups, config.name, lr=config.lr, weight_decay=config.weight_decay, **config.args)


def check_timm(config: OptimizerConfig) -> None:
    """Refuse an optimizer that timm does not have, or that cannot be used here. Imports timm. Raises ConfigError."""
    from timm.optim import get_optimizer_info, list_optimizers

    what, known = f"optimizer.source=timm optimizer.name={config.name}", [str(name) for name in list_optimizers()]
    if config.name not in known:
        raise ConfigError(f"{what}: timm has no such optimizer.{did_you_mean(config.name, known)}")
    if get_optimizer_info(config.name).second_order:
        raise ConfigError(f"{what} needs second derivatives, and a training here computes gradients alone")
    if config.name.startswith("kron"):
        raise ConfigError(f"{what} draws random numbers of its own: a run that was stopped would go on differently")
    try:
        _timm([{"params": [nn.Parameter(torch.zeros(2, 2))], "weight_decay": config.weight_decay}], config)
    except (TypeError, ValueError, AssertionError, ImportError, RuntimeError) as error:
        given = f" with optimizer.args={text(config.args)}" if config.args else ""
        raise ConfigError(
            f"{what} cannot be made{given}: {' '.join(str(error).split())}. optimizer.args takes arguments of timm's "
            "optimizer, as in optimizer.args={eps: 1e-6}"
        ) from error


def _pair(config: OptimizerConfig) -> tuple[float, float]:
    return config.betas[0], config.betas[1]


def _fused(groups: list[dict[str, Any]]) -> bool:
    return all(parameter.is_cuda for group in groups for parameter in group["params"])
