"""The images of a store: how large, which pixels, labels and tags they have."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from photos import encoded, orientation, photo
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo
from stores import QUALITY, SIDE, originals, place, prepared
from torch import Tensor
from torchvision.transforms.functional import resize

from recipe.data.decode import decode
from recipe.data.folder import scan_folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return originals(tmp_path / "source")


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
