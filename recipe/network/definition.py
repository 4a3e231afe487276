"""What defines a network beside its name: the keys of `model` that change what it computes from an image.

They go where its weights go. Every key of the schema is one, but for those that are named here. Knows no torch.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from recipe import __version__, stored_config
from recipe.config import ModelConfig
from recipe.errors import ConfigError
from recipe.network.weights import exported, kind_of
from recipe.stored_config import text

# Keys that change nothing that a trained network computes, with the reason.
EXCLUDED = {
    "name": "it is what the others are told beside",
    "source": "it belongs to the name",
    "weights": "what the network starts from",
    "weights_cache": "where that is kept",
    "init": "what the network starts from",
    "zero_init_residual": "what the network starts from",
    "sync_batch_norm": "whose statistics a training step takes",
    "freeze": "which layers are trained",
    "frozen_batch_norm": "how frozen layers behave in training",
    "head_dropout": "it does something in training alone",
}
# Other values are other names or shapes of tensors: what does not fit is said or refused without asking these keys.
TOLD_BY_TENSORS = ("stem", "head", "head_width")
ENTRY = "network"  # of an exported file's metadata
EARLIER_ENTRIES = ("stem", "head", "head_width", "args")  # of files without that one


def names() -> list[str]:
    """The names of the keys of `model` that define a network, in the schema's order."""
    return [item.name for item in fields(ModelConfig) if item.name not in EXCLUDED]


def chosen(model: ModelConfig) -> dict[str, Any]:
    """Those keys that are not at their default, with their values."""
    return {name: value for name in names() if (value := getattr(model, name)) != _default(name)}


def shown(model: ModelConfig) -> dict[str, Any]:
    """The chosen keys that no name or shape of a tensor tells."""
    return {name: value for name, value in chosen(model).items() if name not in TOLD_BY_TENSORS}


def said(about: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """The keys that an exported file says its network was made with. Raises ConfigError where one is not known.

    Args:
        about: its metadata, as `exported` reads them; of earlier versions too.
        weights: what the file is called.
    """
    found: dict[str, Any] = about.get(ENTRY, {name: about[name] for name in EARLIER_ENTRIES if name in about})
    unknown = found.keys() - {item.name for item in fields(ModelConfig)}
    if unknown:
        raise ConfigError(
            f"model.weights={weights} are of a network made with {written(found)}, and recipe-ladder {__version__} has "
            f"no {', '.join(f'model.{name}' for name in sorted(unknown))}: a newer version wrote the file"
        )
    return found


def of_weights(weights: str | None) -> dict[str, Any] | None:
    """The keys of the network that weights are of, a run's or an exported file's; None where nothing tells.

    Raises ConfigError and RunError.
    """
    kind = kind_of(weights) if weights is not None else ""
    if kind == "run":
        return chosen(stored_config.load(Path(str(weights)) / "config.yaml").model)
    about = exported(str(weights)) if kind == "file" and Path(str(weights)).exists() else {}
    return said(about, str(weights)) if about else None


def differences(model: ModelConfig) -> dict[str, tuple[Any, Any]]:
    """The keys in which the network that `model.weights` are of differs, and no tensor tells it: its value, and ours.

    Raises ConfigError and RunError.
    """
    theirs = of_weights(model.weights)
    if theirs is None:
        return {}
    both = {name: (theirs.get(name, _default(name)), getattr(model, name)) for name in names()}
    return {name: (its, ours) for name, (its, ours) in both.items() if its != ours and name not in TOLD_BY_TENSORS}


def written(values: Mapping[str, Any]) -> str:
    """Keys of `model` with their values, as a command line has them."""
    return " ".join(f"model.{name}={text(value)}" for name, value in values.items())


def _default(name: str) -> Any:
    return {item.name: item.metadata["default"] for item in fields(ModelConfig)}[name]
