"""ImageNet as it is downloaded: ILSVRC2012_img_train.tar, a tar of a tar for each class, the validation images' tar,
and the devkit, which labels these.
"""

import csv
import io
import tarfile
from pathlib import Path
from typing import Any

from recipe.data.image_files import is_image
from recipe.data.packed.entries import Entry
from recipe.data.packed.layout import Placed
from recipe.data.packed.scanning import scan
from recipe.data.packed.tars import entries_of_tar
from recipe.errors import DataError

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
TRUTH, META, SOLUTION = "ILSVRC2012_validation_ground_truth.txt", "meta.mat", "LOC_val_solution.csv"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
TABLES = (DEVKIT, TRUTH, META, SOLUTION)


def train_images(archive: Path) -> tuple[list[Entry], Placed]:
    """The files of the tar's tars, and the images as WNID/NAME. Raises DataError."""
    outer = [entry for entry in entries_of_tar(archive) if not entry.kind and entry.name.endswith(".tar")]
    if not outer:
        raise DataError(f"{archive} holds no tars: the original has one for each class")
    placed = Placed(by="the tars' names")
    entries: list[Entry] = []
    for each, own in zip(outer, scan([(archive, tar.at, tar.size) for tar in outer], entries_of_tar), strict=True):
        wnid = each.name.rpartition("/")[2].removesuffix(".tar")
        for entry in own:
            file = entry.name.rpartition("/")[2]
            _place(placed, f"{wnid}/{file}", entry, len(entries))
            entries.append(entry._replace(name=f"{each.name}/{entry.name}"))
    return entries, placed


def val_images(archive: Path, tables: list[Path]) -> tuple[list[Entry], Placed]:
    """The files of the validation images' tar, and the images as WNID/NAME. Raises DataError.

    Args:
        tables: files and folders beside it that may hold the labels.
    """
    placed, entries = Placed(by="the devkit's ground truth"), entries_of_tar(archive)
    labels = labels_of(_tables(tables))
    for number, entry in enumerate(entries):
        file = entry.name.rpartition("/")[2]
        if not is_image(file):
            _place(placed, file, entry, number)
            continue
        wnid = labels.get(file.partition(".")[0].rpartition("_")[2])
        if wnid is None:
            needed = f"{DEVKIT}, {SOLUTION}, or {TRUTH} with {META}"
            raise DataError(f"{archive}: {entry.name} has no label: put {needed} beside the tar")
        _place(placed, f"{wnid}/{file}", entry, number)
    return entries, placed


def labels_of(tables: dict[str, bytes]) -> dict[str, str]:
    """WordNet's number of each validation image, by the eight digits of its name; {} where the tables do not say it.

    Args:
        tables: the devkit's ground truth, numbers of classes by line, with meta.mat, or LOC_val_solution.csv of Kaggle.
    """
    found = {name.rsplit("/", 1)[-1]: content for name, content in tables.items()}
    if solution := found.get(SOLUTION):
        rows = csv.DictReader(io.StringIO(solution.decode()))
        return {row["ImageId"].removeprefix("ILSVRC2012_val_"): row["PredictionString"].split()[0] for row in rows}
    truth, meta = found.get(TRUTH), found.get(META)
    if truth is None or meta is None:
        return {}
    wnids = _synsets(meta)
    return {f"{number:08}": wnids[int(line)] for number, line in enumerate(truth.decode().split(), 1)}


def _synsets(meta: bytes) -> dict[int, str]:
    """meta.mat, a MATLAB file: WordNet's numbers by ILSVRC2012_ID."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise DataError("meta.mat is a MATLAB file, and reading it needs scipy: pip install -e '.[report]'") from None
    synsets: Any = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
    return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}


def _tables(places: list[Path]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for place in places:
        if place.name == DEVKIT and place.is_file():
            try:
                with tarfile.open(place) as archive:
                    for info in archive:
                        name = info.name.rpartition("/")[2]
                        if name in (TRUTH, META) and (file := archive.extractfile(info)) is not None:
                            found[name] = file.read()
            except (tarfile.TarError, EOFError, OSError) as error:
                raise DataError(f"{place} is not whole: {error}") from error
        elif place.is_file():
            found[place.name] = place.read_bytes()
    return found


def _place(placed: Placed, name: str, entry: Entry, number: int) -> None:
    if entry.kind:
        placed.not_files.append(f"{name} ({entry.kind})")
    elif is_image(name):
        placed.files.append((name, entry.size))
        placed.numbers.append((0, number))
    else:
        placed.strays.append(name)
