"""A network to be used, with all that goes with it: a finished run's, or one of published weights without any run."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe.config import Config, ModelConfig
from recipe.errors import ConfigError, RunError
from recipe.network import definition
from recipe.network.resolve import resolved
from recipe.network.weights import PREFIX, exported, package_of
from recipe.run import trained

if TYPE_CHECKING:
    from torch import nn

    from recipe.machine.distributed import Ranks

KINDS = ("raw.pt", "best.pt")  # files of a run's weights that are not those whose figures count


@dataclass(frozen=True)
class Classifier:
    """What prediction needs."""

    config: Config  # how photos are prepared
    classes: list[str]  # by index
    network: "Callable[[Ranks], nn.Module]"  # on the device, in evaluation mode; raises UserError


def of_run(folder: Path, kind: str | None) -> Classifier:
    """A finished run's; `kind`: raw, ema or best; None: those whose figures count. Raises RunError, ConfigError."""
    run = trained.read(folder)
    kind = kind or trained.weights_of(run)[0]
    trained.check_weights(run, kind)
    return Classifier(
        trained.evaluation_config(run),
        run.environment["classes"],
        lambda ranks: trained.network(run, ranks.device, kind),
    )


def of_weights(name: str | None, source: str, weights: str, unnamed_classes: Sequence[str] | None = ()) -> Classifier:
    """Published weights', with the images and the class names that they come with. Raises ConfigError.

    Args:
        name: of the model; None: package:… weights and files of `recipe export` know theirs.
        weights: as model.weights takes them.
        unnamed_classes: what the classes are where nothing tells, as of a plain file; None: ImageNet's; empty: refuse.
    """
    about: dict[str, Any] = {}  # what an exported file says of itself
    if weights.startswith(PREFIX):
        package = package_of(weights)
        name, source = name or package.model, package.source
    elif os.path.isfile(os.path.expanduser(weights)):
        about = exported(os.path.expanduser(weights))
    if about:
        if name not in (None, about["architecture"]):
            raise ConfigError(f"weights={weights} are of {about['architecture']} ({about['source']}), not of {name}")
        name, source = about["architecture"], about["source"]
    if name is None:
        raise ConfigError(f"weights={weights}{_of_which_model(Path(weights).expanduser())}")
    from recipe.network.model import check_name, make_model  # PyTorch
    from recipe.network.preprocessing import class_names, imagenet_names, own_preprocessing
    from recipe.network.pretrained import load

    model = ModelConfig(name=name, source=source, weights=weights, **definition.said(about, weights))
    check_name(model)
    model = resolved(model)
    own, classes = own_preprocessing(model), class_names(model)
    if classes is None and unnamed_classes != ():
        classes = imagenet_names() if unnamed_classes is None else list(unnamed_classes)
    if own is None or classes is None:
        raise ConfigError(
            f"weights={weights}: nothing says what images they were trained on or what their classes are called: give "
            "a file of `recipe export`, or the folder of a run that began with them"
        )
    config = Config(model=model)
    if about.get("output") == "log-probabilities":
        config.loss.name = "nll"  # whose networks end in them
    config.data.mean, config.data.std, config.data.num_classes = own.mean, own.std, len(classes)
    config.data.exif_orientation = about.get("exif_orientation", True)  # photos are meant to be seen the right way up
    size = config.resolution
    size.val_crop, size.val_resize, size.interpolation = own.crop, own.resize, own.interpolation

    def network(ranks: "Ranks") -> "nn.Module":
        made = make_model(config, len(classes))
        start = load(made, config, ranks, classes)
        if start is not None and start.fresh:
            raise RunError(f"weights={weights} are of another number of classes than {len(classes)} ({start.why})")
        return made.to(ranks.device).eval()

    return Classifier(config, classes, network)


def _of_which_model(file: Path) -> str:
    """What to give instead of a file that does not say which network it is of."""
    run = next((folder for folder in file.parents[:2] if (folder / "result.json").exists()), None)
    if run is not None:
        kind = f" --weights {file.stem}" if file.name in KINDS else ""
        return f" does not say what network it is of, and the run does: recipe predict {run}{kind} …"
    if file.suffix == ".onnx":
        return " is for other programs, as onnxruntime: give the run, or a safetensors file that `recipe export` wrote"
    return ": of which model? Add --model, as in --model resnet50"
