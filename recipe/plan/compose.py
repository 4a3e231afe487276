"""From Hydra's composed dict to a plan: the scaled, checked config of one run, its folder's name and its hashes."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from recipe.config import Config
from recipe.errors import ConfigError
from recipe.network import available
from recipe.network.resolve import resolved
from recipe.network.weights import identity, kind_of
from recipe.plan.ablations import check_ablations, key_of, step_size
from recipe.plan.checks import check
from recipe.plan.choices import SECTIONS, check_earlier_stage, check_groups_survive, check_keys, chosen_recipe
from recipe.plan.command_line import for_hydra
from recipe.plan.cross_checks import check_not_taken_for_the_demo
from recipe.plan.hashes import digest, former_hashes, training_hash
from recipe.plan.inert import inert, refuse_inert
from recipe.plan.launcher_config import LAUNCHERS, SWEEPER
from recipe.plan.naming import run_name
from recipe.plan.rungs import CONF, IN_CHECKOUT, PACKAGE, RECIPE_GROUPS, Rung, chain, choice, recipe_file, rung
from recipe.plan.scaling import refuse_vanishing, scale
from recipe.schema import counted, leaves
from recipe.stored_config import text, typed, without

PROJECT = PACKAGE.parent if IN_CHECKOUT else Path()  # where outputs go, unless $RECIPE_OUTPUTS says otherwise
_waiting: dict[str, "Plan"] = {}  # by what it was made of, the plan that named the folder of a run about to begin


@dataclass(frozen=True)
class Plan:
    """One run, before anything is loaded: what to train and where its folder is."""

    config: Config
    rung: Rung
    name: str  # of the run folder, the same for all seeds
    folder: Path
    training_hash: str  # of every key that can change the weights
    result_hash: str  # of those and the keys that say how the weights are evaluated
    former_hashes: dict[str, str]  # the same two, as version 0.1 made them at first: its run folders have them
    chain: tuple[str, ...]  # the recipes that it builds on, from the first, and itself
    differences: dict[str, str]  # from the recipe, as the name has them: data and scale by choice, other keys by value
    overrides: tuple[str, ...]  # of the command line
    literal: frozenset[str]  # the dotted keys among them
    hydra_files: dict[str, str]  # file name → text: the contents of .hydra/

    @property
    def hashes(self) -> dict[str, str]:
        """Hashes of what is trained, and of what is trained and how it is evaluated."""
        return {"training": self.training_hash, "result": self.result_hash}


def register() -> None:
    """Make the schema, the folder names and the launchers' keys known to Hydra. Called once, before Hydra starts."""
    ConfigStore.instance().store(name="schema", node=_schema())
    for name, node in LAUNCHERS.items():
        ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="recipe_launcher")
    # Hydra's own params=null take no values from a command line.
    sweeper = BasicSweeperConf(_target_=SWEEPER, params={})
    ConfigStore.instance().store(group="hydra/sweeper", name="basic", node=sweeper, provider="hydra")
    root = Path(os.environ.get("RECIPE_OUTPUTS") or PROJECT).resolve()
    OmegaConf.register_new_resolver("outputs", lambda: str(root / "outputs"), replace=True)
    OmegaConf.register_new_resolver("multirun_outputs", lambda: str(root / "multirun_outputs"), replace=True)
    OmegaConf.register_new_resolver("step_size", step_size, replace=True)  # of conf/without and conf/with
    # Hydra resolves the name before it makes the folder, so that a wrong config leaves none behind.
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)


def _schema() -> Any:
    """The schema as Hydra reads it. Dicts take any keys: Hydra would let none be added on the command line."""
    schema = OmegaConf.structured(Config)
    for dotted, value, _ in leaves(Config()):
        if isinstance(value, dict):
            OmegaConf.set_struct(OmegaConf.select(schema, dotted), False)
    return schema


def _run_name(_root_: Any) -> str:
    """The name of a run's folder, which Hydra asks for first: the plan waits for `plan_of_this_run`."""
    made = plan(_root_, _root_.hydra)
    _waiting.clear()
    _waiting[_ingredients_of(_root_, _root_.hydra)] = made
    return made.name


def plan_of_this_run(composed: DictConfig) -> Plan:
    """The plan of the run that Hydra has begun, made once: where it named the folder, it is that one.

    Raises ConfigError with one message.
    """
    hydra: Any = HydraConfig.get()
    made = _waiting.pop(_ingredients_of(composed, hydra), None) if _waiting else None
    if made is None:  # the folder was named by hand
        return plan(composed, hydra)
    hydra_files = {**made.hydra_files, "hydra.yaml": OmegaConf.to_yaml(hydra)}
    return replace(made, folder=Path(hydra.runtime.output_dir), hydra_files=hydra_files)


