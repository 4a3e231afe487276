"""What images a model's weights were evaluated on, and the names of their classes: the weights carry both."""

from dataclasses import dataclass
from pathlib import Path

import torchvision

from recipe import published
from recipe.config import ModelConfig
from recipe.weights import kind_of

ON_IMAGENET = 1000  # classes


@dataclass(frozen=True)
class Preprocessing:
    """What a model's published weights were evaluated with."""

    mean: list[float]
    std: list[float]
    crop: int  # pixels
    resize: int  # pixels, shorter side
    interpolation: str  # as resolution.interpolation


def own_preprocessing(model: ModelConfig) -> Preprocessing | None:
    """The input that `model.weights` were evaluated with; None where their source names none.

    A run's are its own. Without weights, and of a file, those of the weights that the source lists first.
    """
    if _is_run(model):
        from recipe import compose

        run = compose.load(Path(str(model.weights)) / "config.yaml")
        size, data = run.resolution, run.data
        return Preprocessing(data.mean, data.std, size.val_crop, size.val_resize, size.interpolation)
    about = published.entry(model)
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

    A run's are its folders' names, published ones ImageNet's in words.
    """
    from recipe.files import read_json

    if model.weights is None:
        return None
    if _is_run(model):
        names: list[str] = read_json(Path(str(model.weights)) / "environment.json")["classes"]
        return names
    if kind_of(model.weights) == "file":
        return None
    about = published.entry(model)
    if model.source == "torchvision":
        return list(about.meta["categories"])
    if about.num_classes != ON_IMAGENET:
        return None
    return list(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def _is_run(model: ModelConfig) -> bool:
    return model.weights is not None and kind_of(model.weights) == "run"
