"""From ImageNet units to the size at hand: recipes are written for ImageNet-1k, `scale=…` holds the factors.

And from one length to another: a schedule that is chosen by hand is the baseline's, in proportion to the epochs; so is
a recipe's own step decay, where epochs that are given by hand would leave it no learning rate.
"""

from collections.abc import Mapping, Set
from copy import deepcopy
from typing import Any

from recipe.config import Config
from recipe.errors import ConfigError
from recipe.ingredients.schedule import rates_of_a_run
from recipe.schema import leaves
from recipe.stored_config import text

SCALED_FROM_MODEL = "resnet50"  # the reference ladder's model: what `scale.model` replaces


# Units of keys → the key of `scale` that is the factor on values in them. Others are not scaled.
FACTORS = {
    "epochs": "epochs",
    "epochs between evaluations": "evaluate_every",
    "pixels": "resolution",
    "images a step": "batch_size",
    "learning rate": "batch_size",
    "images a micro-batch": "micro_batch_size",
}


def even(pixels: float) -> int:
    """The nearest even number of pixels."""
    return 2 * round(pixels / 2)


def scale(config: Config, literal: Set[str]) -> Config:
    """A copy of `config` with the factors of `config.scale` applied: to each value by its unit.

    Args:
        literal: dotted keys given on the command line. They are meant as they stand and are not scaled.
    """
    config = deepcopy(config)
    factor = config.scale
    if "schedule" in literal:
        literal = literal | _in_proportion(config, literal)

    def change(dotted: str, value: Any) -> None:
        if dotted not in literal:
            *path, name = dotted.split(".")
            setattr(getattr(config, path[0]) if path else config, name, value)

    if factor.batch_size != 1 and "micro_batch_size" not in literal:  # a step holds one micro-batch at least
        least = factor.micro_batch_size * config.micro_batch_size / config.batch_size
        factor.batch_size = max(factor.batch_size, least)  # `ema_steps` follows it
    for dotted, value, about in list(leaves(config)):
        by = getattr(factor, FACTORS[about["unit"]]) if about.get("unit") in FACTORS else 1
        if by != 1 and value is not None:
            change(dotted, _times(value, by, about))
    if factor.epochs != 1:
        if config.schedule.name == "exponential" and "schedule.gamma" not in literal:
            change("schedule.gamma", config.schedule.gamma ** (1 / factor.epochs))
        change("schedule.interval", "step")  # warm-up and steps are now fractions of an epoch
    if config.schedule.name == "step" and "epochs" in literal and _vanishing(config) > 0.5:
        change("schedule.step_size", _baseline_s_step(config))
    own_weights = config.model.weights is not None and "model.weights" not in literal  # the recipe's, for its model
    if factor.model is not None and config.model.name == SCALED_FROM_MODEL and not own_weights:
        change("model.name", factor.model)
    return config


def _in_proportion(config: Config, literal: Set[str]) -> set[str]:
    """Give a schedule chosen by hand the share of the run that it has of the baseline's 90 epochs.

    A step of 30 becomes a third of the run, and a factor of 0.95 an epoch falls as far as in 90.

    Returns:
        its keys that no factor of `scale` is for, since the run's epochs were given by hand.
    """
    schedule, share = config.schedule, config.epochs / Config().epochs
    done = set()
    if schedule.name == "step" and "schedule.step_size" not in literal:
        schedule.step_size *= share
        done.add("schedule.step_size")
    if schedule.name == "exponential" and "schedule.gamma" not in literal:
        schedule.gamma **= 1 / share
        done.add("schedule.gamma")
    return done if "epochs" in literal else set()


def fitted_step(config: Config, differences: Mapping[str, str], literal: Set[str]) -> str | None:
    """What to say of a step size that `scale` has fitted to the epochs; None where it has not.

    Args:
        differences: of the run from its recipe.
        literal: dotted keys given on the command line.
    """
    given = {"schedule", "schedule.step_size"} & literal
    if "epochs" not in literal or given or "schedule.step_size" not in differences or config.schedule.name != "step":
        return None
    baseline, step = Config(), text(config.schedule.step_size)
    share = f"the share that the baseline's {text(baseline.schedule.step_size)} have of its {baseline.epochs}"
    return f"schedule.step_size={step}: fitted to epochs={config.epochs}, {share}"


def refuse_vanishing(config: Config, literal: Set[str]) -> None:
    """Raise ConfigError where the learning rate is below a thousandth of its peak for most of the run, unasked.

    What was given by hand of the schedule is taken as it stands.
    """
    schedule, vanishing = config.schedule, _vanishing(config)
    lengths = {"step": "step_size", "exponential": "gamma", "polynomial": "power", "onecycle": "interval"}
    name = lengths.get(schedule.name)
    if vanishing <= 0.5 or name is None or f"schedule.{name}" in literal:
        return
    given = f"schedule.{name}={text(getattr(schedule, name))}"
    step, gamma = _baseline_s_step(config), round(0.01 ** (1 / config.epochs), 6)
    mend = {
        "step": f"schedule.step_size={text(step)}, the baseline's share of a run",
        "exponential": f"schedule.gamma={text(gamma)}, a hundredth at the end, or a schedule.min_lr",
        "onecycle": "schedule.interval=step",
    }.get(schedule.name, "a lower one")
    raise ConfigError(
        f"{given} leaves the learning rate below a thousandth of {config.optimizer.lr:g} for "
        f"{vanishing:.0%} of the run "
        f"(epochs={config.epochs}): give {mend}; or {given} by hand, which is taken as it stands"
    )


def _vanishing(config: Config) -> float:
    """The share of the run that the learning rate is below a thousandth of its peak."""
    if config.epochs < 1 or config.schedule.step_size <= 0:  # refused later
        return 0.0
    rates = rates_of_a_run(config)
    return sum(rate < 0.999e-3 * config.optimizer.lr for rate in rates) / len(rates)


def _baseline_s_step(config: Config) -> float:
    return Config().schedule.step_size * config.epochs / Config().epochs


def _times(value: float, factor: float, about: Mapping[str, Any]) -> float:
    """The scaled value; a whole number where the key holds one, and then not below the key's least."""
    if about["unit"] == "pixels":
        return max(int(about.get("at_least") or 0), even(value * factor))
    if isinstance(about["default"], int):
        return max(int(about["at_least"]), round(value * factor))
    return value * factor


def ema_steps(steps: int, batch_factor: float, num_images: int, reference_images: int) -> int:
    """`ema.steps` for this data set: the same share of an epoch as in ImageNet's (32 steps of 1251).

    An epoch has as many steps fewer as the data set has images fewer, and more where the batch was scaled down.
    """
    return max(1, round(steps * num_images / reference_images / batch_factor))
