"""Which runs are the same: the keys that count, and their hashes. Keys that do nothing in a config do not count."""

from typing import Any

from recipe.config import Config
from recipe.network.weights import identity
from recipe.plan.inert import inert
from recipe.plan.naming import hash_of
from recipe.schema import counted, leaves


def training_hash(config: Config) -> str:
    """Hash of every key that can change the weights; with a plateau or early stopping, evaluations can."""
    return digest(config, _of_training(config))


def _of_training(config: Config) -> set[str]:
    evaluations_count = config.schedule.name == "plateau" or config.early_stopping.patience is not None
    return {"weights", "result"} if evaluations_count else {"weights"}


def digest(config: Config, affects: set[str]) -> str:
    """Hash of the keys that affect one of these, "weights", "result": 16 hexadecimal digits."""
    return hash_of(values_of(config, affects))


def values_of(config: Config, affects: set[str]) -> dict[str, Any]:
    """The keys that affect one of these, by dotted name; weights by their content, so without paths.

    A key that does nothing here has its default, and one that came with a later version is in it only away from its
    default: so that runs that are the same training have the same hash, in versions to come too.
    """
    idle = inert(config)
    found = {}
    for key, value, about in leaves(config):
        default = about["default"]
        if about["affects"] in affects and ("since" not in about or value != default):
            value = counted(value, about)
            found[key] = default if key in idle else identity(value) if key == "model.weights" else value
    return found


def former_hashes(config: Config) -> dict[str, str]:
    """The hashes of this run before keys that do nothing were set to their defaults in them."""

    def former(affects: set[str]) -> str:
        known = [item for item in leaves(config) if item[2]["affects"] in affects and "since" not in item[2]]
        values = {key: counted(value, about) for key, value, about in known}
        return hash_of({key: identity(value) if key == "model.weights" else value for key, value in values.items()})

    return {"training": former(_of_training(config)), "result": former({"weights", "result"})}
