"""What images a model's weights were evaluated on, and the names of their classes: the weights carry both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torchvision

from recipe import stored_config
from recipe.config import ModelConfig
from recipe.network import zoo
from recipe.network.weights import exported, kind_of

ON_IMAGENET = 1000  # classes


@dataclass(frozen=True)
class Preprocessing:
    """The images that weights were evaluated on."""

    mean: list[float]
    std: list[float]
    crop: int  # pixels
    resize: int  # pixels, shorter side
    interpolation: str  # as resolution.interpolation
    train_crop: int | None = None  # pixels; None: nobody says
    published: bool = True  # in ImageNet units, as recipes are: `scale` applies to them


def own_preprocessing(model: ModelConfig) -> Preprocessing | None:
    """The input that `model.weights` were evaluated with; None where their source names none.

    A run's and an exported file's are its own. Without weights, and of another file, those of the weights that the
    source lists first.
    """
    if _is_run(model):
        run = stored_config.load(Path(str(model.weights)) / "config.yaml")
        size, data = run.resolution, run.data
        sizes = size.val_crop, size.val_resize, size.interpolation, size.train_crop
        return Preprocessing(data.mean, data.std, *sizes, published=False)
    if said := _said_by_the_file(model):
        mean, std = said["mean"], said["std"]
        crop, resize = said["val_crop"], said["val_resize"]
        return Preprocessing(mean, std, crop, resize, said["interpolation"], said.get("train_crop"), published=False)
    about = zoo.entry(model)
    if about is None:
        return None
    if model.source == "timm":
        crop = about.input_size[-1]
        resize = int(crop / about.crop_pct)
        return Preprocessing(list(about.mean), list(about.std), crop, resize, about.interpolation)
    t = about.transforms()
    return Preprocessing(list(t.mean), list(t.std), t.crop_size[0], t.resize_size[0], t.interpolation.value)


def class_names(model: ModelConfig) -> list[str] | None:
    """The names of the classes that `model.weights` tell apart, by index; None where nothing tells them.

    A run's and an exported file's are its folders' names, published ones ImageNet's in words.
    """
    from recipe.files import read_json

    if model.weights is None:
        return None
    if _is_run(model):
        names: list[str] = read_json(Path(str(model.weights)) / "environment.json")["classes"]
        return names
    if kind_of(model.weights) == "file":
        return _said_by_the_file(model).get("classes")
    about = zoo.entry(model)
    if model.source == "torchvision":
        return list(about.meta["categories"])
    if about.num_classes != ON_IMAGENET:
        return None
    return imagenet_names()


def imagenet_names() -> list[str]:
    """The names of ImageNet's classes in words, by index."""
    return list(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _said_by_the_file(model: ModelConfig) -> dict[str, Any]:
    """The metadata of a file of `recipe export`; empty where the weights are none."""
    is_file = model.weights is not None and kind_of(model.weights) == "file" and Path(model.weights).exists()
    return exported(str(model.weights)) if is_file else {}


def _is_run(model: ModelConfig) -> bool:
    return model.weights is not None and kind_of(model.weights) == "run"
