"""The network, from torchvision or timm, initialised from the seed."""

import torch
import torchvision
from torch import nn

from recipe.checks import did_you_mean
from recipe.config import Config, ModelConfig
from recipe.errors import ConfigError
from recipe.randomness import seed_at

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


def check_name(config: ModelConfig) -> None:
    """Raises ConfigError where the source has no model of this name."""
    known = _names(config.source)
    if config.name not in known:
        raise ConfigError(
            f"model.name={config.name}: {config.source} has no model of this name.{did_you_mean(config.name, known)}"
        )


def make_model(config: Config, num_classes: int) -> nn.Module:
    """The network with fresh weights, on the CPU: the same for the same seed, on every rank."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_at(config.seed, "init"))
        if config.model.source == "timm":
            import timm

            model: nn.Module = timm.create_model(config.model.name, num_classes=num_classes)
        else:
            model = torchvision.models.get_model(config.model.name, weights=None, num_classes=num_classes)
    _set_last_norms(model, config.model)
    if config.runtime.precision == "fp64":
        model = model.double()
    if config.runtime.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model


def _set_last_norms(model: nn.Module, config: ModelConfig) -> None:
    """Start the last batch norm of each residual block at 0 or 1, whatever the source does by itself.

    (timm's ResNets start it at 0, torchvision's at 1: a difference of 5 points after short trainings.)
    """
    last = [norm for module in model.modules() if (norm := _last_norm(module)) is not None]
    if config.zero_init_residual and not last:
        raise ConfigError(f"model.zero_init_residual=true: {config.name} has no residual blocks with a last batch norm")
    for norm in last:
        nn.init.constant_(norm.weight, 0.0 if config.zero_init_residual else 1.0)


def _last_norm(module: nn.Module) -> nn.BatchNorm2d | None:
    """The last norm of a ResNet's block, or the module itself where its source has started it at 0."""
    if type(module).__name__ in ("BasicBlock", "Bottleneck"):
        norm = getattr(module, "bn3", getattr(module, "bn2", None))
        return norm if isinstance(norm, nn.BatchNorm2d) else None
    if isinstance(module, nn.BatchNorm2d) and not module.weight.any():
        return module
    return None


def _names(source: str) -> list[str]:
    if source == "timm":
        import timm

        return timm.list_models()
    return torchvision.models.list_models(module=torchvision.models)
