import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from photos import encoded, orientation, photo
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torchvision.transforms.functional import resize

from recipe import __version__
from recipe.config import DataConfig
from recipe.data import dataset
from recipe.data.decode import decode
from recipe.data.folder import scan_folder
from recipe.data.prepare import store
from recipe.data.store import store_of
from recipe.errors import DataError
from recipe.plan.compose import Plan
from recipe.run.run import train

SIDE, QUALITY = 48, 90
KEPT = "checkpoint.keep_after_training=true"  # to go on with, once result.json is taken away
SMALL = ["scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data.workers=0", "log.images=false"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """train/{ant,bee} and val/{ant,bee} with an image each that is larger than a store's, and one that is not."""
    for folder in ("train/ant", "train/bee", "val/ant", "val/bee"):
        place(tmp_path / "source" / folder / "large.jpg", encoded(photo(61, 83), "JPEG"))
        place(tmp_path / "source" / folder / "small.JPEG", encoded(photo(30, 40), "JPEG"))
    return tmp_path / "source"


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


@pytest.mark.parametrize(
    ("size", "expected"),
    [((83, 62), (48, 36)), ((61, 83), (35, 48)), ((49, 48), (48, 47)), ((500, 2), (48, 1)), ((49, 49), (48, 48))],
)
def test_longer_side_is_max_side_and_the_file_is_pillow_s(
    source: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    original = source / "train" / "ant" / "one.jpg"
    place(original, encoded(photo(size[1], size[0]), "JPEG"))
    prepared(source)
    stored = source.with_name("store") / "train" / "ant" / "one.jpg"
    with Image.open(original) as picture, Image.open(stored) as small:
        assert small.size == expected
        resized = picture.resize(expected, Image.Resampling.LANCZOS)
        assert stored.read_bytes() == encoded(resized, "JPEG", quality=QUALITY, optimize=True)


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


def smooth(height: int, width: int) -> Image.Image:
    return photo(height, width).filter(ImageFilter.GaussianBlur(2))


def cmyk() -> Image.Image:
    return Image.merge("CMYK", (*smooth(61, 83).split(), smooth(61, 83).convert("L").point(lambda value: value // 2)))


def grey_of_16_bits() -> Image.Image:
    return Image.fromarray((np.array(smooth(61, 83).convert("L")).astype(np.uint16) << 8) + 17)


KINDS: dict[str, Callable[[], bytes]] = {
    "cmyk.jpg": lambda: encoded(cmyk(), "JPEG"),
    "grey.jpg": lambda: encoded(smooth(61, 83).convert("L"), "JPEG"),
    "png_inside.jpg": lambda: encoded(smooth(30, 40), "PNG"),
    "16_bit.png": lambda: encoded(grey_of_16_bits(), "PNG"),
    "palette.png": lambda: encoded(smooth(61, 83).quantize(64), "PNG"),
    "rgba.png": lambda: encoded(smooth(61, 83).convert("RGBA"), "PNG"),
    "small.png": lambda: encoded(smooth(30, 40), "PNG"),
    "grey.png": lambda: encoded(smooth(61, 83).convert("L"), "PNG"),
    "photo.webp": lambda: encoded(smooth(61, 83), "WEBP"),
    "photo.TIF": lambda: encoded(smooth(61, 83), "TIFF"),
}


def smaller(image: Tensor) -> Tensor:
    """What a store makes of pixels, by another way."""
    factor = min(1, SIDE / max(image.shape[1:]))
    return resize(image, [round(side * factor) for side in image.shape[1:]], antialias=True)


def difference(one: Tensor, other: Tensor) -> float:
    return (one.int() - other.int()).abs().float().mean().item()


def test_all_kinds_of_files_become_jpegs_of_the_pixels_that_training_reads(source: Path) -> None:
    for name, content in KINDS.items():
        place(source / "train" / "ant" / name, content())
    prepared(source)
    for name, content in KINDS.items():
        suffix = "" if name.endswith(".jpg") else ".jpg"
        stored = (source.with_name("store") / "train" / "ant" / f"{name}{suffix}").read_bytes()
        with Image.open(io.BytesIO(stored)) as picture:
            assert (picture.format, picture.mode) == ("JPEG", "RGB"), name
        assert difference(decode(stored), smaller(decode(content()))) < 4, name  # grey levels


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_kept_as_the_only_tag_and_not_applied(source: Path, format: str) -> None:
    exif = orientation(6)
    exif[0x010F] = "the camera's maker"
    original = encoded(smooth(61, 83), format, exif=exif)
    place(source / "train" / "ant" / f"turned.{format.lower()}", original)
    prepared(source)
    (path,) = (source.with_name("store") / "train" / "ant").glob("turned*")
    stored = path.read_bytes()
    for turned in (False, True):
        assert difference(decode(stored, turned), smaller(decode(original, turned))) < 4
    with Image.open(path) as picture:
        assert dict(picture.getexif()) == ({} if format == "TIFF" else {0x0112: 6})  # Pillow turns TIFF by itself
    assert b"maker" not in stored


def test_broken_exif_data_is_no_hindrance_and_not_kept(source: Path) -> None:
    text = PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 4\nno hexadecimal digits")
    place(source / "train" / "ant" / "odd.png", encoded(smooth(61, 83), "PNG", pnginfo=text))
    wrong = orientation(9)
    place(source / "train" / "ant" / "odd.jpg", encoded(smooth(61, 83), "JPEG", exif=wrong))
    assert prepared(source)["re_encoded"] == 4
    for path in (source.with_name("store") / "train" / "ant").glob("odd*"):
        with Image.open(path) as picture:
            assert not picture.getexif()


def test_labels_classes_and_order_are_those_of_the_originals(source: Path) -> None:
    for name in ("b.png", "a.JPG", "c.jpeg", "wild/d.gif", "wild/e.jpg"):
        place(source / "train" / "bee" / name, encoded(photo(), "PNG"))
    prepared(source)
    before, after = scan_folder(source / "train"), scan_folder(source.with_name("store") / "train")
    assert before.classes == after.classes
    assert before.labels.tolist() == after.labels.tolist()
    names = [[images.name(number) for number in range(len(images))] for images in (before, after)]
    assert names[1] == [name + ".jpg" if name.endswith(("png", "gif")) else name for name in names[0]]


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


def test_unfinished_store_is_refused_by_training(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished(source, monkeypatch)
    target = source.with_name("store")
    command = f"recipe data store --train-dir=train --max-side=48 --quality=90 {source} {target}"
    for keys in ({}, {"val_fraction": 0.5}):
        with pytest.raises(DataError, match=f"not finished.* {command}"):
            load(target, **keys)
    prepared(source)
    assert [len(images) for images in load(target)] == [4, 4]


def test_run_says_which_store_it_was_trained_on(
    source: Path, plan: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(64):
        place(source / "train" / "ant" / f"{number}.jpg", encoded(photo(), "JPEG"))
    facts = prepared(source)
    environments = []
    for root in (source, source.with_name("store")):
        composed = plan("+recipe=r00_baseline", *SMALL, "data=imagefolder", f"data.root={root}", "max_steps=2", KEPT)
        composed = replace(composed, folder=root.with_name(f"run_{root.name}"))
        train(composed)
        line = "a store of max side 48, quality 90 (pixels differ from the originals)"
        assert (line in capsys.readouterr().out) == (root != source)
        environments.append(json.loads((composed.folder / "environment.json").read_text()))
        without = {name: value for name, value in environments[-1].items() if name != "store"}
        (composed.folder / "environment.json").write_text(json.dumps(without))
        (composed.folder / "result.json").unlink()
        train(composed)  # as one that was begun before there were stores: it goes on
        assert json.loads((composed.folder / "environment.json").read_text())["store"] == environments[-1]["store"]
    assert environments[0]["store"] is None
    assert environments[1]["store"] == {name: facts[name] for name in ("source", "max_side", "quality")}
    assert environments[0]["data"]["train"] == facts["source"] != environments[1]["data"]["train"]
    assert environments[0]["data"]["val"] == environments[1]["data"]["val"]


def test_file_of_another_program_makes_no_store(source: Path) -> None:
    place(source / "store.json", b'["milk", "bread"]')
    place(source / "store.unfinished.json", b"{}")
    assert store_of(str(source)) is None
    assert [len(images) for images in load(source)] == [4, 4]
    assert store_of(None) is None
    prepared(source)
    assert json.loads((source / "store.json").read_text()) == ["milk", "bread"]
