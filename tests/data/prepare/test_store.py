"""Making a store: what is kept as it is, what is refused, and that a stopped one goes on."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import PIL
import pytest
from photos import encoded, orientation, photo
from stores import QUALITY, SIDE, files, load, originals, place, prepared, unfinished

from recipe import __version__
from recipe.data.folder import scan_folder
from recipe.errors import DataError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return originals(tmp_path / "source")


def test_small_jpegs_and_all_that_is_not_trained_on_stay_byte_for_byte(source: Path) -> None:
    place(source / "train" / "bee" / "exact.jpg", encoded(photo(SIDE, SIDE), "JPEG", exif=orientation(3)))
    place(source / "val" / "ant" / "photo.png", encoded(photo(), "PNG"))
    place(source / "test" / "deep" / "er" / "1.jpg", b"not even an image")
    for name in ("synsets.csv", "train/LICENSE", "train/bee/notes.txt"):
        place(source / name, name.encode())
    for name in (".hidden", ".hidden_folder/file", "train/bee/.hidden"):
        place(source / name, b"")
    (source / "linked").symlink_to(source / "val")
    before = files(source)
    facts = prepared(source)
    assert files(source) == before  # above all
    after = files(source.with_name("store"))
    assert after.keys() - before.keys() - {f"linked/{n}" for n in files(source / "val")} == {"store.json", ".lock"}
    assert before.keys() - after.keys() == {".hidden", ".hidden_folder/file", "train/bee/.hidden"}
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    assert changed == {"train/ant/large.jpg", "train/bee/large.jpg"}
    assert (facts["images"], facts["re_encoded"], facts["kept"], facts["left_out"]) == (5, 2, 3, 0)
    assert (source.with_name("store") / "val" / "ant" / "large.jpg").stat().st_nlink == 3  # no space is taken
    assert not (source.with_name("store") / "linked" / "ant" / "large.jpg").is_symlink()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no other disk here")
def test_where_the_disk_has_no_links_files_are_copied(source: Path) -> None:
    other = Path("/dev/shm") / f"recipe-store-{os.getpid()}"
    try:
        prepared(source, target=other)
        assert files(other / "val") == files(source / "val")
        assert (other / "train" / "ant" / "small.JPEG").stat().st_nlink == 1
    finally:
        shutil.rmtree(other)


def test_names_that_would_collide_are_refused(source: Path) -> None:
    for name in ("a.png", "a.png.jpg"):
        place(source / "train" / "bee" / name, encoded(photo(), "PNG"))
    with pytest.raises(DataError, match=r"bee/a\.png and bee/a\.png\.jpg would have one name"):
        prepared(source)
    assert not source.with_name("store").exists()


def test_one_folder_of_class_folders_is_re_encoded_whole(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place(source / "train" / "README", b"")
    facts = prepared(source / "train", target=source.with_name("store"))
    assert (facts["images"], facts["re_encoded"], facts["train_dir"]) == (4, 2, ".")
    assert "no training folder: all its images are re-encoded" in capsys.readouterr().out
    assert (source.with_name("store") / "README").exists()
    train_set, val_set = load(source.with_name("store"), val_fraction=0.5)
    assert (len(train_set), len(val_set)) == (2, 2)


def test_training_folder_of_another_name(source: Path) -> None:
    (source / "train").rename(source / "learn")
    facts = prepared(source, train_dir="learn/")
    assert (facts["re_encoded"], facts["train_dir"]) == (2, "learn")
    assert files(source.with_name("store") / "val") == files(source / "val")
    for wrong, message in (("nowhere", "no folder"), ("../source", "relative to it"), (str(source), "relative to it")):
        with pytest.raises(DataError, match=message):
            prepared(source, train_dir=wrong, target=source.with_name("other"))


def test_store_json_says_what_was_done(source: Path) -> None:
    facts = prepared(source)
    before, after = source / "train", source.with_name("store") / "train"
    assert json.loads((after.parent / "store.json").read_text()) == facts
    assert facts == {
        "format": 1,
        "source": scan_folder(before).fingerprint,
        "train_dir": "train",
        "max_side": SIDE,
        "quality": QUALITY,
        "images": 4,
        "re_encoded": 2,
        "kept": 2,
        "left_out": 0,
        "bytes_before": sum(map(len, files(before).values())),
        "bytes_after": sum(map(len, files(after).values())),
        "versions": {"pillow": PIL.__version__, "recipe": __version__},
    }
    assert not (after.parent / "store.unfinished.json").exists()


def test_finished_store_is_left_alone(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = prepared(source)
    times = {path: path.stat().st_mtime_ns for path in source.with_name("store").rglob("*.*") if path.name != ".lock"}
    assert prepared(source) == facts
    assert "Finished already" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in times}


def test_what_is_done_is_not_done_again_and_leftovers_go(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished(source, monkeypatch)
    done = source.with_name("store") / "train" / "ant" / "large.jpg"
    place(done, mark := encoded(photo(20, 20), "JPEG"))
    place(done.with_name(".small.JPEG.17.tmp"), b"of a killed process")
    facts = prepared(source)
    assert done.read_bytes() == mark
    assert (facts["re_encoded"], facts["kept"]) == (2, 2)
    assert not list(source.with_name("store").rglob("*.tmp"))


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("change", ["max_side", "quality", "train_dir", "images"])
def test_store_of_other_settings_or_images_is_refused(
    source: Path, finished: bool, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(source / "train", source / "learn")
    if finished:
        prepared(source)
    else:
        unfinished(source, monkeypatch)
    before = files(source.with_name("store"))
    options: dict[str, dict[str, Any]] = {
        "max_side": {"max_side": 40},
        "quality": {"quality": 95},
        "train_dir": {"train_dir": "learn"},
        "images": {},
    }
    message = {"max_side": "max_side 48 there, 40 here", "quality": "quality 90 there, 95 here"}
    if change == "images":
        place(source / "train" / "ant" / "more.jpg", encoded(photo(), "JPEG"))
    expected = message.get(
        change, "train_dir train there, learn here" if change == "train_dir" else "other training images"
    )
    with pytest.raises(DataError, match=f"store holds another store .*{expected}"):
        prepared(source, **options[change])
    assert {name: content for name, content in files(source.with_name("store")).items() if name != ".lock"} == {
        name: content for name, content in before.items() if name != ".lock"
    }


def test_another_version_of_pillow_does_not_go_on_but_knows_a_finished_store(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished(source, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(PIL, "__version__", "99.0")
        with pytest.raises(DataError, match=r"another store .*versions .*99\.0"):
            prepared(source)
    prepared(source)
    monkeypatch.setattr(PIL, "__version__", "99.0")
    assert prepared(source)["versions"]["pillow"] != "99.0"


def test_target_that_is_no_new_folder_is_refused(source: Path) -> None:
    outside = source.with_name("elsewhere")
    (source / "train").rename(outside)
    (source / "train").symlink_to(outside)
    for inside in (source, source / "new" / "er", outside / "store", source / ".." / "source"):
        with pytest.raises(DataError, match="lies in"):
            prepared(source, target=inside)
    place(source.with_name("other") / "thesis.txt", b"")
    place(source.with_name("other") / "store.json", b'{"milk": 2}')
    with pytest.raises(DataError, match="not empty, and no store"):
        prepared(source, target=source.with_name("other"))
    assert files(source.with_name("other")).keys() == {"thesis.txt", "store.json", ".lock"}
    prepared(source)
    with pytest.raises(DataError, match="is a store itself"):
        prepared(source.with_name("store"), target=source.with_name("again"))
    with pytest.raises(DataError, match="no folder"):
        prepared(source.with_name("nowhere"))


def test_corrupt_images_are_named_and_cost_nothing_else(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = encoded(photo(61, 83), "JPEG")
    place(source / "train" / "ant" / "cut.jpg", whole[: len(whole) // 2])
    place(source / "train" / "ant" / "cut_small.jpg", encoded(photo(30, 40), "JPEG")[:-200])
    for number in range(11):
        place(source / "train" / "bee" / f"text{number}.png", b"no image")
    with pytest.raises(DataError) as caught:
        prepared(source)
    lines = str(caught.value).splitlines()
    assert "13 of 17 images cannot be read" in lines[0]
    assert len(lines) == 1 + 10 + 1
    assert str(source / "train" / "ant" / "cut.jpg") in lines[1]
    target = source.with_name("store")
    assert files(target / "train").keys() == {
        f"{name}/{size}" for name in ("ant", "bee") for size in ("large.jpg", "small.JPEG")
    }
    assert (target / "store.unfinished.json").exists()
    assert not (target / "store.json").exists()
    facts = prepared(source, skip_corrupt=True)
    assert (facts["images"], facts["left_out"]) == (4, 13)
    assert "13 of 17 images are left out" in capsys.readouterr().out
    assert len(load(target)[0]) == 4


def test_class_without_a_readable_image_is_not_left_out(source: Path) -> None:
    for path in (source / "train" / "ant").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"train/ant has no images"):
        prepared(source, skip_corrupt=True)
    assert not (source.with_name("store") / "store.json").exists()


def test_file_that_is_not_to_be_read_stops_the_work_and_is_not_left_out(source: Path) -> None:
    """It may be a whole image: a disk that fails must not make a store of fewer images."""
    path = source / "train" / "ant" / "again.jpg"
    path.symlink_to("/proc/self/mem")  # reading it fails with EIO, for root as well
    with pytest.raises(OSError, match="Input/output error"):
        prepared(source, skip_corrupt=True)
