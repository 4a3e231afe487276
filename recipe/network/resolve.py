"""`model.weights` as a run takes it: a path is made absolute, DEFAULT a name. What it is must be there."""

import os
from dataclasses import replace

from recipe.config import ModelConfig
from recipe.network import definition
from recipe.network.weights import check_package, file_of, kind_of


def resolved(model: ModelConfig) -> ModelConfig:
    """The model with its weights by an absolute path and without DEFAULT. Raises ConfigError where there are no such.

    Only for published weights their source is imported.
    """
    if model.weights is None:
        return model
    given = os.path.expanduser(model.weights)
    if model.weights_cache is not None:
        model = replace(model, weights_cache=os.path.abspath(os.path.expanduser(model.weights_cache)))
    kind = kind_of(given)
    if kind == "package":
        check_package(model)
        return model
    if kind == "name":
        from recipe.network.zoo import name_of  # PyTorch

        return replace(model, weights=name_of(model))
    path = os.path.abspath(given)
    file_of(path)
    if kind == "file":
        definition.of_weights(path)  # refuses a network that this version cannot make
    return replace(model, weights=path)
