"""Stores for tests: made beside their originals, finished and not."""

from pathlib import Path
from typing import Any

import pytest
from photos import encoded, photo

from recipe.config import DataConfig
from recipe.data import dataset
from recipe.data.prepare import store

SIDE, QUALITY = 48, 90


def originals(folder: Path) -> Path:
    """train/{ant,bee} and val/{ant,bee} with an image each that is larger than a store's, and one that is not."""
    for name in ("train/ant", "train/bee", "val/ant", "val/bee"):
        place(folder / name / "large.jpg", encoded(photo(61, 83), "JPEG"))
        place(folder / name / "small.JPEG", encoded(photo(30, 40), "JPEG"))
    return folder


def place(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def prepared(source: Path, **options: Any) -> dict[str, Any]:
    """A store beside the source; returns what its store.json says."""
    given = {"train_dir": None, "max_side": SIDE, "quality": QUALITY, "workers": 2, "skip_corrupt": False, **options}
    return store.prepare(source, given.pop("target", source.with_name("store")), **given)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def unfinished(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store on which the work was given up after some files."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "_store_images", stop)
        with pytest.raises(KeyboardInterrupt):
            prepared(source)


def load(root: Path, **keys: Any) -> tuple[dataset.Dataset, dataset.Dataset]:
    return dataset.load(DataConfig(**{"name": "imagefolder", "root": str(root), **keys}))
