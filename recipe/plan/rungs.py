"""Recipe files: where they are, what each says of itself, and which one it builds on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

PACKAGE = Path(__file__).resolve().parents[1]
IN_CHECKOUT = (PACKAGE.parent / "conf" / "config.yaml").is_file()
CONF = (PACKAGE.parent if IN_CHECKOUT else PACKAGE) / "conf"
RECIPE_GROUPS = ("recipe", "experiment")  # a run has exactly one of either
FIGURES = {  # that a file may say were published, in words
    "acc1": "top-1",
    "acc5": "top-5",
    "loss": "loss",
    "best_acc1": "top-1 of the best epoch",
    "test_acc1": "top-1 on the test images",
}


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


def choice(recipe: str) -> str:
    """A recipe or experiment as the command line chooses it: +recipe=v2, +experiment=zoo."""
    file = recipe_file(recipe)
    return f"+{file.parent.name if file is not None else RECIPE_GROUPS[0]}={recipe}"


def in_words(published: Mapping[str, float], remarks: Mapping[str, str] | None = None) -> str:
    """Published figures as text, each with its remark."""
    remarks = remarks or {}
    return ", ".join(
        f"{FIGURES.get(name, name)} {value:.3f}{remarks.get(name, '')}" for name, value in published.items()
    )


def is_as_published(recipe: str, differences: Mapping[str, str]) -> bool:
    """Whether a run with these differences is the published experiment: its data and size, no other value changed."""
    own, changed = own_data(recipe), dict(differences)
    data = changed.pop("data", own)  # the ladder's files name none: it is ImageNet's
    return not changed and data == (own or "imagenet")


def own_data(recipe: str) -> str | None:
    """The data option that a recipe's file, or the nearest that it builds on, chooses; None where none does."""
    for name in reversed(chain(recipe)):
        path = recipe_file(name)
        content: Any = OmegaConf.load(path) if path is not None else {}
        for entry in content.get("defaults", []):
            if not isinstance(entry, str) and "override /data" in entry:
                return str(entry["override /data"])
    return None


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
    path = recipe_file(recipe, sources)
    if path is None:
        return Rung(recipe, None, None, {})
    content: Any = OmegaConf.to_container(OmegaConf.load(path))
    entries = [entry for entry in content.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    parents = [entry.rpartition("/")[2] for entry in entries if _is_recipe(entry)]
    about = content.get("rung") or {}
    return Rung(recipe, parents[0] if parents else None, about.get("index"), dict(about.get("published") or {}))


def _is_recipe(entry: str) -> bool:
    """Whether an entry of a defaults list is a recipe, of the file's own group or of either (/recipe/v2)."""
    return "/" not in entry or entry.lstrip("/").partition("/")[0] in RECIPE_GROUPS
