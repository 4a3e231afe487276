"""A file's pixels are those that Pillow reads, whatever its kind; a damaged one is named."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import PHOTOS, encoded, orientation, photo, pixels_of_pillow
from PIL import Image, ImageOps
from torchvision.transforms.functional import pil_to_tensor

from recipe.data.decode import decode, open_image
from recipe.errors import DataError


def transparent() -> Image.Image:
    picture = photo().convert("RGBA")
    picture.putalpha(photo().convert("L"))
    return picture


def four_colours() -> Image.Image:
    cyan, magenta, yellow = photo().split()
    return Image.merge("CMYK", (cyan, magenta, yellow, photo().convert("L").point(lambda value: value // 2)))


FILES = {
    "rgb.jpg": lambda: encoded(photo(), "JPEG", quality=90),
    "rgb_444.jpg": lambda: encoded(photo(), "JPEG", quality=75, subsampling=0),
    "progressive.jpg": lambda: encoded(photo(), "JPEG", progressive=True),
    "rgb_colorspace.jpg": lambda: encoded(photo(), "JPEG", keep_rgb=True),
    "grey.jpg": lambda: encoded(photo().convert("L"), "JPEG"),
    "cmyk.jpg": lambda: encoded(four_colours(), "JPEG"),
    "one_pixel.jpg": lambda: encoded(photo(1, 1), "JPEG"),
    "rotated.jpg": lambda: encoded(photo(), "JPEG", exif=orientation(6)),
    "rgb.png": lambda: encoded(photo(), "PNG"),
    "rgba.png": lambda: encoded(transparent(), "PNG"),
    "palette.png": lambda: encoded(photo().quantize(32), "PNG"),
    "transparent_palette.png": lambda: encoded(photo().quantize(32), "PNG", transparency=3),
    "grey.png": lambda: encoded(photo().convert("L"), "PNG"),
    "bits.png": lambda: encoded(photo().convert("1"), "PNG"),
    "png_inside.jpg": lambda: encoded(photo(), "PNG"),
    "jpg_inside.png": lambda: encoded(photo(), "JPEG"),
    "photo.webp": lambda: encoded(photo(), "WEBP"),
    "photo.gif": lambda: encoded(photo(), "GIF"),
    "photo.bmp": lambda: encoded(photo(), "BMP"),
    "photo.tif": lambda: encoded(photo(), "TIFF"),
}


@pytest.mark.parametrize("name", list(FILES))
def test_pixels_equal_pillow_s(tmp_path: Path, name: str) -> None:
    content = FILES[name]()
    (tmp_path / name).write_bytes(content)
    image = open_image(tmp_path / name).whole()
    expected = pixels_of_pillow(content)
    assert image.dtype == torch.uint8
    assert image.shape == expected.shape
    assert torch.equal(image, expected)


@pytest.mark.skipif(PHOTOS is None, reason="no shared/data/imagenet-photos-200.tar here")
def test_pixels_of_real_photos_equal_pillow_s() -> None:
    assert PHOTOS is not None
    with tarfile.open(PHOTOS) as archive:
        files = [member for member in archive.getmembers() if member.isfile()][::4]
        for member in files:
            content = archive.extractfile(member).read()  # type: ignore[union-attr]
            assert torch.equal(decode(content), pixels_of_pillow(content)), member.name
    assert len(files) >= 50


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.0, 0.002, 0.05, 0.5, 0.9])
def test_truncated_file_is_named(tmp_path: Path, format: str, share: float) -> None:
    path = tmp_path / "broken_photo.jpg"
    content = encoded(photo(), format)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError) as caught:
        open_image(path).whole()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0" + bytes(100)])
def test_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=str(path)):
        open_image(path).whole()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jpg"):
        open_image(tmp_path / "nowhere.jpg").whole()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_orientation_is_that_of_pillow_where_asked_and_ignored_where_not(kind: str, orientation: int) -> None:
    picture = Image.effect_noise((40, 24), 60).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    picture.save(file, kind, exif=exif)
    stored = Image.open(io.BytesIO(file.getvalue()))
    turned = ImageOps.exif_transpose(stored).convert("RGB")
    assert torch.equal(decode(file.getvalue(), exif_orientation=True), pil_to_tensor(turned))
    assert torch.equal(decode(file.getvalue()), pil_to_tensor(stored.convert("RGB")))
    assert (decode(file.getvalue(), exif_orientation=True).shape == (3, 40, 24)) == (orientation >= 5)


def test_16_bit_greys_keep_their_upper_bits() -> None:
    grey = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "png")
    decoded = decode(file.getvalue())
    assert torch.equal(decoded[0], torch.from_numpy((grey >> 8).astype(np.uint8)))
    assert torch.equal(decoded[0], decoded[2])


def test_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "webp", save_all=True, append_images=frames[1:], lossless=True)
    assert torch.equal(decode(file.getvalue()), pil_to_tensor(frames[0]))
