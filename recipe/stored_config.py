"""Configs and their values as text: as run folders hold them, and as a command line has them. Needs no Hydra."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from recipe.config import Config
from recipe.errors import unreadable


def load(path: Path) -> Config:
    """The resolved config of a run folder. Raises RunError."""
    try:
        return typed(OmegaConf.load(path))
    except (OSError, ValueError, TypeError, RecursionError, YAMLError, OmegaConfBaseException, AttributeError) as error:
        raise unreadable(path, error) from error


def data_root(path: Path) -> str | None:
    """The data.root of a run folder's config, and nothing else of it: a tenth of the time. Raises RunError."""
    try:
        with path.open("rb") as file:
            return yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["data"]["root"]
    except (OSError, ValueError, TypeError, LookupError, RecursionError, YAMLError) as error:
        raise unreadable(path, error) from error


def to_yaml(config: Config) -> str:
    """The resolved config as YAML."""
    values = OmegaConf.structured(config)
    return OmegaConf.to_yaml(without(values, "rung"))


def typed(values: Any) -> Config:
    """The config that holds these values, as OmegaConf read or composed them; a key left out has its default."""
    known = {key: value for key, value in values.items_ex(resolve=False) if key != "rung"}
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), known))
    assert isinstance(config, Config)
    return config


def without(values: Any, key: str) -> DictConfig:
    """The same values but those below one of the outermost keys; what is given stays as it is."""
    return OmegaConf.masked_copy(values, [str(name) for name in values if name != key])


def text(value: Any) -> str:
    """A value as it is written on the command line; numbers in one form (0.4, .4 and 0.40 are one run)."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format(value, ".12g")
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{text(value[name])}' for name in sorted(value))}}}"
    if isinstance(value, list | tuple):  # evaluate.grid's entries are written as in the names of the first runs
        return f"[{','.join(str(item) if isinstance(item, dict) else text(item) for item in value)}]"
    return str(value)
