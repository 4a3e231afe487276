"""data=imagefolder and data=imagenet: a folder for each split, with a folder for each class; or class folders alone; or
archives that hold such folders (`recipe.data.packed`).
"""

import os
from pathlib import Path

from recipe.config import DataConfig
from recipe.data.folder import ImageFolder, scan_folder
from recipe.data.packed.opening import open_packed
from recipe.data.split import is_divided
from recipe.data.store import refuse_unfinished
from recipe.errors import DataError

VAL_DIRS = ("val", "valid", "validation")
TEST_DIR = "test"


def open_split(config: DataConfig, split: str) -> ImageFolder:
    """The images of the train, val or test split in data.root. Raises DataError, naming the folder."""
    root = Path(str(config.root))
    refuse_unfinished(root)
    names = {"train": (config.train_dir,), "val": VAL_DIRS, "test": (config.test_dir or TEST_DIR,)}[split]
    names = (config.val_dir,) if split == "val" and config.val_dir is not None else names
    packed = open_packed(config, split, names)
    if packed is not None:
        packed.exif_orientation = config.exif_orientation
        return packed
    folder = {"train": _train_folder, "val": _val_folder, "test": _test_folder}[split]
    return scan_folder(folder(root, config), config.exif_orientation)


def _train_folder(root: Path, config: DataConfig) -> Path:
    folder = root / config.train_dir
    return root if is_divided(config) and not folder.is_dir() else folder  # the former: one folder of class folders


def _val_folder(root: Path, config: DataConfig) -> Path:
    """The folder of the validation set that comes with the data. Raises DataError where there is none."""
    if config.val_dir is not None:
        return root / config.val_dir
    for name in VAL_DIRS:
        if (root / name).is_dir():
            return root / name
    folders = [entry.name for entry in os.scandir(root) if entry.is_dir()] if root.is_dir() else [config.train_dir]
    if config.train_dir not in folders and len(folders) < 2:
        raise DataError(
            f"{root} holds no class folders: it needs train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg with "
            "data.val_fraction=0.2, with two classes or more"
        )
    raise DataError(
        f"there is no validation folder in {root}: name it {', '.join(VAL_DIRS[:-1])} or {VAL_DIRS[-1]}, "
        "set data.val_dir, or hold out a share of the images with data.val_fraction=0.2"
    )


def _test_folder(root: Path, config: DataConfig) -> Path:
    if config.test_dir is None and not (root / TEST_DIR).is_dir():
        raise DataError(f"there is no folder {root / TEST_DIR}: name the one with the test images with data.test_dir=…")
    return root / (config.test_dir or TEST_DIR)
