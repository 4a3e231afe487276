"""`recipe export RUN`: a run's network as one file for other programs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe import __version__
from recipe.config import Config
from recipe.errors import ConfigError, DataError, RunError
from recipe.network import definition
from recipe.run import trained
from recipe.run.trained import Trained

if TYPE_CHECKING:
    import numpy as np

EXAMPLE = "recipe export outputs/v2/seed=0 --format onnx --with-preprocessing --out v2.onnx"
SUFFIXES = {"safetensors": ".safetensors", "onnx": ".onnx"}
CHECKED = 16  # photos


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "export",
        help="the network as a file: safetensors, ONNX",
        description="Write a run's network as one file. safetensors: the weights under the names of torchvision or "
        "timm. onnx: a graph for any batch size; its input `images` is (n, 3, crop, crop) float32, normalised, or with "
        "--with-preprocessing (n, crop, crop, 3) uint8 RGB; its output `logits` is (n, classes). It is compared with "
        "the network on validation photos where onnxruntime is installed. The file's metadata hold class names, sizes, "
        "mean, std, interpolation, recipe and hashes, each as JSON.",
        epilog=f"Example: {EXAMPLE}",
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--format", choices=tuple(SUFFIXES), help="(from FILE's name, else safetensors)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="(RUN/export/MODEL-WEIGHTS.safetensors or .onnx)")
    parser.add_argument("--weights", metavar="KIND", help="raw, ema or best (those whose figures count)")
    parser.add_argument("--with-preprocessing", action="store_true", help="onnx: normalise inside; takes uint8 pixels")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the file, and say what it takes. Raises ConfigError and RunError."""
    the_run = trained.read(arguments.run_folder)
    kind = arguments.weights or trained.weights_of(the_run)[0]
    trained.check_weights(the_run, kind)
    form = _format(arguments)
    pixels = arguments.with_preprocessing
    if pixels and form != "onnx":
        raise ConfigError("--with-preprocessing is for --format onnx: a safetensors file holds weights alone")
    config = trained.evaluation_config(the_run)
    suffix = "-pixels" if pixels else ""
    file = f"{config.model.name}-{kind}{suffix}{SUFFIXES[form]}"
    path = arguments.out or the_run.folder / "export" / file

    import torch  # once the arguments are known to be right

    from recipe.finished import exporting

    network = trained.network(the_run, torch.device("cpu"), kind)
    about = describe(the_run, config, kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if form == "safetensors":
            exporting.write_safetensors(path, network, about)
        else:
            takes = "pixels" if pixels else "normalised"
            exporting.write_onnx(path, network, config, {**about, "input": takes}, pixels)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
    print(f"{'file':13}{path} ({path.stat().st_size / 1e6:.1f} MB)")
    print(f"{'network':13}{config.model.source} {config.model.name}, {kind} weights, {len(about['classes']):,} classes")
    crop = config.resolution.val_crop
    print(f"{'pixels':13}{crop} of {config.resolution.val_resize} (shorter side, {config.resolution.interpolation})")
    if form == "safetensors":
        print(f"{'to load it':13}{_loading(config, path, network, about['arguments'])}")
        return
    shape = f"(n, {crop}, {crop}, 3) uint8 RGB" if pixels else f"(n, 3, {crop}, {crop}) float32, (pixel/255 - mean)/std"
    print(f"{'takes':13}images {shape}")
    print(f"{'gives':13}logits (n, {len(about['classes']):,}) float32")
    print(f"{'checked':13}{_check(path, network, the_run, config, pixels)}")


def describe(the_run: Trained, config: Config, kind: str) -> dict[str, Any]:
    """What the file says of itself."""
    from recipe.network import zoo

    sizes, result = config.resolution, the_run.result
    figures = result["best"] if kind == "best" else result[kind]
    return {
        "architecture": config.model.name,
        "source": config.model.source,
        definition.ENTRY: definition.chosen(config.model),
        "stem": config.model.stem,  # this and the next three: for earlier versions
        "head": config.model.head,
        "head_width": config.model.head_width,
        "args": config.model.args,
        "arguments": kept if (kept := trained.arguments(the_run)) is not None else zoo.arguments(config.model),
        "output": "log-probabilities" if config.loss.name == "nll" else "logits",
        "classes": the_run.environment["classes"],
        "train_crop": sizes.train_crop,
        "val_resize": sizes.val_resize,
        "val_crop": sizes.val_crop,
        "interpolation": sizes.interpolation,
        "mean": config.data.mean,
        "std": config.data.std,
        "exif_orientation": config.data.exif_orientation,
        "weights": kind,
        "acc1": figures["acc1"],
        "recipe": result["recipe"],
        "name": result["name"],
        "seed": config.seed,
        "training_hash": result["training_hash"],
        "result_hash": result["result_hash"],
        "recipe_ladder": __version__,
    }


def _format(arguments: argparse.Namespace) -> str:
    """By the file's name, or as it is said. Raises ConfigError where the name is of something else."""
    named = {suffix: form for form, suffix in SUFFIXES.items()}
    by_name = named.get(arguments.out.suffix.lower()) if arguments.out is not None else None
    if arguments.out is not None and (by_name is None or arguments.out.is_dir()):
        what = "is a folder" if arguments.out.is_dir() else "names a kind of file that is not written here"
        example = arguments.out / "model" if arguments.out.is_dir() else arguments.out.with_suffix("")
        raise ConfigError(f"--out {arguments.out} {what}: {' or '.join(f'{example}{suffix}' for suffix in named)}")
    if arguments.format is not None and by_name not in (None, arguments.format):
        raise ConfigError(f"--out {arguments.out} is named as {by_name}, and --format is {arguments.format}")
    return str(arguments.format or by_name or "safetensors")


def _loading(config: Config, path: Path, network: Any, arguments: dict[str, Any]) -> str:
    """Python code with which others load the weights."""
    made_with = definition.chosen(config.model)
    if made_with.keys() - {"args"}:  # which the source's constructor takes
        made = definition.written(made_with)
        return f"this package makes the network (recipe.network.model.make_model), with {made}"
    count = config.data.num_classes
    given = "".join(f", {name}={value!r}" for name, value in {**arguments, **config.model.args}.items())
    if config.model.source == "timm":
        return f"timm.create_model('{config.model.name}', num_classes={count}, checkpoint_path='{path.name}'{given})"
    if network._version != type(network)._version:
        return f"this is an older version of {config.model.name}: recipe.network.states.load_by_version loads it"
    lines = [f"model = torchvision.models.{config.model.name}(num_classes={count}{given})"]
    state = f"safetensors.torch.load_file('{path.name}')"
    try:
        network.load_state_dict(dict(network.state_dict()))
    except ValueError:  # it asks for its version (MNASNet), which its own state dict has
        lines += ["state = model.state_dict()", f"state.update({state})"]
        state = "state"
    return f"\n{'':13}".join([*lines, f"model.load_state_dict({state})"])


def _check(path: Path, network: Any, the_run: Trained, config: Config, pixels: bool) -> str:
    """A line on how far the file's logits are from the network's. Takes the file away where they are too far."""
    from recipe.finished import exporting

    images, what = _photos(the_run, config)
    try:
        model = exporting.as_exported(network, config, pixels)
        difference = exporting.largest_difference(path, model, images, config, pixels)
    except RunError:
        path.unlink()
        raise
    if difference is None:
        return "not: that needs onnxruntime, pip install -e '.[export]'"
    return f"on {what}: logits differ by at most {difference:.1e}"


def _photos(the_run: Trained, config: Config) -> "tuple[np.ndarray, str]":
    """Images (n, crop, crop, 3) uint8 to compare on: of the validation set, spread over it, where it is there."""
    import numpy as np

    from recipe.data import dataset as datasets
    from recipe.data.prepare.fetch import fetch
    from recipe.data.transforms import apply_eval

    sizes = config.resolution
    try:
        fetch(config.data)
        photos = datasets.load_split(config.data, "val", the_run.environment["classes"], the_run.environment["data"])
        chosen = np.linspace(0, len(photos) - 1, min(CHECKED, len(photos))).astype(int)
        images = [
            apply_eval(photos.open(int(i)).whole(), sizes.val_resize, sizes.val_crop, sizes.interpolation)
            for i in chosen
        ]
        return np.stack([image.permute(1, 2, 0).numpy() for image in images]), f"{len(images)} validation images"
    except DataError:
        shape = CHECKED, sizes.val_crop, sizes.val_crop, 3
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        return noise, f"{CHECKED} images of noise (the validation images are not here)"
