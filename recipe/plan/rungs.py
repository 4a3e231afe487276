"""Recipe files: where they are, what each says of itself, and which one it builds on."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

PACKAGE = Path(__file__).resolve().parents[1]
IN_CHECKOUT = (PACKAGE.parent / "conf" / "config.yaml").is_file()
CONF = (PACKAGE.parent if IN_CHECKOUT else PACKAGE) / "conf"
RECIPE_GROUPS = ("recipe", "experiment")  # a run has exactly one of either


@dataclass(frozen=True)
class Rung:
    """What a recipe file says of itself; nothing here is inherited from the rung below."""

    name: str
    parent: str | None
    index: int | None
    published: dict[str, float]  # figures of plan.published.FIGURES: of the last epoch where nothing else is said
    by_epoch: dict[int, dict[str, float]] = field(default_factory=dict)  # the same, by number of epochs done
    evaluated: list[dict[str, Any]] = field(default_factory=list)  # of `recipe evaluate`: what it is given, and figures
    source: str | None = None  # by its title; that of the nearest recipe below that names one
    on: str | None = None  # the option of `data` that the figures are of; None where there are no figures


def chain(recipe: str, sources: Iterable[str] | None = None) -> list[str]:
    """The names of the rungs up to a recipe, from the first."""
    sources = None if sources is None else list(sources)
    names = [recipe]
    while (parent := rung(names[0], sources).parent) is not None:
        names.insert(0, parent)
    return names


def choice(recipe: str) -> str:
    """A recipe or experiment as the command line chooses it: +recipe=v2, +experiment=zoo."""
    file = recipe_file(recipe)
    return f"+{file.parent.name if file is not None else RECIPE_GROUPS[0]}={recipe}"


def own_data(recipe: str, sources: Iterable[str] | None = None) -> str | None:
    """The data option that a recipe's file, or the nearest that it builds on, chooses; None where none does."""
    sources = None if sources is None else list(sources)
    path = recipe_file(recipe, sources)
    content: Any = _content(path) if path is not None else {}
    for entry in content.get("defaults", []):
        if not isinstance(entry, str) and "override /data" in entry:
            return str(entry["override /data"])
    parent = _parent(content)
    return own_data(parent, sources) if parent else None


def recipe_file(recipe: str, sources: Iterable[str] | None = None) -> Path | None:
    """The file of a recipe, in the first of the config folders (`--config-dir` adds one) that has it."""
    hydra = GlobalHydra.instance()
    if sources is None:
        known = hydra.config_loader().get_sources() if hydra.is_initialized() else []
        sources = [source.path for source in known] or [str(CONF)]
    folders = (Path(source.removeprefix("file://")) / group for source in sources for group in RECIPE_GROUPS)
    return next((file for folder in folders if (file := folder / f"{recipe}.yaml").is_file()), None)


def rung(recipe: str, sources: Iterable[str] | None = None) -> Rung:
    """What a recipe's own file says of it: a rung without its own figures must not inherit those of the one below."""
    sources = None if sources is None else list(sources)
    path = recipe_file(recipe, sources)
    if path is None:
        return Rung(recipe, None, None, {})
    content: Any = _content(path)
    parent = _parent(content)
    about = content.get("rung") or {}
    return Rung(
        name=recipe,
        parent=parent,
        index=about.get("index"),
        published=dict(about.get("published") or {}),
        by_epoch=dict(about.get("by_epoch") or {}),
        evaluated=list(about.get("evaluated") or []),
        source=about.get("source") or (rung(parent, sources).source if parent else None),
        on=(own_data(recipe, sources) or "imagenet") if about.get("published") else None,  # the ladder's name none
    )


def _content(path: Path) -> Any:
    """What a recipe's file holds."""
    about = path.stat()
    return _parsed(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=256)
def _parsed(path: Path, changed: int, size: int) -> Any:
    """The file's content as it was at that time: a sweep asks for the files below a rung hundreds of times."""
    return OmegaConf.to_container(OmegaConf.load(path))


def _parent(content: Any) -> str | None:
    """The recipe that a file builds on."""
    entries = [entry for entry in content.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    return next((entry.rpartition("/")[2] for entry in entries if _is_recipe(entry)), None)


def _is_recipe(entry: str) -> bool:
    """Whether an entry of a defaults list is a recipe, of the file's own group or of either (/recipe/v2)."""
    return "/" not in entry or entry.lstrip("/").partition("/")[0] in RECIPE_GROUPS
