"""What a command line chooses, a recipe, options of groups and keys: each must be known, and hold in what is made."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from recipe.config import Config
from recipe.errors import ConfigError
from recipe.guesses import did_you_mean
from recipe.plan.ablations import ABLATIONS, key_of
from recipe.plan.rungs import RECIPE_GROUPS
from recipe.schema import leaves
from recipe.stored_config import text

SECTIONS = [item.name for item in fields(Config) if is_dataclass(item.type)]  # the config groups


def known_keys() -> list[str]:
    """Every name that may stand on the left of a `=`."""
    keys = [dotted for dotted, _, _ in leaves(Config()) if dotted != "rung"]
    return sorted({*keys, *SECTIONS, *RECIPE_GROUPS, "hydra.run.dir"})


def recipes(group: str = "recipe") -> list[str]:
    """The names of all recipes, or of all experiments."""
    return GlobalHydra.instance().config_loader().get_group_options(group)


def check_keys(composed: DictConfig) -> None:
    """Refuse a key that is not in the schema: `+typo=1` passes Hydra, and would train something else.

    Raises ConfigError.
    """

    def walk(values: Any, schema: Any, prefix: str) -> None:
        for name in map(str, values):
            dotted = f"{prefix}{name}"
            if name not in {item.name for item in fields(schema)}:
                raise ConfigError(f"there is no key {dotted}.{did_you_mean(dotted, known_keys())}")
            child = getattr(schema, name)
            if is_dataclass(child):
                walk(values[name], child, f"{dotted}.")

    walk(composed, Config(), "")


def chosen_recipe(overrides: list[str]) -> str:
    """The recipe or experiment of a run. Raises ConfigError where there is none, or several."""
    chosen = [override.split("=", 1)[1] for override in overrides if key_of(override) in RECIPE_GROUPS]
    if not chosen:
        known = [f"+{group}=NAME ({', '.join(recipes(group))})" for group in RECIPE_GROUPS]
        raise ConfigError(f"which recipe? Add {' or '.join(known)}")
    if len(chosen) > 1 or "," in chosen[0] or chosen[0].startswith("["):
        raise ConfigError(f"a run has one recipe, not several ({', '.join(chosen)}); to train each in turn, add -m")
    return chosen[0]


def check_earlier_stage(config: Config, overrides: list[str]) -> None:
    """Refuse a stage whose file starts it from a run of another experiment that is not there or has not finished.

    Raises ConfigError with the command of the stage that is missing, and a run of it with other values where there is.
    """
    weights = config.model.weights
    if weights is None or "model.weights" in map(key_of, overrides):
        return
    path = Path(weights)
    run = path.parents[1] if path.parent.name == "checkpoints" else path  # …/NAME/seed=SEED
    stage = run.parent.name
    if stage not in recipes("experiment") or (run / "result.json").is_file():
        return
    state = "has not finished" if run.is_dir() else "is not there"
    root = config.data.root or "FOLDER"
    others = sorted(run.parents[2].glob(f"*outputs/{stage}*/seed=*/result.json"))
    found = f" (there is model.weights={others[-1].parent})" if others else ""
    raise ConfigError(
        f"{chosen_recipe(overrides)} starts from the run of {stage} with seed={config.seed}, and {run} {state}: train "
        f"that stage first, python train.py +experiment={stage} seed={config.seed} data.root={root}, or name another "
        f"run of it, model.weights=RUN{found}"
    )


def check_groups_survive(
    composed: DictConfig, overrides: list[str], about_hydra: tuple[str, ...], compose: Callable[..., DictConfig]
) -> None:
    """Refuse an option whose values the recipe replaces, as it comes after the groups.

    `+recipe=v2 optimizer=adamw` would train AdamW at SGD's rate. Raises ConfigError.

    Args:
        composed: what Hydra composed for `overrides`, without its own part.
        about_hydra: overrides of `hydra.*`, which may name further config folders.
        compose: from a tuple of overrides to what Hydra composes for it.
    """
    literal = {key_of(override) for override in overrides}
    groups = [group for group in SECTIONS if group in literal]
    without_recipe = *about_hydra, *(override for override in overrides if key_of(override) in groups)
    for group in groups:
        expected, actual = _section(compose(without_recipe), group), _section(composed, group)
        stands_for = ("name", "source") if group == "model" else expected  # which model, not what of it is trained
        lost = [name for name in stands_for if actual[name] != expected[name] and f"{group}.{name}" not in literal]
        if lost:
            choice = next(override for override in overrides if key_of(override) == group)
            wanted = " ".join(f"{group}.{name}={text(expected[name])}" for name in lost)
            given = " ".join(f"{group}.{name}={text(actual[name])}" for name in lost)
            ablations = (override for override in overrides if key_of(override) in ABLATIONS)
            recipe = " ".join((chosen_recipe(overrides), *ablations))
            raise ConfigError(
                f"{choice} stands for {wanted}, but the recipe {recipe} has {given}: "
                f"add the values you mean, {wanted} or others"
            )


def _section(composed: DictConfig, group: str) -> dict[str, Any]:
    return dict(composed[group].items_ex(resolve=False))
