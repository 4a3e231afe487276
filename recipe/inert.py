"""Keys that do nothing in a config, as `optimizer.betas` under SGD. The schema says what uses each (`used_by`)."""

from collections.abc import Set

from recipe.checks import leaves
from recipe.config import Config
from recipe.contradictions import either
from recipe.errors import ConfigError


def inert(config: Config) -> dict[str, str]:
    """The keys that do nothing here, by dotted name, each with what would use it."""
    values = {dotted: value for dotted, value, _ in leaves(config)}
    found = {}
    for dotted, _, about in leaves(config):
        if "used_by" not in about:
            continue
        neighbour, *users = about["used_by"]
        user = f"{dotted.rpartition('.')[0]}.{neighbour}"
        if users and values[user] not in users:
            found[dotted] = f"{user}={either(users)}"
        elif not users and not values[user]:
            found[dotted] = user
    return found


def refuse_inert(config: Config, given: Set[str]) -> None:
    """Raise ConfigError where one of the keys that were given by hand does nothing."""
    values = {dotted: value for dotted, value, _ in leaves(config)}
    for dotted, users in inert(config).items():
        if dotted in given:
            user = users.partition("=")[0]
            written = "null" if values[user] is None else values[user]
            raise ConfigError(
                f"{dotted} does nothing here: it belongs to {users}, and this run has {user}={written}. Leave it out, "
                f"or change {user}"
            )
