"""What a network says of a photo, written on the photo itself."""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torchvision.transforms.v2.functional as F
from PIL import Image, ImageDraw

from recipe.data.decode import open_image
from recipe.logs.lettering import Letters

SHARE = 18  # of the photo's shorter side: one of so many parts is the height of the letters
SMALLEST = 12  # pixels
LEAST = 3  # letters of a class's name, where it is cut
BEHIND = (0, 0, 0, 170)  # black that lets a third of the photo through: white letters stand out on any photo
QUALITY = 95  # of JPEGs
OURS = re.compile(r".*\.predicted(-\d+)?\.(jpg|png)", re.DOTALL)  # names of copies, as `targets` gives them


def is_annotated(name: str) -> bool:
    """Whether a file is an annotated copy by its name."""
    return OURS.fullmatch(name) is not None


def annotate(file: str, said: Sequence[tuple[str, str]], target: Path) -> None:
    """Draw lines of a class and its probability at the lower edge of a photo, upright and at its own size.

    Where they do not fit, the letters get smaller, down to SMALLEST, then the names of classes are cut; the probability
    never is. A photo that is too small for that stands above its lines, on black.

    Raises DataError and OSError.
    """
    photo = F.to_pil_image(open_image(file, exif_orientation=True).whole())
    label = _label(said, *photo.size)
    width, height = max(photo.width, label.width), photo.height
    if label.width > photo.width or label.height > photo.height:
        height += label.height
    sheet = Image.new("RGB", (width, height))
    sheet.paste(photo)
    sheet.paste(label.convert("RGB"), (0, height - label.height), label.getchannel("A"))
    options: dict[str, Any] = {"quality": QUALITY, "subsampling": 0} if target.suffix == ".jpg" else {}
    sheet.save(target, **options)


def targets(files: Iterable[str], folder: Path) -> dict[str, Path]:
    """Where each photo's annotated copy goes: a.predicted.jpg, and a.predicted-2.jpg for another photo of this name.

    None takes the place of one of the photos.
    """
    files = list(files)
    taken = {os.path.realpath(file).casefold() for file in files}
    found = {}
    for file in files:
        path = Path(file)
        suffix = ".jpg" if path.suffix.lower() in (".jpg", ".jpeg") else ".png"
        number, target = 1, folder / f"{path.stem}.predicted{suffix}"
        while os.path.realpath(target).casefold() in taken:
            number += 1
            target = folder / f"{path.stem}.predicted-{number}{suffix}"
        taken.add(os.path.realpath(target).casefold())
        found[file] = target
    return found


def _label(said: Sequence[tuple[str, str]], width: int, height: int) -> Image.Image:
    """The lines on their dark ground, as wide as they need to be."""
    for size in range(max(SMALLEST, min(width, height) // SHARE), SMALLEST - 1, -1):
        letters, margin = Letters(size), max(2, round(size / 4))
        gap = letters.length("  ")
        figures = [gap + letters.length(figure) for _, figure in said]
        full = [letters.length(name) + figure for (name, _), figure in zip(said, figures, strict=True)]
        if max(full) <= width - 2 * margin:
            break
    least = [letters.length(f"{name[:LEAST]}…") + figure for (name, _), figure in zip(said, figures, strict=True)]
    room = max(width - 2.0 * margin, *map(min, full, least))
    names = [letters.cut(name, room - figure) for (name, _), figure in zip(said, figures, strict=True)]
    widest = max(letters.length(name) + figure for name, figure in zip(names, figures, strict=True))
    size_of_label = math.ceil(widest) + 2 * margin, len(said) * letters.height + 2 * margin
    label = Image.new("RGBA", size_of_label, BEHIND)
    canvas = ImageDraw.Draw(label)
    for number, (name, (_, figure)) in enumerate(zip(names, said, strict=True)):
        top = margin + number * letters.height
        letters.draw(canvas, margin, top, name, "white")
        letters.draw(canvas, margin + letters.length(name) + gap, top, figure, "white")
    return label
