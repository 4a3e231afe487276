"""What cannot be read is named; what is odd is counted and no fault."""

import tarfile
from pathlib import Path

import numpy as np
import pytest
from photos import PHOTOS, encoded, orientation, photo
from PIL import Image

from recipe.data.decode import open_image
from recipe.data.prepare import store
from recipe.data.prepare.split_folder import split_folder
from recipe.data.prepare.verify import oddities, verify
from recipe.errors import DataError
from recipe.files import unpack


def grey16() -> Image.Image:
    return Image.fromarray(np.arange(40 * 50, dtype=np.uint16).reshape(40, 50))


ODD = {
    "cmyk.jpg": (encoded(photo().convert("CMYK"), "JPEG"), {"CMYK"}),
    "png.JPEG": (encoded(photo(), "PNG"), {"PNG named .JPEG"}),
    "deep.png": (encoded(grey16(), "PNG"), {"16 bit"}),
    "deeper.tif": (encoded(Image.fromarray(np.zeros((40, 50), np.float32)), "TIFF"), {"32 bit"}),
    "phone.jfif": (encoded(photo(), "JPEG"), set()),
    "turned.jpg": (encoded(photo(), "JPEG", exif=orientation(6)), {"turned by EXIF"}),
    "upright.jpg": (encoded(photo(), "JPEG", exif=orientation(1)), set()),
    "small.jpg": (encoded(photo(15, 40), "JPEG"), {"under 16 px"}),
    "grey.jpg": (encoded(photo().convert("L"), "JPEG"), {"grey"}),
    "see-through.png": (encoded(photo().convert("RGBA"), "PNG"), {"with transparency"}),
    "plain.jpg": (encoded(photo(), "JPEG"), set()),
    "plain.webp": (encoded(photo(), "WEBP"), set()),
}
whole_jpeg, whole_png = encoded(photo(200, 300), "JPEG"), encoded(photo(200, 300), "PNG")
BAD = {
    "cut.jpg": whole_jpeg[: len(whole_jpeg) // 2],
    "cut.png": whole_png[: len(whole_png) // 2],
    "empty.jpg": b"",
    "text.jpg": b"<html>404</html>",
    "header.jpg": whole_jpeg[:30],
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_about_an_image(name: str) -> None:
    content, expected = ODD[name]
    assert set(oddities(content, Path(name).suffix)) == expected


def test_bad_images_are_named_and_odd_ones_counted(tmp_path: Path) -> None:
    folder = tmp_path / "train" / "a" / "deeper"
    folder.mkdir(parents=True)
    for name, (content, _) in ODD.items():
        (folder / name).write_bytes(content)
    for name, content in BAD.items():
        (folder / name).write_bytes(content)
    (tmp_path / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_text("no image")
    for workers in (1, 2):
        found = verify(tmp_path, workers)
        assert list(found.bad) == sorted(f"train/a/deeper/{name}" for name in BAD)
        assert all(found.bad.values())
        assert (found.images, found.others) == (len(ODD) + len(BAD), 1)
        assert found.odd.pop("of a guessed range (docs/DATA.md)") == 1  # deep.png, whose values end at 1,999
        assert found.odd == {kind: 1 for _, kinds in ODD.values() for kind in kinds}


def test_bad_is_what_training_cannot_read(tmp_path: Path) -> None:
    for name, content in {**{name: content for name, (content, _) in ODD.items()}, **BAD}.items():
        (tmp_path / name).write_bytes(content)
    bad = set()
    for path in tmp_path.iterdir():
        try:
            open_image(path).whole()
        except DataError:
            bad.add(path.name)
    assert set(verify(tmp_path, 1).bad) == bad == set(BAD)


def test_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no images"):
        verify(tmp_path, 1)
    with pytest.raises(DataError, match="there is no folder"):
        verify(tmp_path / "nowhere", 1)


def test_our_own_files_are_not_left_out_and_those_of_others_are(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in ("ant", "bee"):
        (photos / name).mkdir(parents=True)
        for number in range(4):
            (photos / name / f"{number}.jpg").write_bytes(encoded(photo(), "JPEG"))
    split_folder(photos, tmp_path / "split", None, [0.5, 0.5], 0, None, False)
    assert (tmp_path / "split" / "dataset.json").exists()
    store.prepare(photos, tmp_path / "store", None, 16, 90, 1, False)
    for folder in (tmp_path / "split", tmp_path / "store"):
        found = verify(folder, 1)
        assert (found.others, found.left_out) == (0, [])
    (photos / "dataset.json").write_text('{"images": 8}')
    (photos / "store.json").write_text("[]")
    (photos / "ant" / "dataset.json").write_text("{}")
    assert verify(photos, 1).others == 3


def test_sizes_are_those_of_the_images(tmp_path: Path) -> None:
    sides = [(10, 90), (20, 20), (20, 20), (20, 21), (300, 5)]
    for number, (width, height) in enumerate(sides):
        (tmp_path / f"{number}.png").write_bytes(encoded(Image.new("RGB", (width, height)), "PNG"))
    (tmp_path / "bad.png").write_bytes(b"")
    for workers in (1, 2):
        sizes = verify(tmp_path, workers).sizes()
        assert sizes == {"smallest": (20, 20, "1.png"), "median": (20, 21, "3.png"), "largest": (300, 5, "4.png")}
    for name in ("0.png", "1.png", "2.png", "3.png", "4.png"):
        (tmp_path / name).write_bytes(b"")
    assert verify(tmp_path, 1).sizes() == {}


@pytest.mark.skipif(PHOTOS is None, reason="shared/data/imagenet-photos-200.tar is not here")
def test_real_photos_are_whole(tmp_path: Path) -> None:
    assert PHOTOS is not None
    with tarfile.open(PHOTOS) as archive:
        unpack(archive, tmp_path)
    found = verify(tmp_path, 2)
    assert (found.images, found.bad) == (200, {})
