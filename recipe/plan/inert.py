"""Keys that do nothing in a config, as `optimizer.betas` under SGD. The schema says what uses each (`used_by`)."""

from collections.abc import Set
from dataclasses import replace

from recipe.config import Config
from recipe.errors import ConfigError
from recipe.ingredients.schedule import learning_rate
from recipe.plan.cross_checks import either
from recipe.schema import leaves
from recipe.stored_config import text


def inert(config: Config) -> dict[str, str]:
    """The keys that do nothing here, by dotted name, each with the key that it depends on and what that would be."""
    values = {dotted: value for dotted, value, _ in leaves(config)}
    found: dict[str, str] = {}
    for dotted, _, about in leaves(config):
        for neighbour, users in about.get("used_by", {}).items():
            user = f"{dotted.rpartition('.')[0]}.{neighbour}"
            if users and values[user] not in users:
                found.setdefault(dotted, f"{user}={either(users)}")
            elif not users and not values[user]:
                found.setdefault(dotted, user)
    return found


def refuse_inert(config: Config, given: Set[str]) -> None:
    """Raise ConfigError where one of the keys that were given by hand does nothing."""
    values = {dotted: value for dotted, value, _ in leaves(config)}
    idle = inert(config)
    if config.schedule.name == "onecycle" and config.schedule.cycle_momentum:  # it counts in hashes of finished runs
        idle["optimizer.momentum"] = "schedule.cycle_momentum=false"
    for dotted, users in idle.items():
        if dotted in given:
            user = users.partition("=")[0]
            raise ConfigError(
                f"{dotted} does nothing here: it belongs to {users}, and this run has {user}={text(values[user])}. "
                f"Leave it out, or change {user}"
            )
    if "schedule.interval" in given and _changes_between_epochs_alone(config):
        raise ConfigError(
            f"schedule.interval does nothing here: with schedule.name={config.schedule.name}, its lengths and warm-up "
            "the learning rate is the same at all steps of an epoch. Leave it out"
        )


def _changes_between_epochs_alone(config: Config) -> bool:
    """Whether the learning rate is the same whatever `schedule.interval` is, looked at seven times an epoch."""
    places = [(epoch, step) for epoch in range(config.epochs) for step in range(7)]
    by_epoch, by_step = (
        [learning_rate(schedule, config.optimizer.lr, config.epochs, *place, 7) for place in places]
        for schedule in (replace(config.schedule, interval=interval) for interval in ("epoch", "step"))
    )
    return by_epoch == by_step
