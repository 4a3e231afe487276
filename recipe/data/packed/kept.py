"""Where data sets of archives are kept once their archives were looked through: outside of the data, in a cache."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recipe.data.folder import ImageFolder
from recipe.data.packed.members import Members
from recipe.errors import RunError
from recipe.files import cache_folders, in_cache, write_atomically

FORMAT = 1
TEXTS = ("classes", "strays", "not_files")
ARRAYS = ("names", "inner", "archive", "size", "at", "stored", "crc", "deflated")


def kept(what: str, stamps: np.ndarray, archives: list[Path], make: Callable[[], ImageFolder]) -> ImageFolder:
    """A data set of archives: from the cache where they are as they were, or made, by one process while others wait.

    Args:
        what: all that it depends on beside the archives' stamps, (archives, 2) int64.
    """
    depends = os.fsencode("\0".join([what, *(os.path.realpath(path) for path in archives)]))
    name = f"archives/{hashlib.blake2b(depends, digest_size=12).hexdigest()}.npz"
    if (found := _read(name, stamps, archives)) is not None:
        return found
    with _alone(name):
        found = _read(name, stamps, archives)
        if found is None:
            made = found = make()
            with suppress(RunError):  # nowhere to keep it: looked through again by the next start
                in_cache(name, lambda path: False, lambda path: _write(path, made))
    return found


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """While this process has the lock of this name; at once where there are no locks."""
    file = None
    with suppress(OSError, IndexError):
        path = cache_folders()[0] / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if file is not None:
            file.close()


def _write(path: Path, images: ImageFolder) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    members = images.members
    assert isinstance(members, Members)

    def write(temporary: Path) -> None:
        texts: dict[str, Any] = {key: _encoded(getattr(images, key)) for key in TEXTS}
        arrays: dict[str, Any] = {f"members_{key}": getattr(members, key) for key in ARRAYS}
        with temporary.open("wb") as file:
            np.savez(
                file,
                format=FORMAT,
                root=np.bytes_(os.fsencode(images.root)),
                paths=images.paths,
                labels=images.labels,
                fingerprint=images.fingerprint,
                earlier=images.earlier,
                stamps=members.stamps,
                said=members.said,
                **texts,
                **arrays,
            )

    write_atomically(path, write)


def _encoded(texts: list[str]) -> np.ndarray:
    return np.array([os.fsencode(text) for text in texts], dtype=bytes)


def _read(name: str, stamps: np.ndarray, archives: list[Path]) -> ImageFolder | None:
    for folder in cache_folders():
        try:
            with np.load(folder / name, allow_pickle=False) as file:
                if file["format"] != FORMAT or not np.array_equal(file["stamps"], stamps):
                    continue
                texts = {key: [os.fsdecode(text) for text in file[key]] for key in TEXTS}
                arrays = {key: file[f"members_{key}"] for key in ARRAYS}
                members = Members(archives, stamps, **arrays, said=str(file["said"]))
                root = Path(os.fsdecode(file["root"].item()))
                found = ImageFolder(root, file["paths"], file["labels"], texts["classes"], str(file["fingerprint"]))
                more = {"strays": texts["strays"], "not_files": texts["not_files"], "earlier": str(file["earlier"])}
                return replace(found, **more, members=members)  # type: ignore[arg-type]
        except Exception:  # not there, not ours, or not whole: NumPy and zipfile raise many kinds
            continue
    return None
