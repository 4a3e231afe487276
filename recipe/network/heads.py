"""Classifiers of several layers in place of a model's last linear layer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recipe.config import Config
from recipe.errors import ConfigError
from recipe.network.stages import Head, head_names


def set_head(model: nn.Module, config: Config, num_classes: int) -> None:
    """Put `model.head` in the place of the model's own classifier. Raises ConfigError where that cannot be done."""
    HEADS[config.model.head](model, config, num_classes)


class ConcatPool(nn.Module):
    """(n, c, h, w) → (n, 2c, 1, 1): the mean over all positions, then the maximum."""

    def forward(self, features: Tensor) -> Tensor:
        """The pooled features."""
        return torch.cat([features.mean((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)], 1)


def _linear(model: nn.Module, config: Config, num_classes: int) -> None:
    """The model's own. On weights it starts as PyTorch's linear layers do, uniform in ±1/√features.

    (timm's EfficientNets start theirs for training from scratch, ±1/√classes: with 14 classes logits of thousands of
    trained features are then far from 0, and a short fine-tuning spends its time on unlearning them.)
    """
    if config.model.weights is None:
        return
    for name in head_names(model):
        layer = model.get_submodule(name)
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()


def _mlp(model: nn.Module, config: Config, num_classes: int) -> None:
    """Linear → ReLU → dropout → Linear; with loss=nll, logarithms of probabilities instead of logits."""
    name, own = _own_classifier(model, config)
    width, dropout = config.model.head_width, config.model.head_dropout
    layers = [nn.Linear(own.in_features, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, num_classes)]
    if config.loss.name == "nll":
        layers.append(nn.LogSoftmax(1))
    model.set_submodule(name, Head(*layers))


def _concat_pool(model: nn.Module, config: Config, num_classes: int) -> None:
    """Mean and maximum of the feature maps → norm → dropout p/2 → Linear → ReLU → norm → dropout p → Linear.

    No biases; the linear layers start as He et al. (2015) propose.
    """
    if config.model.source == "timm":
        name, features = _pool_timm(model, config, num_classes)
    else:
        name, features = _pool_torchvision(model, config)
    width, dropout = config.model.head_width, config.model.head_dropout
    head = Head(
        nn.BatchNorm1d(features),
        nn.Dropout(dropout / 2),
        nn.Linear(features, width, bias=False),
        nn.ReLU(),
        nn.BatchNorm1d(width),
        nn.Dropout(dropout),
        nn.Linear(width, num_classes, bias=False),
    )
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
    model.set_submodule(name, head)


HEADS: dict[str, Callable[[nn.Module, Config, int], None]] = {
    "linear": _linear,
    "mlp": _mlp,
    "concat_pool": _concat_pool,
}


def _own_classifier(model: nn.Module, config: Config) -> tuple[str, nn.Linear]:
    """Name and layer. Raises ConfigError where it is not one linear layer."""
    names = head_names(model)
    own = model.get_submodule(names[-1]) if len(names) == 1 else None
    if not isinstance(own, nn.Linear):
        raise ConfigError(
            f"model.head={config.model.head}: {config.model.name} does not end in one linear layer that it could "
            "take the place of; use model.head=linear"
        )
    return names[0], own


def _pool_torchvision(model: nn.Module, config: Config) -> tuple[str, int]:
    """Replace the average pooling. Returns the name of the classifier and the features that it is now given."""
    name, own = _own_classifier(model, config)
    layers = [layer for layer, _ in model.named_modules()]
    pool = getattr(model, "avgpool", None)
    after = layers[layers.index("avgpool") + 1 :] if "avgpool" in layers else []
    between = [layer for layer in after if layer != name and any(True for _ in _parameters(model, layer))]
    if not isinstance(pool, nn.AdaptiveAvgPool2d) or pool.output_size not in (1, (1, 1)) or between:
        raise _no_pool(config)
    model.avgpool = ConcatPool()
    return name, 2 * own.in_features


def _parameters(model: nn.Module, layer: str) -> list[nn.Parameter]:
    return list(model.get_submodule(layer).parameters(recurse=False))


def _pool_timm(model: nn.Module, config: Config, num_classes: int) -> tuple[str, int]:
    """timm's models can be given this pooling by name."""
    features = _own_classifier(model, config)[1].in_features
    try:
        model.reset_classifier(num_classes, "catavgmax")  # type: ignore[operator]
    except Exception as error:
        raise _no_pool(config) from error
    name, own = _own_classifier(model, config)
    if own.in_features != 2 * features:
        raise _no_pool(config)
    return name, own.in_features


def _no_pool(config: Config) -> ConfigError:
    return ConfigError(
        f"model.head=concat_pool: {config.model.name} has no average pooling of its feature maps right before its "
        "classifier; ResNets have (model.head=mlp or linear fits most models)"
    )
