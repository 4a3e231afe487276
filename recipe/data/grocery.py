"""data=grocery: the demo's photos, where `data/prepare/grocery.py` has put them."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recipe.config import DataConfig
from recipe.errors import DataError
from recipe.files import cache_folders

if TYPE_CHECKING:
    from recipe.data.folder import ImageFolder

IN_CACHE = "grocery"  # what the folder is called in the user's cache folder
CLASSES = (
    *("Anjou", "Cantaloupe", "Conference", "Galia-Melon", "Golden-Delicious", "Granny-Smith", "Honeydew-Melon"),
    *("Kaiser", "Orange", "Pink-Lady", "Red-Delicious", "Royal-Gala", "Satsumas", "Watermelon"),
)


def open_split(config: DataConfig, split: str) -> "ImageFolder":
    """The photos of the train or val split. Raises DataError where they have not been fetched."""
    from recipe.data import imagefolder  # and PyTorch, which checks of a config do without

    return imagefolder.open_split(replace(config, root=str(_root(config.root))), split)


def are_there(folder: Path) -> bool:
    """Whether a folder has the photos."""
    return (folder / "train").is_dir()


def _root(root: str | None) -> Path:
    if root is not None:
        return Path(root).expanduser()
    for folder in cache_folders():
        with suppress(OSError):  # not ours to look into
            if are_there(folder / IN_CACHE):
                return folder / IN_CACHE
    raise DataError("the photos of data=grocery have not been fetched: training with it does that")
