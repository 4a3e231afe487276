"""Recipe files: where they are, what each says of itself, and which one it builds on."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

PACKAGE = Path(__file__).resolve().parent
IN_CHECKOUT = (PACKAGE.parent / "conf" / "config.yaml").is_file()
CONF = (PACKAGE.parent if IN_CHECKOUT else PACKAGE) / "conf"
RECIPE_GROUPS = ("recipe", "experiment")  # a run has exactly one of either


@dataclass(frozen=True)
class Rung:
    """What a recipe file says of itself; nothing here is inherited from the rung below."""

    name: str
    parent: str | None
    index: int | None
    published: dict[str, float]


def chain(recipe: str, sources: Iterable[str] | None = None) -> list[str]:
    """The names of the rungs up to a recipe, from the first."""
    sources = None if sources is None else list(sources)
    names = [recipe]
    while (parent := rung(names[0], sources).parent) is not None:
        names.insert(0, parent)
    return names


def recipe_file(recipe: str, sources: Iterable[str] | None = None) -> Path | None:
    """The file of a recipe, in the first of the config folders (`--config-dir` adds one) that has it."""
    hydra = GlobalHydra.instance()
    if sources is None:
        known = hydra.config_loader().get_sources() if hydra.is_initialized() else []
        sources = [source.path for source in known] or [str(CONF)]
    folders = (Path(source.removeprefix("file://")) / group for source in sources for group in RECIPE_GROUPS)
    return next((file for folder in folders if (file := folder / f"{recipe}.yaml").is_file()), None)


def rung(recipe: str, sources: Iterable[str] | None = None) -> Rung:
    """From the recipe's own file: a rung without figures of its own must not inherit those of the one below."""
    path = recipe_file(recipe, sources)
    if path is None:
        return Rung(recipe, None, None, {})
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    parents = [entry for entry in content.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    about = content.get("rung") or {}
    return Rung(recipe, parents[0] if parents else None, about.get("index"), dict(about.get("published") or {}))
