"""One list of suffixes for all that reads folders; and what was begun when the list was shorter."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from photos import encoded, photo
from PIL import Image

from recipe.config import DataConfig
from recipe.data import folder as folders
from recipe.data.dataset import load, load_split
from recipe.data.decode import open_image
from recipe.data.folder import scan_folder
from recipe.data.image_files import EARLIER_SUFFIXES, IMAGE_SUFFIXES, KNOWN, NEEDS, is_image, is_named_rightly, left_out
from recipe.data.prepare.split_folder import split_folder
from recipe.data.prepare.store import prepare
from recipe.data.prepare.verify import verify
from recipe.errors import DataError
from recipe.finished.prediction import find_photos

NEW = [suffix for suffix in IMAGE_SUFFIXES if suffix not in EARLIER_SUFFIXES]
WRITABLE = {suffix for suffix in IMAGE_SUFFIXES if KNOWN[suffix] not in ("SUN", "HEIF")}  # Pillow reads those alone


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(folders, "CACHED_FROM", 1)


def photos(root: Path, count: int = 4) -> Path:
    """Two classes of JPEGs."""
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.jpg").write_bytes(encoded(photo(20 + number, 30), "JPEG"))
    return root


def add_new_kinds(root: Path) -> None:
    for name, suffix, kind in (("ant", "avif", "AVIF"), ("bee", "jfif", "JPEG"), ("bee", "jp2", "JPEG2000")):
        (root / name / f"new.{suffix}").write_bytes(encoded(photo(24, 40), kind))
    (root / "ant" / "notes.txt").write_text("of the photographer")


def test_list_is_what_pillow_registers() -> None:
    Image.init()
    for suffix in IMAGE_SUFFIXES:
        if KNOWN[suffix] != "HEIF":
            assert is_named_rightly(Image.EXTENSION[suffix], f"a{suffix}"), suffix
    assert set(EARLIER_SUFFIXES) <= set(IMAGE_SUFFIXES)


@pytest.mark.parametrize("suffix", sorted(WRITABLE))
def test_each_kind_is_read_from_its_folder(tmp_path: Path, suffix: str) -> None:
    root = photos(tmp_path / "photos")
    kind = {"MPO": "JPEG", "DIB": "BMP"}.get(KNOWN[suffix], KNOWN[suffix])
    picture = photo(20, 30).convert("L").convert("F") if suffix == ".pfm" else photo(20, 30)
    (root / "ant" / f"x{suffix.upper()}").write_bytes(encoded(picture, kind))
    images = scan_folder(root)
    (index,) = (i for i in range(len(images)) if images.name(i) == f"ant/x{suffix.upper()}")
    assert images.open(index).whole().shape == (3, 20, 30)
    found = verify(root, 1)
    assert (found.images, found.bad, found.others) == (9, {}, 0)


def test_all_commands_take_the_same_files_and_tell_the_rest_alike(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = photos(tmp_path / "photos")
    add_new_kinds(root)
    (root / "bee" / "old.CR2").write_bytes(b"of a camera")
    images = scan_folder(root)
    told = list(left_out(root, images.strays))
    assert told == ["left out, no images by their names: ant/notes.txt …", f"(2 files in {root}: 1 .txt, 1 .cr2)"]
    assert len(images) == 11

    found = verify(root, 1)
    assert (found.images, found.bad, found.left_out) == (11, {}, told)
    said: list[str] = []
    assert sorted(find_photos([str(root)], said)[0]) == [str(root / images.name(i)) for i in range(11)]
    assert said == told
    counts, _ = split_folder(root, tmp_path / "split", fractions=[0.5, 0.5])
    assert sum(sum(part.values()) for part in counts.values()) == 11
    assert capsys.readouterr().out.splitlines() == told
    assert prepare(root, tmp_path / "store", None, 16, 90, 1, False)["images"] == 11
    assert told[0] in capsys.readouterr().out


def test_folder_of_other_files_alone_says_what_it_holds(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    (root / "cat").mkdir()
    (root / "cat" / "1.cr2").write_bytes(b"")
    with pytest.raises(DataError, match=r"photos/cat has no images; it has 1 \.cr2"):
        scan_folder(root)


@pytest.mark.skipif(NEEDS["HEIF"][0], reason="pillow-heif is installed")
def test_package_that_is_missing_is_named(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    (root / "ant" / "x.heic").write_bytes(encoded(photo(20, 30), "PNG"))
    (told, count) = left_out("here", scan_folder(root).strays)
    assert told == "left out, no image by its name: ant/x.heic"
    assert count == "(1 file in here: 1 .heic, which needs the package pillow-heif)"
    (tmp_path / "y.HEIC").write_bytes(b"no image here")
    with pytest.raises(DataError, match="it takes the package pillow-heif"):
        open_image(tmp_path / "y.HEIC")


@pytest.mark.skipif(NEEDS["HEIF"][0], reason="pillow-heif is installed")
def test_package_that_is_there_is_used(tmp_path: Path) -> None:
    """A stand-in of its name, in a process of its own."""
    (tmp_path / "pillow_heif.py").write_text("def register_heif_opener():\n    print('registered')\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", "from recipe.data.image_files import is_image; print(is_image('A.HEIC'))"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "registered\nTrue\n"


def test_photo_of_a_phone_is_read_with_its_package(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    root = photos(tmp_path / "photos")
    heif.from_pillow(photo(64, 80)).save(root / "ant" / "x.heic", quality=90)
    images = scan_folder(root)
    (index,) = (i for i in range(len(images)) if images.name(i) == "ant/x.heic")
    assert images.open(index).whole().shape == (3, 64, 80)


def test_new_kinds_change_the_fingerprint_and_the_earlier_one_is_still_known(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    before = scan_folder(root)
    assert before.earlier == ""
    add_new_kinds(root)
    now, again = scan_folder(root), scan_folder(root)  # the second is read from the cache
    for images in (now, again):
        assert images.fingerprint != before.fingerprint == images.earlier
        assert [images.name(int(i)) for i in np.flatnonzero(images.of_new_kinds())] == [
            "ant/new.avif",
            "bee/new.jfif",
            "bee/new.jp2",
        ]
        old = images.as_before()
        assert (old.fingerprint, old.earlier) == (before.fingerprint, "")
        assert np.array_equal(old.paths, before.paths)
        assert np.array_equal(old.labels, before.labels)


@pytest.mark.parametrize("split", [{}, {"val_fraction": 0.25}, {"folds": 2, "fold": 1}], ids=str)
def test_run_that_was_begun_before_goes_on_with_its_images(tmp_path: Path, split: dict[str, float]) -> None:
    root = tmp_path / "photos"
    parts = [root] if split else [root / "train", root / "val"]
    for part in parts:
        photos(part)
    config = replace(DataConfig(name="imagefolder", root=str(root)), **split)  # type: ignore[arg-type]
    begun_with = {name: images.fingerprint for name, images in zip(("train", "val"), load(config), strict=True)}
    for part in parts:
        add_new_kinds(part)
    assert {images.fingerprint for images in load(config)}.isdisjoint(begun_with.values())
    train, val = load(config, begun_with)
    assert {"train": train.fingerprint, "val": val.fingerprint} == begun_with
    assert not any(is_new(images.name(i)) for images in (train, val) for i in range(len(images)))
    assert load_split(config, "val", ["ant", "bee"], begun_with).fingerprint == begun_with["val"]
    other = {"train": "of another", "val": "run"}
    assert [images.fingerprint for images in load(config, other)] == [images.fingerprint for images in load(config)]


def is_new(name: str) -> bool:
    assert is_image(name)
    return not name.lower().endswith(EARLIER_SUFFIXES)


def test_stores_and_splits_that_were_made_before_are_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = photos(tmp_path / "photos")
    store = (root, tmp_path / "store", None, 16, 90, 1, False)
    facts = prepare(*store)
    counts, _ = split_folder(root, tmp_path / "split", first=[2])
    add_new_kinds(root)
    assert prepare(*store) == facts
    assert "Finished already" in capsys.readouterr().out
    assert split_folder(root, tmp_path / "split", first=[2]) == (counts, True)


def test_store_that_was_begun_before_goes_on_with_its_images(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    (root / "ant" / "bad.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match="1 of 9 images cannot be read"):
        prepare(root, tmp_path / "store", None, 16, 90, 1, False)
    add_new_kinds(root)
    facts = prepare(root, tmp_path / "store", None, 16, 90, 1, True)
    assert (facts["images"], facts["left_out"]) == (8, 1)
    assert (tmp_path / "store" / "ant" / "new.avif").read_bytes() == (root / "ant" / "new.avif").read_bytes()
