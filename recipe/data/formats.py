"""The formats of data sets: what `data.name` may be, and what is known of each before it is opened.

A new format is a module with `open_split`, a line here, its name in `recipe/config.py` and an option in `conf/data/`.
This module imports no torch: configs are checked by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Format:
    """What is known of the data sets of one data.name."""

    # Has `open_split(config: DataConfig, split: str) -> Dataset` for "train", "val" and "test", which raises DataError
    # where there is no such split. Imported when it is needed.
    module: str
    needs: Mapping[str, str] = field(default_factory=dict)  # keys of `data` that must be set → what is said otherwise
    divisible: bool = False  # data.val_fraction may hold images out: its images need no validation set of their own
    instead: str = ""  # what it reads in place of one's own photos, as a message puts it; "": it reads those


FOLDERS = "a folder with train/ and val/"

FORMATS = {
    "imagefolder": Format(
        "recipe.data.imagefolder", {"root": f"this data set needs data.root=FOLDER: {FOLDERS}"}, divisible=True
    ),
    "imagenet": Format(
        "recipe.data.imagefolder",
        {"root": f"this data set needs data.root=FOLDER or $IMAGENET_DIR: {FOLDERS}"},
        divisible=True,
    ),
    "grocery": Format("recipe.data.grocery", instead="is the demo's photos of groceries"),
    "synthetic": Format(
        "recipe.data.synthetic",
        {"num_classes": "data=synthetic needs data.num_classes=…"},
        instead="makes its images and reads none",
    ),
}