def _ingredients_of(composed: Any, hydra: Any) -> str:
    """All that a plan is made of, as text; not where the run's folder is, which is known only with its name."""
    values = OmegaConf.to_yaml(without(composed, "hydra"), resolve=True)
    return "\n".join((values, OmegaConf.to_yaml(hydra.overrides), str(hydra.runtime.config_sources)))


@dataclass(frozen=True)
class Composition:
    """What Hydra composed for one run, in values: all that a plan is made of."""

    unscaled: Config
    as_they_stand: frozenset[str]  # the keys that `scale` leaves alone
    overrides: tuple[str, ...]  # of the command line
    about_hydra: tuple[str, ...]  # overrides of `hydra.*`
    rung: Rung
    chain: tuple[str, ...]

    @property
    def literal(self) -> frozenset[str]:
        """The dotted keys of the command line."""
        return frozenset(key_of(override) for override in self.overrides)


def composition(composed: Any, hydra: Any) -> Composition:
    """What Hydra composed, if the choices of the command line hold in it. Raises ConfigError with one message.

    Args:
        composed: with or without `hydra`, Hydra's own part.
    """
    given: Any = OmegaConf.to_container(hydra.overrides, resolve=False)  # ${…} in them is theirs to resolve
    overrides, about_hydra = given["task"], tuple(given["hydra"])
    composed = without(composed, "hydra")
    check_keys(composed)
    recipe = chosen_recipe(overrides)
    check_groups_survive(composed, overrides, about_hydra, _compose)
    check_ablations(composed, overrides, about_hydra, _compose)
    sources = [source.path for source in hydra.runtime.config_sources]
    literal = frozenset(key_of(override) for override in overrides)
    return Composition(
        unscaled=typed(composed),
        as_they_stand=_unscaled(literal, composed),
        overrides=tuple(overrides),
        about_hydra=about_hydra,
        rung=rung(recipe, sources),
        chain=tuple(chain(recipe, sources)),
    )


def planned(of: Composition, to_run: bool = True) -> Plan:
    """The plan of a run, scaled and checked; without its folder. Raises ConfigError with one message.

    Args:
        to_run: otherwise it is only looked at, and a file or run of weights need not be there.
    """
    overrides, literal = list(of.overrides), of.literal
    config = scale(of.unscaled, of.as_they_stand)
    root = config.data.root  # empty where $IMAGENET_DIR is
    config.data.root = os.path.abspath(os.path.expanduser(root)) if root else None
    check(config, int(os.environ.get("WORLD_SIZE", "1")))
    refuse_inert(config, literal)
    refuse_vanishing(config, literal)
    if to_run:
        check_not_taken_for_the_demo(config)
        check_earlier_stage(config, overrides)
    _check_model(config)
    _check_model_args(config)
    _check_timm_optimizer(config)

    differences = _differences(config, overrides, of.about_hydra)
    if not to_run and config.model.weights is not None and kind_of(config.model.weights) == "file":
        config.model.weights = None
    config.model = resolved(config.model)
    if "model.weights" in differences and config.model.weights is not None:
        differences["model.weights"] = text(identity(config.model.weights))
    return Plan(
        config=config,
        rung=of.rung,
        name=run_name(of.rung.name, differences),
        folder=Path(),
        training_hash=training_hash(config),
        result_hash=digest(config, {"weights", "result"}),
        former_hashes=former_hashes(config),
        chain=of.chain,
        differences=differences,
        overrides=of.overrides,
        literal=literal,
        hydra_files={},
    )


def plan(composed: Any, hydra: Any, to_run: bool = True) -> Plan:
    """The plan of one run, from what Hydra composed. Raises ConfigError with one message.

    Args:
        composed: with or without `hydra`, Hydra's own part.
        to_run: otherwise it is only looked at, and a file or run of weights need not be there.
    """
    made = planned(composition(composed, hydra), to_run)
    output_dir = OmegaConf.select(hydra, "runtime.output_dir", throw_on_missing=False) or ""
    hydra_files = {
        "config.yaml": OmegaConf.to_yaml(without(without(composed, "hydra"), "rung")),
        "hydra.yaml": OmegaConf.to_yaml(hydra),
        "overrides.yaml": OmegaConf.to_yaml(OmegaConf.create(list(made.overrides))),
    }
    return replace(made, folder=Path(output_dir), hydra_files=hydra_files)


