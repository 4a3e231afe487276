"""What a config key is: its value, the values that it may take, what it can change; and how all of a config are listed.

Imports neither torch nor Hydra, as `recipe.config`, which is made of these.
"""

from collections.abc import Iterator, Mapping
from dataclasses import field, fields, is_dataclass
from typing import Any

MISSING = "???"  # OmegaConf's mark for a value that a config file must set


def key(
    default: Any = MISSING,
    *,
    choices: tuple[str, ...] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    affects: str = "weights",
    used_by: Mapping[str, tuple[str, ...]] | None = None,
    since: str | None = None,
    unit: str | None = None,
    counts_as: Mapping[str, str] | None = None,
) -> Any:
    """A config key with the values it may take, and what it can change.

    Args:
        affects: "weights" (part of the training hash), "result" (how the trained weights are evaluated: two runs that
            differ only there are one training) or "nothing" (paths, logging, ...). Folder names leave out the last.
        used_by: {"name": ("sgd", "rmsprop")}: it does something only where its neighbour `name` has one of these
            values; {"decay": ()}: only where `decay` is set. Elsewhere it is refused by hand, and its default counts.
        since: the version that brought it. At its default it is in no hash, so that earlier runs stay the same runs.
        unit: of the number. `scale=…` multiplies the values in some units (`recipe/plan/scaling.py`).
        counts_as: {"auto": "default"}: in names and hashes a value stands as another, with which it is one experiment.
    """
    limits = {"choices": choices, "at_least": at_least, "above": above, "at_most": at_most, "below": below}
    about = {**limits, "affects": affects, "used_by": used_by, "since": since, "unit": unit, "default": default}
    about["counts_as"] = counts_as
    metadata = {name: value for name, value in about.items() if value is not None or name == "default"}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def section(kind: type) -> Any:
    """A group of keys: one folder of `conf/`."""
    return field(default_factory=kind)


def counted(value: Any, about: Mapping[str, Any]) -> Any:
    """A key's value as it stands in names and hashes; `about`: what the schema says of the key."""
    return about["counts_as"].get(value, value) if "counts_as" in about else value


def leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """(dotted key, value, what the schema says of it) for every key of a config."""
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield from leaves(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", value, dict(item.metadata)
