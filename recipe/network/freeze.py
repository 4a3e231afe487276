"""Which layers keep the weights that they start with."""

from torch import nn

from recipe.config import ModelConfig
from recipe.errors import ConfigError
from recipe.guesses import did_you_mean
from recipe.network.batch_norm import BATCH_NORMS
from recipe.network.stages import NORM_LAYERS, stages


def freeze(model: nn.Module, config: ModelConfig) -> None:
    """Take the gradients from what `model.freeze` names. Raises ConfigError where the model has no such stage."""
    for name in frozen_parameters(model, config):
        model.get_parameter(name).requires_grad_(False)


def frozen_parameters(model: nn.Module, config: ModelConfig) -> list[str]:
    """The names of the frozen parameters: up to the end of the stage, from the network's beginning.

    Of `backbone_but_norms`, the backbone's without the weights and biases of its normalisation layers (by type, as for
    weight decay), as FixRes's second phase has it (Touvron et al., 2019).
    """
    by_stage = stages(model)
    names = list(by_stage)
    whole = ("backbone", "backbone_but_norms")
    if config.freeze not in ("none", *whole, *names):
        known = ["none", *whole, *names]
        hint = did_you_mean(config.freeze, known)
        if config.freeze in ("norms", "norm", "batch_norm"):  # these alone, or all but these: both are asked for by it
            hint = " To train the norms and the head alone: model.freeze=backbone_but_norms."
        raise ConfigError(
            f"model.freeze={config.freeze}: {config.name} has no such stage.{hint} "
            f"There are {', '.join(known)}; a stage is frozen with all before it"
        )
    last = 0 if config.freeze == "none" else len(names) if config.freeze in whole else names.index(config.freeze) + 1
    of_norms = _of_norms(model) if config.freeze == "backbone_but_norms" else set()
    return [parameter for name in names[:last] for parameter in by_stage[name] if parameter not in of_norms]


def _of_norms(model: nn.Module) -> set[str]:
    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, NORM_LAYERS)]
    return {f"{name}.{own}" for name, norm in norms for own, _ in norm.named_parameters(recurse=False)}


def training_mode(model: nn.Module, config: ModelConfig) -> None:
    """`model.train()`, but for the frozen batch norms with model.frozen_batch_norm=eval: their statistics stay too."""
    model.train()
    for norm in _norms_in_evaluation(model, config):
        norm.eval()


def _norms_in_evaluation(model: nn.Module, config: ModelConfig) -> list[nn.Module]:
    if config.frozen_batch_norm == "train":
        return []
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    return [norm for norm in norms if not any(parameter.requires_grad for parameter in norm.parameters())]
