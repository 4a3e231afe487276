"""What trainings that have not begun will take, in device-hours: by the speed of earlier runs, or a rate that is given.

Reads JSON alone, and neither YAML nor PyTorch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe.config import Config
from recipe.data.known import KNOWN
from recipe.errors import RunError
from recipe.files import read_json
from recipe.ingredients.resizing import pixels_of


@dataclass(frozen=True)
class Rate:
    """How fast something trains."""

    images_per_second: float  # of one device, evaluations included
    source: str  # where that is from, in words


@dataclass(frozen=True)
class Earlier:
    """What finished runs tell of those to come."""

    rates: Mapping[tuple[Any, ...], float]  # images a second and device, by `_kind`; the newest run's
    images: Mapping[tuple[Any, ...], int]  # of a training set, by `_data`


def earlier(folders: Iterable[Path]) -> Earlier:
    """What the finished runs among these folders tell. Runs that say too little are left out."""
    rates: dict[tuple[Any, ...], tuple[float, float]] = {}
    images: dict[tuple[Any, ...], int] = {}
    for folder in folders:
        try:
            about = read_json(folder / "environment.json", "config")
            values: Mapping[str, Any] = about["config"]
            path = folder / "result.json"
            result = read_json(path, "images_seen", "device_seconds") if path.exists() else {}
            if (train := (about.get("images") or {}).get("train")) is not None:
                images[_data(values, result.get("data_root"))] = int(train)
            if not result:
                continue
            if "trained_in" in result or not result["device_seconds"] > 0:
                continue  # it has evaluated the weights of another
            when = path.stat().st_mtime
            rate = result["images_seen"] / result["device_seconds"]
            rates[_kind(values)] = max((when, rate), rates.get(_kind(values), (0.0, 0.0)))
        except (RunError, OSError, KeyError, TypeError, ValueError, AttributeError):
            continue
    return Earlier({kind: rate for kind, (_, rate) in rates.items()}, images)


def rate_of(config: Config, known: Earlier, given: float | None = None) -> Rate | None:
    """How fast a run will train; None where nothing is known.

    Args:
        given: images a second of a device, at the run's resolution.
    """
    if given is not None:
        return Rate(given, "as given")
    values = _values(config)
    if (measured := known.rates.get(_kind(values))) is not None:
        return Rate(measured, "as earlier runs here")
    similar = [
        (kind[-1], rate) for kind, rate in known.rates.items() if kind[:-1] == _kind(values)[:-1]
    ]  # at another resolution: in proportion to the pixels
    if similar:
        own = _kind(values)[-1]
        size, measured = min(similar, key=lambda each: abs(each[0] - own))
        return Rate(measured * (size / own) ** 2, f"as earlier runs here, of {size:g} pixels")
    return None


def num_images(config: Config, option: str | None, known: Earlier) -> int | None:
    """Images of the training set: as earlier runs found them, or as the data set is known; None where neither is.

    Args:
        option: the choice of `data`.
    """
    if config.data.name == "synthetic":
        return config.data.size
    found = known.images.get(_data(_values(config), config.data.root))
    if found is None and option in KNOWN and config.data.folds is None and config.data.val_fraction is None:
        found = KNOWN[option].images["train"]
    return found


def device_hours(config: Config, images: int, rate: Rate) -> float:
    """Hours that one device would take for the whole run; evaluations are in the rate."""
    steps = config.epochs * max(1, images // config.batch_size)
    if config.max_steps is not None:
        steps = min(steps, config.max_steps)
    return steps * config.batch_size / rate.images_per_second / 3600


def _values(config: Config) -> dict[str, Any]:
    return {
        "model.name": config.model.name,
        "model.source": config.model.source,
        "model.freeze": config.model.freeze,
        "runtime.precision": config.runtime.precision,
        "epochs": config.epochs,
        **{f"resolution.{name}": value for name, value in vars(config.resolution).items()},
        **{f"data.{name}": getattr(config.data, name) for name in ("name", "folds", "val_fraction")},
    }


def _kind(values: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides how long an image takes, pixels last. (Not all versions wrote all keys.)"""
    names = ("model.name", "model.source", "model.freeze", "runtime.precision")
    defaults = {"model.source": "torchvision", "model.freeze": "none"}
    told = pixels_of(values)  # mean of a run's: they may grow
    side = None if told is None else round(told**0.5, 1)
    return *(values.get(name, defaults.get(name)) for name in names), side


def _data(values: Mapping[str, Any], root: str | None) -> tuple[Any, ...]:
    """What decides how many images there are: of one's own folders, which one."""
    own = root if values.get("data.name") == "imagefolder" else None
    return (own, *(values.get(f"data.{name}") for name in ("name", "folds", "val_fraction")))
