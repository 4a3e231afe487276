"""Downloads that tests make: archives and folders of small photos."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from photos import encoded, photo

from recipe.data.prepare.whole_folder import put

Files = Mapping[str, bytes]


def jpegs(*names: str) -> dict[str, bytes]:
    """A photo for each name, no two alike."""
    return {name: encoded(photo(12, 20 + number), "JPEG") for number, name in enumerate(names)}


def as_tar(path: Path, files: Files, mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def as_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def as_folder(path: Path, files: Files) -> Path:
    for name, content in files.items():
        put(path / name, content)
    return path
