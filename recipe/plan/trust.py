"""What a config file may not do: a recipe from a stranger can change what is trained, and nothing else.

Hydra makes objects from the names that it finds under `hydra.callbacks`, `hydra.job_logging`, `hydra.launcher` … and a
recipe is composed into the same tree. So only the command line may set `hydra.*`.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, OmegaConf

from recipe.errors import ConfigError

# What Hydra itself fills in, differently for each command.
OF_THE_COMMAND = ("hydra.overrides", "hydra.runtime", "hydra.job.override_dirname", "hydra.job.name", "hydra.mode")


def only_the_command_line_sets_hydra() -> None:
    """Check each configuration that Hydra composes for a command, before it makes anything of it."""
    compose = ConfigLoaderImpl.load_configuration
    if hasattr(compose, "checked"):
        return

    def once(self: ConfigLoaderImpl, name: str | None, overrides: list[str], *rest: Any, **options: Any) -> DictConfig:
        """A sweep composes each job twice, and all are compared with the same one."""
        known: dict[Any, DictConfig] = vars(self).setdefault("composed_before", {})
        # from_shell only words what Hydra refuses
        key = name, *overrides, *rest, *sorted(item for item in options.items() if item[0] != "from_shell")
        if key not in known:
            known[key] = compose(self, name, overrides, *rest, **options)
        return known[key]

    def load_configuration(
        self: ConfigLoaderImpl, config_name: str | None, overrides: list[str], *rest: Any, **options: Any
    ) -> DictConfig:
        composed = once(self, config_name, overrides, *rest, **options)
        if options.get("from_shell", True):  # not for our own looks at other rungs
            about_hydra = [override for override in overrides if override.lstrip("+~").startswith("hydra")]
            alone = once(self, config_name, about_hydra, *rest, **options)
            if differ := sorted(_differences("hydra", _plain(composed), _plain(alone))):
                raise ConfigError(
                    f"a config file sets {', '.join(differ[:3])}: only the command line may set hydra.*, since it can "
                    "name code to run"
                )
        return deepcopy(composed)

    load_configuration.checked = True  # type: ignore[attr-defined]
    ConfigLoaderImpl.load_configuration = load_configuration  # type: ignore[method-assign]


def _plain(config: DictConfig) -> Any:
    return OmegaConf.to_container(config.hydra, resolve=False)


def _differences(key: str, one: Any, other: Any) -> Iterator[str]:
    if key in OF_THE_COMMAND or one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {*one, *other}:
            yield from _differences(f"{key}.{name}", one.get(name), other.get(name))
    else:
        yield key
