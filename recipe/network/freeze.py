"""Which layers keep the weights that they start with."""

from torch import nn

from recipe.config import ModelConfig
from recipe.errors import ConfigError
from recipe.guesses import did_you_mean
from recipe.network.batch_norm import BATCH_NORMS
from recipe.network.stages import stages


def freeze(model: nn.Module, config: ModelConfig) -> None:
    """Take the gradients from what `model.freeze` names. Raises ConfigError where the model has no such stage."""
    for name in frozen_parameters(model, config):
        model.get_parameter(name).requires_grad_(False)


def frozen_parameters(model: nn.Module, config: ModelConfig) -> list[str]:
    """The names of the parameters up to the end of the stage, from the network's beginning."""
    by_stage = stages(model)
    names = list(by_stage)
    if config.freeze not in ("none", "backbone", *names):
        known = ["none", "backbone", *names]
        raise ConfigError(
            f"model.freeze={config.freeze}: {config.name} has no such stage.{did_you_mean(config.freeze, known)} "
            f"There are {', '.join(known)}; a stage is frozen with all before it"
        )
    last = {"none": 0, "backbone": len(names)}.get(config.freeze)
    frozen = names[: names.index(config.freeze) + 1] if last is None else names[:last]
    return [parameter for name in frozen for parameter in by_stage[name]]


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
