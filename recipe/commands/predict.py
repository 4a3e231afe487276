"""`recipe predict RUN FILE …`: the classes of photos, with their probabilities; also of published weights."""

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe.commands.data import whole_number
from recipe.errors import ConfigError, DataError, RunError
from recipe.finished import classifier
from recipe.finished.classifier import Classifier
from recipe.network.weights import PREFIX, kind_of
from recipe.output import say

if TYPE_CHECKING:
    from recipe.finished.prediction import Prediction

EXAMPLE = "recipe predict outputs/v2/seed=0 photos/ 'more/*.jpg' --csv classes.csv --annotate annotated"
OF_WEIGHTS = "recipe predict --model resnet50 --weights IMAGENET1K_V2 photo.jpg"
TOP = 5
CSV_HEADER = ("file", "rank", "class", "probability")


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "predict",
        help="classes and probabilities of photos",
        description="Say what a run's network takes photos for. They are prepared as in its evaluations; "
        "probabilities are the softmax of its logits. Files that cannot be read are named, the others predicted, and "
        "the exit code is then 2.",
        epilog=f"Example: {EXAMPLE}. Published weights, without a run: {OF_WEIGHTS}",
    )
    parser.add_argument("arguments", nargs="+", metavar="RUN|FILE", help="a run; files, folders, patterns")
    parser.add_argument("--model", metavar="NAME", help="instead of a run: a model, with --weights of it")
    parser.add_argument("--source", choices=("torchvision", "timm"), default="torchvision", help="(torchvision)")
    parser.add_argument("--top", type=whole_number(1, 100_000), metavar="K", help=f"classes a photo ({TOP}, 1 drawn)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help=f"the same as a table: {', '.join(CSV_HEADER)}")
    parser.add_argument(
        "--annotate", type=Path, metavar="DIR", help="copies of the photos with classes and probabilities on them"
    )
    parser.add_argument(
        "--weights",
        metavar="KIND",
        help="raw, ema or best (those whose figures count); instead of a run: a file of recipe export, or with --model "
        "what model.weights takes",
    )
    parser.add_argument("--batch-size", type=whole_number(1, 100_000), metavar="N", help="photos in a forward pass")
    parser.add_argument("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto", help="(auto)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the classes of each photo, and write what is asked for. Raises DataError where a photo cannot be read."""
    of, given = _classifier(arguments)
    if not given:
        raise ConfigError(f"which photos? Name files or folders, as in: {EXAMPLE}")
    config = of.config
    config.data.on_corrupt = "skip"
    config.runtime.device = arguments.device
    config.evaluate.batch_size = arguments.batch_size or config.evaluate.batch_size

    from recipe.finished import prediction  # PyTorch, once the arguments are known to be right
    from recipe.logs import console, faults  # PyTorch, once the arguments are known to be right
    from recipe.machine import distributed  # PyTorch, once the arguments are known to be right
    from recipe.machine.numerics import set_numerics  # PyTorch, once the arguments are known to be right

    strays: list[str] = []
    files, wrong = prediction.find_photos(given, strays)
    for line in strays:
        print(line, file=sys.stderr, flush=True)
    for line in wrong:
        _say_wrong(line)
    if not files:
        raise DataError("there is nothing to predict")
    if len(files) <= config.evaluate.batch_size:
        config.data.workers = 0  # a batch is one worker's task
    photos = prediction.Photos(files, of.classes, config.data.exif_orientation)
    ranks = distributed.start(config.runtime)
    set_numerics(config.runtime, sizes_repeat=len(files) > config.evaluate.batch_size)
    model = of.network(ranks)
    predictions = []
    with faults.memory_for_images("--batch-size", config.evaluate.batch_size):
        for file, logits in prediction.predict(model, photos, config, ranks):
            predictions.append(prediction.likeliest(file, logits, arguments.top or TOP))
            say("\n".join(_lines(predictions[-1], photos.classes)))
    for line in console.guessed(photos.guessed):
        print(line, file=sys.stderr, flush=True)
    read = {each.file for each in predictions}
    for file in files:
        if file not in read:
            wrong.append(prediction.what_is_wrong(photos, file))
            _say_wrong(wrong[-1])
    if arguments.csv is not None:
        _write_csv(arguments.csv, predictions, photos.classes)
    if arguments.annotate is not None:
        _annotate(arguments.annotate, predictions, photos.classes, arguments.top or 1)
    if wrong:
        raise DataError(f"{len(wrong)} of {len(predictions) + len(wrong)} could not be predicted: they are named above")


def _classifier(arguments: argparse.Namespace) -> tuple[Classifier, list[str]]:
    """Whose network, and which photos."""
    weights = arguments.weights or ""
    if arguments.model is None and not weights.startswith(PREFIX) and kind_of(weights) == "name":
        folder, *photos = arguments.arguments
        return classifier.of_run(Path(folder), arguments.weights), photos
    if arguments.model is None and kind_of(weights) == "run":
        return classifier.of_run(Path(weights), None), arguments.arguments
    return classifier.of_weights(arguments.model, arguments.source, weights or "DEFAULT"), arguments.arguments


def _lines(found: "Prediction", classes: list[str]) -> list[str]:
    rows = zip(found.classes, found.probabilities, strict=True)
    return [found.file, *(f"{100 * probability:8.2f}%  {classes[number]}" for number, probability in rows)]


def _say_wrong(line: str) -> None:
    print(f"Left out: {line}", file=sys.stderr, flush=True)


def _write_csv(path: Path, predictions: "list[Prediction]", classes: list[str]) -> None:
    from recipe.files import write_atomically

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CSV_HEADER)
    for found in predictions:
        for rank, (number, probability) in enumerate(zip(found.classes, found.probabilities, strict=True), start=1):
            table.writerow([found.file, rank, classes[number], f"{probability:.6f}"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.getvalue())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    print(f"Table: {path}")


def _annotate(folder: Path, predictions: "list[Prediction]", classes: list[str], count: int) -> None:
    from recipe.finished.annotation import annotate, targets
    from recipe.logs import lettering

    where = targets((found.file for found in predictions), folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for found in predictions:
            likeliest = zip(found.classes[:count], found.probabilities, strict=False)
            said = [(classes[number], f"{100 * probability:.1f}%") for number, probability in likeliest]
            annotate(found.file, said, where[found.file])
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}") from error
    drawn = {classes[number] for found in predictions for number in found.classes[:count]}
    if (line := lettering.missing(drawn)) is not None:
        print(line)
    print(f"Annotated: {folder}")
