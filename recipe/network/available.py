"""Which networks torchvision and timm have, read from their files: importing them takes seconds.

For messages alone: what is trained is made by the libraries themselves.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from recipe.guesses import did_you_mean, nearest

SOURCES = ("torchvision", "timm")
REGISTERED = re.compile(r"^@register_model(?:\(.*?\))?\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


@cache
def names(source: str) -> list[str]:
    """The networks of "torchvision" or "timm" that classify images; none where it is not installed."""
    spec = find_spec(source)
    if spec is None or spec.origin is None:
        return []
    files = sorted((Path(spec.origin).parent / "models").glob("*.py"))
    return [name for file in files for name in REGISTERED.findall(file.read_text(encoding="utf-8"))]


def unknown_name(name: str, source: str, known: list[str]) -> str:
    """A sentence on a model.name that its source has not."""
    other = next((other for other in SOURCES if other != source and name in names(other)), None)
    hint = f" {other} has: add model.source={other}" if other is not None else did_you_mean(name, known)
    return f"model.name={name}: {source} has no model of this name.{hint}"


def unknown_option(name: str, options: list[str]) -> str:
    """A sentence on what to type for model=NAME where that is no option of conf/model."""
    of_others = "any other network of torchvision or timm is model.name=NAME (timm's with model.source=timm)"
    source = next((source for source in SOURCES if name in names(source)), None)
    if source is not None:
        of_source = " model.source=timm" if source == "timm" else ""
        return f"{source} has it: model.name={name}{of_source}"
    near = [f"model.name={found}" for found in nearest(name, names("torchvision"))]
    return f"{of_others}.{did_you_mean(name, options) or (f' Did you mean {near[0]}?' if near else '')}"