def plan_of(overrides: list[str], to_run: bool = True) -> Plan:
    """The plan of a command line, without running it. Raises what Hydra raises, and ConfigError."""
    with _hydra():
        composed = hydra_compose("config", for_hydra(overrides), return_hydra_config=True)
        return plan(composed, composed.hydra, to_run)


def _hydra() -> AbstractContextManager[Any]:
    """Hydra with our config folder, outside of train.py."""
    register()
    GlobalHydra.instance().clear()
    context: AbstractContextManager[Any] = initialize_config_dir(str(CONF), version_base="1.3")
    return context


def whole_runs_of_chain(of: Plan) -> list[Config]:
    """The configs of the rungs up to a plan's own, each as a whole run with the plan's other overrides."""
    if recipe_file(of.rung.name) is None:  # in a folder that only hydra.searchpath names
        return []
    kept = [override for override in of.overrides if key_of(override) not in (*RECIPE_GROUPS, "max_steps")]
    return configs(chain(of.rung.name), kept)


def configs(recipes: Sequence[str | None], overrides: list[str]) -> list[Config]:
    """The scaled configs of several recipes with the same overrides, unchecked; None: of the defaults alone."""
    literal = frozenset(key_of(override) for override in overrides)
    with nullcontext() if GlobalHydra.instance().is_initialized() else _hydra():
        composed = [_compose((*([choice(name)] if name is not None else []), *overrides)) for name in recipes]
    return [scale(typed(without(config, "hydra")), _unscaled(literal, config)) for config in composed]


def _unscaled(literal: frozenset[str], composed: DictConfig) -> frozenset[str]:
    """The keys that `scale` leaves alone: those given literally or made of them, and the name of a chosen group."""
    if "epochs" in literal and OmegaConf.is_interpolation(composed.schedule, "step_size"):  # ablations.step_size
        literal |= {"schedule.step_size"}
    return literal | {f"{group}.name" for group in SECTIONS if group in literal}


def _check_model(config: Config) -> None:
    """Refuse an unknown model: names outside conf/model are looked up in torchvision and timm."""
    known = {path.stem for path in (CONF / "model").glob("*.yaml")}
    if config.model.source == "torchvision" and config.model.name in known:
        return
    names = available.names(config.model.source)
    if not names:
        from recipe.network.model import check_name  # imports torch

        check_name(config.model)
    elif config.model.name not in names:
        raise ConfigError(available.unknown_name(config.model.name, config.model.source, names))


def _check_model_args(config: Config) -> None:
    if config.model.args:
        from recipe.network.constructor import check_args  # imports torch

        check_args(config.model)


def _check_timm_optimizer(config: Config) -> None:
    if config.optimizer.source == "timm":
        from recipe.ingredients.optimizer import check_timm

        check_timm(config.optimizer)


@lru_cache(maxsize=128)
def _compose(overrides: tuple[str, ...]) -> DictConfig:
    loader = GlobalHydra.instance().config_loader()
    return loader.load_configuration("config", list(overrides), run_mode=RunMode.RUN, from_shell=False)


@lru_cache(maxsize=128)
def _choices(overrides: tuple[str, ...]) -> dict[str, str | None]:
    """The option of each config group, as `hydra.runtime.choices` has them; nothing is composed for that."""
    loader: Any = GlobalHydra.instance().config_loader()
    defaults = loader.compute_defaults_list("config", list(overrides), RunMode.RUN)
    return dict(defaults.overrides.known_choices)


@lru_cache(maxsize=128)
def _scaled_values(overrides: tuple[str, ...]) -> dict[str, Any]:
    config = scale(typed(without(_compose(overrides), "hydra")), frozenset())
    return {key: counted(value, about) for key, value, about in leaves(config)}


def _differences(config: Config, overrides: list[str], about_hydra: tuple[str, ...]) -> dict[str, str]:
    """What differs from the recipe, sorted: the choice of data and scale by name, other keys by value."""
    alone = [*about_hydra, *(override for override in overrides if key_of(override) in RECIPE_GROUPS)]
    chosen = {key: value for key, _, value in (o.partition("=") for o in overrides) if key in ("data", "scale")}
    base_values = _scaled_values((*alone, *(f"{group}={choice}" for group, choice in chosen.items())))
    own_choices = _choices(tuple(alone)) if chosen else {}
    parts = {group: choice for group, choice in chosen.items() if choice != own_choices[group]}
    idle = inert(config)
    for key, value, about in leaves(config):
        own = counted(value, about)
        if key not in ("seed", *idle) and about["affects"] != "nothing" and own != base_values[key]:
            parts[key] = text(own)
    return {key: parts[key] for key in sorted(parts)}
