"""Published weights and files of weights evaluated without any run: several of a model, in one table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recipe.config import Config
from recipe.data.known import is_known
from recipe.finished import classifier
from recipe.finished.evaluation.choice import EvaluationSetting, choose_on_half
from recipe.finished.evaluation.choice import lines as choice_lines
from recipe.finished.evaluation.of_run import SETS, Evaluated
from recipe.output import count

if TYPE_CHECKING:
    from torch import nn

    from recipe.data.dataset import Dataset
    from recipe.machine.distributed import Ranks

METRICS = {"acc@1": "acc1", "acc@5": "acc5"}  # of torchvision's weights, on ImageNet's validation images


@dataclass(frozen=True)
class Weights:
    """Some weights, ready to be evaluated on a data set."""

    name: str  # as given
    config: Config  # their preprocessing, and the data
    classes: list[str]
    network: "nn.Module"
    settings: list[EvaluationSetting]
    own: EvaluationSetting  # the sizes that they were evaluated with
    published: dict[str, float]


def open_images(config: Config, split: str, ranks: "Ranks") -> "Dataset":
    """The images of a split, whatever their classes. Raises DataError."""
    from recipe.data import dataset as datasets
    from recipe.data.prepare.fetch import fetch

    ranks.on_first(lambda: fetch(config.data))
    return datasets.load_alone(config.data, split)


def load(
    model: str | None,
    source: str,
    names: Sequence[str],
    data: Config,
    images: "Dataset",
    settings_of: Any,
    ranks: "Ranks",
) -> list[Weights]:
    """All of the weights, before the first is evaluated: what is missing is told at once. Raises UserError.

    Args:
        data: whose `data` and `evaluate` sections count.
        settings_of: from the name and the own config of weights to what is to be evaluated.
    """
    from recipe.finished.evaluation.labels import class_numbers, imagenet_synsets
    from recipe.network.model import check_crops

    found = []
    unnamed = None if set(images.classes) <= set(imagenet_synsets()) else images.classes  # None: ImageNet's
    for name in names:
        of = classifier.of_weights(model, source, name, unnamed_classes=unnamed)
        class_numbers(images.classes, of.classes, str(images.root))
        config = of.config
        for key in ("name", "root", "train_dir", "val_dir", "test_dir", "on_corrupt", "exif_orientation", "workers"):
            setattr(config.data, key, getattr(data.data, key))
        config.evaluate, config.runtime = data.evaluate, data.runtime
        settings = settings_of(name, config)
        network = of.network(ranks).cpu()
        check_crops(network, config, len(of.classes), [("resolution.val_crop", s.val_crop) for s in settings])
        own = EvaluationSetting(name, config.resolution.val_resize, config.resolution.val_crop)
        found.append(Weights(name, config, of.classes, network, settings, own, _published(config)))
    return found


def evaluate_weights(
    all_weights: Sequence[Weights], images: "Dataset", split: str, ranks: "Ranks", choose: bool
) -> list[Evaluated]:
    """Evaluate, and print one table with a row for each setting of each of the weights."""
    from recipe.finished.evaluation.labels import relabelled
    from recipe.training.evaluate import evaluate

    say = print if ranks.first else lambda *_: None
    first = all_weights[0]
    model = first.config.model
    width = max(8, *(len(weights.name) + 1 for weights in all_weights))
    original = split == "val" and is_known("imagenet", images.classes, {"val": len(images)})
    shown = original and any(weights.published for weights in all_weights)
    say(f"\n{model.name} ({model.source}): {count(len(images), f'{SETS[split]} image')} in {images.root}")
    head = f"{'weights':{width}}{'val_resize':>11}{'val_crop':>10}{'top-1':>9}{'top-5':>8}{'loss':>9}"
    say(f"{head}{'  published' * shown}")
    found = []
    for weights in all_weights:
        network, view = weights.network.to(ranks.device), relabelled(images, weights.classes)
        settings = weights.settings
        if choose and weights.own not in settings:
            settings = [weights.own, *settings]
        evaluations = {}
        for setting in settings:
            sizes = setting.val_resize, setting.val_crop
            e = evaluate({setting.weights: network}, view, weights.config, ranks, *sizes)[setting.weights]
            evaluations[setting] = e
            figures = f"{setting.val_resize:11}{setting.val_crop:10}{e.acc1:9.2f}{e.acc5:8.2f}{e.loss:9.3f}"
            of_source = weights.published if shown and setting == weights.own else {}
            said = "  " + " / ".join(f"{figure:.3f}" for figure in of_source.values()) if of_source else ""
            say(f"{setting.weights:{width}}{figures}{said}")
        network.cpu()
        unreadable = ranks.union({file for e in evaluations.values() for file in e.unreadable})
        if unreadable:
            say(f"left out, cannot be read: {min(unreadable)} ({len(unreadable):,} in all)")
        if choose:
            correct = {setting: e.correct for setting, e in evaluations.items()}
            for line in choice_lines(choose_on_half(correct, weights.own)):
                say(line)
        found.append(Evaluated(evaluations, len(images), images.fingerprint, str(images.root), False))
    if not original and any(weights.published for weights in all_weights):
        say("(published figures are of ImageNet's 50,000 validation images, and not shown beside others)")
    return found


def _published(config: Config) -> dict[str, float]:
    """What torchvision says of its weights; nothing of others."""
    from recipe.network import zoo
    from recipe.network.weights import kind_of

    model = config.model
    if model.source != "torchvision" or kind_of(str(model.weights)) != "name":
        return {}
    metrics = zoo.entry(model).meta.get("_metrics", {}).get("ImageNet-1K", {})
    return {ours: float(metrics[theirs]) for theirs, ours in METRICS.items() if theirs in metrics}
