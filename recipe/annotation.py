"""What a network says of a photo, written on the photo itself."""

import os
from collections.abc import Iterable
from pathlib import Path

import torchvision.transforms.v2.functional as F
from PIL import Image, ImageDraw, ImageFont

from recipe.data.decode import open_image

SHARE = 18  # of the photo's shorter side: one of so many parts is the height of the letters
SMALLEST = 12  # pixels
BEHIND = (0, 0, 0, 170)  # black that lets a third of the photo through: white letters stand out on any photo
QUALITY = 95  # of JPEGs


def annotate(file: str, text: str, target: Path) -> None:
    """Draw a line of text at the lower edge of a photo, upright and at its own size. Raises DataError and OSError.

    A line that is too long gets smaller letters, down to SMALLEST, and is then cut.
    """
    photo = F.to_pil_image(open_image(file, exif_orientation=True).whole())
    font, text = _fitting(text, *photo.size)
    margin = max(2, round(font.size / 4))
    box = font.getbbox(text)
    height = sum(font.getmetrics()) + 2 * margin
    label = Image.new("RGBA", (min(photo.width, round(box[2]) + 2 * margin), height), BEHIND)
    ImageDraw.Draw(label).text((margin, margin), text, fill="white", font=font)
    photo.paste(label.convert("RGB"), (0, photo.height - height), label.getchannel("A"))
    options = {"quality": QUALITY, "subsampling": 0} if target.suffix == ".jpg" else {}
    photo.save(target, **options)


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


def _fitting(text: str, width: int, height: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """The font and the part of the text that fit into a photo."""
    for size in range(max(SMALLEST, min(width, height) // SHARE), SMALLEST - 1, -1):
        font = _font(size)
        if font.getlength(text) <= width - size:
            return font, text
    while len(text) > 1 and font.getlength(text) > width - size:
        text = text[:-2].rstrip("…") + "…"
    return font, text


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
