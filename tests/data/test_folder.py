"""A folder is scanned once and known again; the images held out of it are the same on every call."""

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recipe.config import DataConfig
from recipe.data import folder as folders
from recipe.data.dataset import load
from recipe.data.folder import ImageFolder, scan_folder
from recipe.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(folders, "CACHED_FROM", 1)
    return tmp_path / "cache"


def photos(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(root / name / f"{number:03}.png")
    return root


def held_out(root: Path, fraction: float) -> tuple[ImageFolder, ImageFolder]:
    train, val = load(DataConfig(name="imagefolder", root=str(root), val_fraction=fraction))
    assert isinstance(train, ImageFolder)
    assert isinstance(val, ImageFolder)
    return train, val


def test_fraction_holds_out_the_same_share_of_every_class(tmp_path: Path) -> None:
    train, val = held_out(photos(tmp_path / "all", cat=100, dog=40, elk=2), 0.25)
    assert np.bincount(val.labels).tolist() == [25, 10, 1]
    assert np.bincount(train.labels).tolist() == [75, 30, 1]
    names = [{images.name(i) for i in range(len(images))} for images in (train, val)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 142
    held = {name for name in names[1] if name.startswith("cat")}
    assert held != {f"cat/{number:03}.png" for number in range(25)}  # not simply the first ones


def test_fraction_holds_out_the_same_images_each_time_and_says_so_by_its_fingerprint(tmp_path: Path) -> None:
    root = photos(tmp_path / "all", cat=20, dog=20)
    one, again, other = held_out(root, 0.2), held_out(root, 0.2), held_out(root, 0.3)
    assert np.array_equal(one[1].paths, again[1].paths)
    assert [s.fingerprint for s in one] == [s.fingerprint for s in again]
    assert len({s.fingerprint for s in (*one, *other)}) == 4


def test_fraction_takes_the_train_folder_where_there_is_one(tmp_path: Path) -> None:
    photos(tmp_path / "all" / "train", cat=4, dog=4)
    train, _ = held_out(tmp_path / "all", 0.25)
    assert train.classes == ["cat", "dog"]


def test_class_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"elk has 1 image.*two or more"):
        held_out(photos(tmp_path / "all", cat=4, elk=1), 0.2)


def test_files_that_are_no_images_are_counted(tmp_path: Path) -> None:
    root = photos(tmp_path / "all", cat=2, dog=2)
    (root / "cat" / "notes.txt").write_text("of the photographer")
    (root / "dog" / ".hidden").write_text("")
    assert scan_folder(root).strays == ["cat/notes.txt"]


def test_second_scan_is_the_first_one_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = photos(tmp_path / "all", cat=3, dog=2)
    (root / "dog" / "puppies").mkdir()
    (root / "dog" / "puppies" / "notes.txt").write_text("")
    first = scan_folder(root)
    monkeypatch.setattr(folders, "_scan", None)  # as a call it would fail
    second = scan_folder(root, exif_orientation=True)
    assert np.array_equal(first.paths, second.paths)
    assert np.array_equal(first.labels, second.labels)
    assert (first.classes, first.fingerprint, first.strays) == (second.classes, second.fingerprint, second.strays)
    assert second.exif_orientation
    assert second.open(4).whole().shape == (3, 8, 8)


@pytest.mark.parametrize("change", ["add", "remove", "rename", "class", "deep"])
def test_changed_folder_is_scanned_again(tmp_path: Path, change: str) -> None:
    root = photos(tmp_path / "all", cat=3, dog=2)
    (root / "dog" / "puppies").mkdir()
    before = scan_folder(root)
    if change == "add":
        Image.new("RGB", (8, 8)).save(root / "cat" / "new.png")
    elif change == "remove":
        (root / "cat" / "001.png").unlink()
    elif change == "rename":
        (root / "cat" / "001.png").rename(root / "cat" / "1.png")
    elif change == "class":
        photos(root, elk=1)
    else:
        Image.new("RGB", (8, 8)).save(root / "dog" / "puppies" / "new.png")
    assert scan_folder(root).fingerprint != before.fingerprint


def test_broken_cache_is_no_hindrance(tmp_path: Path, cache: Path) -> None:
    root = photos(tmp_path / "all", cat=3, dog=2)
    before = scan_folder(root)
    (file,) = (cache / "recipe-ladder" / "scans").iterdir()
    whole = file.read_bytes()
    for content in (whole[:100], whole[:-30], b"", b"\0" * 500, whole.replace(b"paths", b"pathz")):
        file.write_bytes(content)
        assert scan_folder(root).fingerprint == before.fingerprint
        assert file.read_bytes() == whole
    file.unlink()
    file.mkdir()
    assert scan_folder(root).fingerprint == before.fingerprint


@pytest.mark.parametrize("temporary", [True, False], ids=["a temporary folder", "nowhere"])
def test_home_that_cannot_be_written_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temporary: bool
) -> None:
    """/sys takes no folder, not even from root."""
    root, forbidden = photos(tmp_path / "all", cat=3, dog=2), "/sys" if sys.platform == "linux" else "/dev/null"
    before = scan_folder(root)
    monkeypatch.setenv("XDG_CACHE_HOME", f"{forbidden}/cache")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path) if temporary else forbidden)
    for _ in range(2):
        assert scan_folder(root).fingerprint == before.fingerprint
    assert len(list(tmp_path.glob("recipe-ladder-*/scans/*.npz"))) == temporary


def test_names_of_any_bytes_survive_the_cache(tmp_path: Path) -> None:
    root = photos(tmp_path / "all", cat=1, dog=1)
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x90\xb1.png")
    (root / "cat" / "000.png").rename(root / "cat" / name)
    scan_folder(root)
    assert scan_folder(root).name(0) == f"cat/{name}"
    assert scan_folder(root).open(0).whole().shape == (3, 8, 8)
