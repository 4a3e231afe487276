"""The plans of a sweep's jobs: those that differ in plain values (seed=3, optimizer.lr=0.2) are composed by Hydra once.

To Hydra a plain value is what is set last, in what it has composed from files. So the jobs of a sweep are composed
without their plain values; these are then set in it, or where no other value follows from them, in its config.
"""

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from recipe.config import Config
from recipe.plan import compose
from recipe.plan.ablations import key_of
from recipe.plan.compose import Composition, Plan
from recipe.schema import leaves

PLAIN = int | float | str | bool | None
SIMPLE_RESOLVERS = ("oc.env", "step_size", "outputs", "multirun_outputs")  # which look at their arguments alone


@dataclass
class Composed:
    """What Hydra has composed for jobs that differ in plain values alone."""

    config: DictConfig  # with the plain values of the job that was planned last
    made: Composition  # of the first of the jobs
    texts: dict[str, str]  # its plain overrides by key
    named: frozenset[str]  # words in values that follow from others: seed, of "${outputs:}/stage/seed=${seed}"
    asks_hydra: bool  # whether some value looks into `${hydra:…}`


class Composer:
    """Plans of the jobs of one sweep."""

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        """Prepare. `master`: what Hydra composed for the sweep itself."""
        self._loader, self._master = loader, master
        self._known: dict[tuple[str, ...], Composed] = {}

    def plan(self, overrides: Sequence[str], number: int) -> Plan:
        """The plan of a job with its folder. Raises ConfigError, and what Hydra raises.

        Args:
            overrides: of the job's command line.
            number: of the job in its sweep.
        """
        plain = plain_overrides(overrides)
        form = tuple(f"{key_of(text)}=" if key_of(text) in plain else text for text in overrides)
        known = self._known.get(form)
        if known is None:
            known = self._known[form] = self._compose(overrides, plain)
            return self._with_folder(known, compose.planned(known.made), number)
        changed = {key: text for key, text in plain.items() if text != known.texts[key]}
        if changed and any(known.named.intersection(key.split(".")) for key in changed):
            return self._with_folder(fresh := self._compose(overrides, plain), compose.planned(fresh.made), number)
        made = replace(known.made, overrides=tuple(overrides), unscaled=deepcopy(known.made.unscaled))
        self._set(known.config, overrides, plain)
        for key in changed:
            *section, name = key.split(".")
            value = OmegaConf.select(known.config, key)  # in the schema's type: 1 of optimizer.lr=1 is 1.0
            setattr(getattr(made.unscaled, section[0]) if section else made.unscaled, name, value)
        return self._with_folder(known, compose.planned(made), number)

    def _compose(self, overrides: Sequence[str], plain: dict[str, str]) -> Composed:
        """Compose a job. Its plain values are left to `_set`, unless Hydra has something to say of one."""
        try:
            rest = [text for text in overrides if key_of(text) not in plain]
            config = self._loader.load_sweep_config(self._master, rest)
            self._set(config, overrides, plain)
        except (HydraException, OmegaConfBaseException):
            config = self._loader.load_sweep_config(self._master, list(overrides))
        values: Any = OmegaConf.to_container(compose.without(config, "hydra"), resolve=False)
        sweep: Any = OmegaConf.to_container(config.hydra.sweep, resolve=False)
        asks_hydra = any("${hydra:" in text for text in _interpolations([values, sweep]))
        named = frozenset(word for text in _interpolations(values) for word in _words(text))
        return Composed(config, compose.composition(config, config.hydra), plain, named, asks_hydra)

    def _set(self, config: DictConfig, overrides: Sequence[str], plain: dict[str, str]) -> None:
        """Set a job's plain values as Hydra does, in what it has composed for another one."""
        parsed = [_parsed(text) for text in overrides]
        ConfigLoaderImpl._apply_overrides_to_config([_parsed(text) for text in plain.values()], config)
        OmegaConf.copy_cache(from_config=self._master, to_config=config)
        with open_dict(config):
            config.hydra.overrides.task = [each.input_line for each in parsed]
            about = config.hydra.job.config.override_dirname
            config.hydra.job.override_dirname = get_overrides_dirname(
                parsed, kv_sep=about.kv_sep, item_sep=about.item_sep, exclude_keys=about.exclude_keys
            )

    def _with_folder(self, known: Composed, plan: Plan, number: int) -> Plan:
        """The plan in the folder that `hydra.sweep` names for it."""
        config = known.config
        with open_dict(config):
            config.hydra.job.id, config.hydra.job.num = number, number
            raw: Any = config.hydra.sweep._get_node("subdir")._value()
            subdir = raw.replace("${run_name:}", plan.name)  # which it would plan again
            config.hydra.sweep.subdir = subdir
        try:
            if known.asks_hydra:
                let_interpolations_see(config)
            folder = Path(config.hydra.sweep.dir).absolute() / config.hydra.sweep.subdir
        finally:
            config.hydra.sweep.subdir = raw
            if known.asks_hydra:
                let_interpolations_see(self._master)
        return replace(plan, folder=folder)


def let_interpolations_see(config: DictConfig) -> None:
    """Make a configuration the one that `${hydra:…}` looks into: Hydra holds one for the process."""
    HydraConfig.instance().set_config(config)
    OmegaConf.set_readonly(config.hydra, False)


def plain_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """The overrides among these that give one key of the schema one plain value, by key: no group, list or `${…}`."""
    keys = [key_of(text) for text in overrides]
    return {
        key: text
        for key, text in zip(keys, overrides, strict=True)
        if keys.count(key) == 1 and text.startswith(f"{key}=") and key in _scalars() and _is_plain(text)
    }


@cache
def _scalars() -> frozenset[str]:
    """The keys that hold one value."""
    return frozenset(key for key, value, _ in leaves(Config()) if not isinstance(value, dict | list) and key != "rung")


@lru_cache(maxsize=4096)
def _parsed(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


@lru_cache(maxsize=4096)
def _is_plain(override: str) -> bool:
    try:
        parsed = _parsed(override)
        return not parsed.is_sweep_override() and isinstance(parsed.value(), PLAIN) and "${" not in override
    except HydraException:
        return False


def _interpolations(values: Any) -> Iterator[str]:
    """All text in nested values that OmegaConf fills in."""
    if isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _interpolations(value)
    elif isinstance(values, str) and "${" in values:
        yield values


def _words(text: str) -> Iterator[str]:
    """The names in a text that may be keys; all of them where a resolver may look at any key."""
    resolvers = re.findall(r"\$\{\s*([\w.]+):", text)
    if "${${" in text or "${." in text or any(name not in SIMPLE_RESOLVERS for name in resolvers):
        for key in _scalars():
            yield from key.split(".")
    yield from re.findall(r"\w+", text)
