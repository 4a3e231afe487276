"""Leave-one-out and add-one-in: `+recipe=v2 +without=mixup`, `+recipe=r01_lr_optimizations +with=[mixup,ema]`.

An option is a file of `conf/without/` or `conf/with/` with values of its own, which come after the recipe's.
"""

from collections.abc import Callable, Iterator
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from recipe.config import Config
from recipe.errors import ConfigError
from recipe.plan.rungs import RECIPE_GROUPS

ABLATIONS = ("without", "with")


def step_size(schedule: str, epochs: int) -> float:
    """Epochs between two decays: of a step schedule the baseline's share of the run, else the baseline's number.

    In steps of 30 epochs, a run of 600 would spend its second half at learning rates of 1e-11 and less.
    """
    baseline = Config()
    share = epochs * baseline.schedule.step_size / baseline.epochs
    return share if schedule == "step" else baseline.schedule.step_size


def chosen(overrides: list[str]) -> Iterator[tuple[str, str, str]]:
    """(override, "without" or "with", option) for each ingredient that a command line leaves out or adds."""
    for override in overrides:
        group = key_of(override)
        if group in ABLATIONS:
            value = OverridesParser.create().parse_override(override).value()
            options = value if isinstance(value, list) else [value]
            if not options:
                raise ConfigError(f"{override} names no ingredient: leave it out, or name one")
            yield from ((override, group, str(option)) for option in options)


def key_of(override: str) -> str:
    """What stands on the left of an override's `=`."""
    return override.split("=", 1)[0].lstrip("+~").split("@")[0]


def check_ablations(
    composed: DictConfig, overrides: list[str], about_hydra: tuple[str, ...], compose: Callable[..., DictConfig]
) -> None:
    """Refuse an option that changes nothing, or does not hold: the run would bear the name of another experiment.

    A value on the command line may stand for that of a `with` (`+with=mixup mix.mixup_alpha=0.4`). Of a `without` it
    may do so only where the value follows from others (`${…}`).

    Args:
        composed: what Hydra composed for `overrides`, without its own part.
        about_hydra: overrides of `hydra.*`, which may name further config folders.
        compose: from a tuple of overrides to what Hydra composes for it.

    Raises:
        ConfigError: with one message.
    """
    here = _values(composed, resolve=True)
    unresolved = _values(composed)
    for override, group, option in chosen(overrides):
        own = _own_values(group, option, about_hydra)
        literal = {key_of(other) for other in overrides}
        free = {key for key in own if group == "with" or "${" in str(own[key])} & literal
        lost = [key for key in own if unresolved[key] != own[key] and key not in free]
        if lost:
            said, given = _written({key: own[key] for key in lost}), _written({key: here[key] for key in lost})
            name, recipe = f"+{group}={option}", _recipe(overrides)
            if overrides.index(recipe) > overrides.index(override):
                raise ConfigError(f"{name} must come after {recipe}: in this order the run has {given}, not {said}")
            raise ConfigError(f"{name} stands for {said}, but the command line gives {given}: leave one of the two out")
        others = (other for other in overrides if other != override and key_of(other) not in own)
        before = _values(compose((*about_hydra, *others)), resolve=True)
        if all(here[key] == before[key] for key in own):
            has = _written({key: before[key] for key in own})
            raise ConfigError(f"+{group}={option} changes nothing: {_recipe(overrides)} has {has} without it")


def _own_values(group: str, option: str, about_hydra: tuple[str, ...]) -> dict[str, Any]:
    """The values of an option's file and of the files that it takes in, by dotted key."""
    loader = GlobalHydra.instance().config_loader()
    try:
        alone = loader.load_configuration(
            f"{group}/{option}", list(about_hydra), run_mode=RunMode.RUN, from_shell=False
        )
    except ConfigCompositionException as error:
        raise ConfigError(
            f"{group}/{option}: its defaults may take in files (/mix/mixup), but not choose groups "
            "(override /mix: mixup): the recipe's choice would win"
        ) from error
    return _values(alone)


def _recipe(overrides: list[str]) -> str:
    return next(override for override in overrides if key_of(override) in RECIPE_GROUPS)


def _values(config: DictConfig, resolve: bool = False) -> dict[str, Any]:
    """The values by dotted key, without those of Hydra and of the recipe file itself."""
    found: dict[str, Any] = {}

    def walk(values: dict[Any, Any], prefix: str) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")
            else:
                found[f"{prefix}{name}"] = value

    task = OmegaConf.masked_copy(config, [str(name) for name in config if name not in ("hydra", "rung")])
    content: Any = OmegaConf.to_container(task, resolve=resolve)
    walk(content, "")
    return found


def _written(values: dict[str, Any]) -> str:
    return " ".join(f"{key}={_number(value)}" for key, value in values.items())


def _number(value: Any) -> str:
    return "null" if value is None else format(value, "g") if isinstance(value, float) else str(value)
