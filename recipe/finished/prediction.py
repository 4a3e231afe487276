"""What a finished network says of photos: the same pixels and the same forward pass as its evaluations."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from recipe.config import Config
from recipe.data.decode import Picture, open_image
from recipe.data.image_files import IMAGE_SUFFIXES, is_image, left_out
from recipe.data.loader import eval_batches
from recipe.data.walk import files_first, walk
from recipe.errors import DataError
from recipe.finished.annotation import is_annotated
from recipe.machine.distributed import Ranks
from recipe.training.loop import as_input, channel_statistics


class Prediction(NamedTuple):
    """The likeliest classes of one photo, the likeliest first."""

    file: str
    classes: list[int]
    probabilities: list[float]  # softmax of the logits


@dataclass
class Photos:
    """Files as a data set without labels."""

    files: list[str]
    classes: list[str]
    exif_orientation: bool
    fingerprint: str = ""
    guessed: set[str] = field(default_factory=set)  # files met so far the range of whose values was guessed

    def __post_init__(self) -> None:
        self.labels = np.zeros(len(self.files), dtype=np.int64)  # nobody knows them

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The file."""
        return self.files[index]

    def open(self, index: int) -> Picture:
        """One photo. Raises DataError, naming the file, as does asking for its pixels."""
        return open_image(self.files[index], self.exif_orientation)


def find_photos(given: Sequence[str], strays: list[str] | None = None) -> tuple[list[str], list[str]]:
    """Files, the images in folders and in the folders in them by name, and what patterns like `*.jpg` match.

    Args:
        strays: gets a line for what is left out of the folders: it is no fault.

    Returns:
        The files, each once, in the order given and below a folder in name order; and what came to nothing, a line
        each.
    """
    files: list[str] = []
    nothing: list[str] = []
    for name in given:
        matching = [name] if os.path.lexists(name) else sorted(glob.glob(name, recursive=True))
        if not matching:
            nothing.append(f"there is no file {name}")
        for path in matching:
            if not os.path.isdir(path):
                files.append(path)
                continue
            try:
                images, others = _images_below(path)
            except DataError as error:
                nothing.append(str(error))
                continue
            files.extend(images)
            if strays is not None:
                strays.extend(others)
            if not images:
                nothing.append(f"there are no images in {path} ({', '.join(IMAGE_SUFFIXES)})")
    return list(dict.fromkeys(files)), nothing


def predict(model: nn.Module, photos: Photos, config: Config, ranks: Ranks) -> Iterator[tuple[str, Tensor]]:
    """(file, logits) of every photo that can be read, in order. Logits: (classes,), on the host."""
    mean, std = channel_statistics(config, ranks.device)
    sizes = config.resolution
    for batch in eval_batches(photos, config, ranks, sizes.val_resize, sizes.val_crop):
        photos.guessed.update(batch.guessed)
        if not len(batch.indices):
            continue
        with torch.inference_mode():
            logits = model(as_input(batch.images.to(ranks.device), mean, std, config)).cpu()
        for index, row in zip(batch.indices.tolist(), logits, strict=True):
            yield photos.name(index), row


def likeliest(file: str, logits: Tensor, count: int) -> Prediction:
    """The `count` likeliest classes of a photo with these logits, (classes,)."""
    probabilities, classes = logits.double().softmax(0).topk(min(count, len(logits)))
    return Prediction(file, classes.tolist(), probabilities.tolist())


def what_is_wrong(photos: Photos, file: str) -> str:
    """Why a photo cannot be read."""
    try:
        open_image(file, photos.exif_orientation).whole()
    except DataError as error:
        return str(error)
    return f"{file} could not be read, and now it can"


def _images_below(folder: str) -> tuple[list[str], list[str]]:
    """Images by their names, as training finds them, and lines about the rest; files before the folders beside them."""
    found = walk(Path(folder))
    names = [name for name, _ in found.files] + found.broken  # links that lead nowhere are named where they are read
    images = sorted(filter(is_image, names), key=files_first)
    strays = [name for name in names if not is_image(name)]
    lines = list(left_out(folder, strays, found.not_files))
    if copies := [name for name in images if is_annotated(name)]:
        what = f"{copies[0]}{' …' * (len(copies) > 1)} ({len(copies):,} in {folder})"
        lines.append(f"not predicted, copies that --annotate made: {what}")
    return [os.path.normpath(Path(folder) / name) for name in images if not is_annotated(name)], lines
