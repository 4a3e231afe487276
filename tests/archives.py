"""A data set as class folders, and the same images in archives, as other programs write them."""

import io
import json
import os
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from photos import PHOTOS, encoded, photo
from PIL import Image

from recipe.config import DataConfig
from recipe.data.dataset import load
from recipe.data.folder import ImageFolder

CLASSES = ("ant", "bee bee", "größe")
KINDS = (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("JPEG", "JPEG"))


def folders(root: Path, train: int = 4, val: int = 2) -> Path:
    """train/CLASS/… and val/CLASS/…: photos of several formats, no two alike; real ones where they are at hand."""
    real = real_photos()
    number = 0
    for part, count in (("train", train), ("val", val)):
        for name in CLASSES:
            (root / part / name).mkdir(parents=True)
            for own in range(count):
                format, suffix = KINDS[own % len(KINDS)]
                picture = real[number % len(real)] if real else photo(40 + number, 50)
                picture = picture.resize((50 + number, 44))
                (root / part / name / f"{part}_{name[0]}{own:04}.{suffix}").write_bytes(encoded(picture, format))
                number += 1
    return root


def real_photos() -> list[Image.Image]:
    if PHOTOS is None:
        return []
    with tarfile.open(PHOTOS) as archive:
        files = [archive.extractfile(info) for info, _ in zip(archive, range(12), strict=False)]
        return [Image.open(io.BytesIO(file.read())).convert("RGB") for file in files if file is not None]


def files_of(folder: Path) -> list[tuple[str, bytes]]:
    """Names and contents, in an order that is not theirs."""
    found = sorted((os.fspath(path.relative_to(folder)), path.read_bytes()) for path in folder.rglob("*.*"))
    return [found[int(i)] for i in np.random.default_rng(0).permutation(len(found))]


def tar(path: Path, files: Sequence[tuple[str, bytes]], **options: int) -> Path:
    """A tar of these files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:  # type: ignore[call-overload]
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def shards(folder: Path, files: Sequence[tuple[str, bytes]], count: int = 3) -> list[Path]:
    """`000000.tar` and so on, the files dealt out; those of one sample stay together."""
    keys = list(dict.fromkeys(name.partition(".")[0] for name, _ in files))
    dealt = [set(keys[number::count]) for number in range(count)]
    return [
        tar(folder / f"{number:06}.tar", [file for file in files if file[0].partition(".")[0] in own])
        for number, own in enumerate(dealt)
    ]


def labelled(folder: Path, by: str, classes: Sequence[str]) -> list[tuple[str, bytes]]:
    """Files as WebDataset's samples, without folders: KEY.jpg with KEY.cls or KEY.json, side by side."""
    found = []
    for name, content in files_of(folder):
        label, _, file = name.partition("/")
        number, key = classes.index(label), file.partition(".")[0]
        text = str(number) if by == "cls" else json.dumps({"label": number, "caption": "…"})
        found.append([(file, content), (f"{key}.{by}", text.encode())])
    return [file for pair in found for file in pair]


def zipped(path: Path, files: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> Path:
    """A zip of these files."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return path


def opened(root: Path | str, **keys: object) -> tuple[ImageFolder, ImageFolder]:
    """The training and validation set."""
    train, val = load(DataConfig(name="imagefolder", root=str(root), **keys))  # type: ignore[arg-type]
    assert isinstance(train, ImageFolder)
    assert isinstance(val, ImageFolder)
    return train, val


def assert_same(found: tuple[ImageFolder, ImageFolder], expected: tuple[ImageFolder, ImageFolder]) -> None:
    """The same data sets: names, labels, fingerprints, pixels."""
    for one, other in zip(found, expected, strict=True):
        assert (one.fingerprint, one.earlier, one.classes) == (other.fingerprint, other.earlier, other.classes)
        assert one.paths.tolist() == other.paths.tolist()
        assert np.array_equal(one.labels, other.labels)
        for index in range(len(one)):
            assert one.open(index).whole().equal(other.open(index).whole())
