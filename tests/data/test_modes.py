"""Every mode of Pillow's to 8-bit RGB, and the ranges that deep values are taken to have: the table of docs/DATA.md."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import encoded, photo
from PIL import Image, ImageCms

from recipe.data.decode import decode, open_image
from recipe.data.modes import from_fractions, from_integers, to_rgb
from recipe.plan.compose import PROJECT

SHAPE = (6, 8)
random = np.random.default_rng(0)
TIFF_BITS = {
    "<u2": (16, 1),
    ">u2": (16, 1),
    "<i2": (16, 2),
    "<u4": (32, 1),
    "<i4": (32, 2),
    "<f4": (32, 3),
    ">f4": (32, 3),
}


def tiff(values: np.ndarray, kind: str) -> bytes:
    """A plain TIFF of (H, W) or (H, W, n) values of a numpy type."""
    order, (height, width), bands = kind[0], values.shape[:2], values.shape[2] if values.ndim == 3 else 1
    data, (bits, sort) = values.astype(kind).tobytes(), TIFF_BITS[kind]
    start = 8 + 2 + 12 * 10 + 4
    lists = struct.pack(f"{order}{2 * bands}H", *[bits] * bands, *[sort] * bands) if bands > 2 else b""

    def of_each_band(value: int, at: int) -> bytes:
        return struct.pack(f"{order}I", start + at) if lists else struct.pack(f"{order}2H", value, 0)

    def number(value: int) -> bytes:
        return struct.pack(f"{order}I", value)

    def short(value: int) -> bytes:
        return struct.pack(f"{order}2H", value, 0)

    tags = [
        (256, 4, 1, number(width)),
        (257, 4, 1, number(height)),
        (258, 3, bands, of_each_band(bits, 0)),
        (259, 3, 1, short(1)),
        (262, 3, 1, short(2 if bands > 2 else 1)),
        (273, 4, 1, number(start + len(lists))),
        (277, 3, 1, short(bands)),
        (278, 4, 1, number(height)),
        (279, 4, 1, number(len(data))),
        (339, 3, bands, of_each_band(sort, 2 * bands)),
    ]
    entries = b"".join(struct.pack(f"{order}HHI", *tag[:3]) + tag[3] for tag in tags)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(tags))
    return head + entries + bytes(4) + lists + data


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits: (H, W, n), grey, grey and alpha, RGB or RGBA."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width, bands = values.shape
    head = struct.pack(">2I5B", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def whole(low: int, high: int, *bands: int) -> np.ndarray:
    """Numbers from low to high, both of which are there."""
    values = random.integers(low, high, (*SHAPE, *bands), endpoint=True)
    values.flat[0], values.flat[-1] = low, high
    return values


def grey_of(content: bytes) -> np.ndarray:
    pixels = to_rgb(content)[0].numpy()
    assert (pixels == pixels[:1]).all()
    return np.asarray(pixels[0])


# Mode → an image of it and what becomes of it.
def as_pillow(mode: str) -> tuple[Image.Image, Image.Image]:
    picture = photo().convert("RGBA").convert(mode) if mode == "RGBa" else photo().convert(mode)
    return picture, picture.convert("RGB")


def without_alpha(mode: str) -> tuple[Image.Image, Image.Image]:
    plain = {"LA": photo().convert("L"), "PA": photo().quantize(32), "RGBA": photo()}[mode]
    picture = plain.convert(mode)
    picture.putalpha(photo().convert("L"))
    return picture, plain.convert("RGB")


def premultiplied_grey(_: str) -> tuple[Image.Image, Image.Image]:
    opaque = photo().convert("LA")
    return opaque.convert("La"), photo().convert("L").convert("RGB")


def lab(_: str) -> tuple[Image.Image, Image.Image]:
    srgb, lab_profile = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    picture = ImageCms.profileToProfile(photo(), srgb, lab_profile, outputMode="LAB")
    assert picture is not None
    back = ImageCms.profileToProfile(picture, lab_profile, srgb, outputMode="RGB")
    assert back is not None
    return picture, back


def deep(mode: str) -> tuple[Image.Image, Image.Image]:
    grey = np.asarray(photo().convert("L")).astype(np.uint16)
    kind = np.dtype({"I": "<i4", "F": "<f4", "I;16B": ">u2"}.get(mode, "<u2"))
    values = grey if mode in ("I", "F") else grey << 8 | 7
    picture = Image.frombytes(mode, (grey.shape[1], grey.shape[0]), values.astype(kind).tobytes())
    return picture, photo().convert("L").convert("RGB")


MODES: dict[str, Callable[[str], tuple[Image.Image, Image.Image]]] = {
    **dict.fromkeys(("1", "L", "P", "RGB", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"), as_pillow),
    **dict.fromkeys(("LA", "PA", "RGBA"), without_alpha),
    "La": premultiplied_grey,
    "LAB": lab,
    **dict.fromkeys(("I", "I;16", "I;16L", "I;16B", "I;16N", "F"), deep),
}


@pytest.mark.parametrize("mode", Image.MODES)
def test_every_mode_becomes_what_the_table_says(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every mode has a file format: Pillow's reading gives way to an image that is there."""
    picture, expected = MODES[mode](mode)
    assert picture.mode == mode
    monkeypatch.setattr(Image, "open", lambda _: picture)
    pixels = to_rgb(b"")[0]
    assert pixels.dtype == torch.uint8
    assert np.array_equal(pixels.permute(1, 2, 0), np.asarray(expected))


def test_table_names_every_mode() -> None:
    table = (PROJECT / "docs" / "DATA.md").read_text()
    for mode in Image.MODES:
        assert f"`{mode}`" in table, mode


# What a file holds → the shift by which its numbers become 8 bits, and the range that is said.
INTEGERS: dict[str, tuple[bytes, np.ndarray, int, str]] = {}
for _kind in ("<u2", ">u2", "<u4", "<i4", "<i2"):
    for _high, _shift, _said in ((255, 0, "0 to 255"), (1000, 4, "0 to 4,095"), (4095, 4, "0 to 4,095")):
        _values = whole(0, _high)
        INTEGERS[f"{_kind} to {_high}"] = (tiff(_values, _kind), _values, _shift, _said)
for _kind, _high, _shift, _said in (
    ("<u2", 65535, 8, ""),
    (">u2", 40000, 8, ""),
    ("<u4", 65535, 8, "0 to 65,535"),
    ("<u4", 2**20 - 1, 12, "0 to 1,048,575"),
    ("<u4", 2**32 - 1, 24, ""),
    ("<i4", 2**31 - 1, 23, "0 to 2,147,483,647"),
):
    _values = whole(0, _high)
    INTEGERS[f"{_kind} to {_high}"] = (tiff(_values, _kind), _values, _shift, _said)


@pytest.mark.parametrize("name", INTEGERS)
def test_whole_numbers_keep_the_upper_bits_of_their_range(name: str) -> None:
    content, values, shift, said = INTEGERS[name]
    assert np.array_equal(grey_of(content), values >> shift)
    assert to_rgb(content)[1] == said


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize(("high", "shift", "said"), [(255, 0, "0 to 255"), (4095, 4, "0 to 4,095"), (65535, 8, "")])
def test_16_bits_of_each_colour_are_no_less_than_those_of_a_grey(bands: int, high: int, shift: int, said: str) -> None:
    """Pillow reads their upper 8 bits alone, which hold nothing where the range is smaller."""
    values = whole(0, high, bands)
    colours = np.broadcast_to(values[..., : 3 if bands > 2 else 1] >> shift, (*SHAPE, 3))
    files = [png16(values)] + ([tiff(values, "<u2"), tiff(values, ">u2")] if bands > 2 else [])
    for content in files:
        pixels, guess = to_rgb(content)
        assert np.array_equal(pixels.permute(1, 2, 0), colours)
        assert guess == said


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compression_changes_nothing(compression: str) -> None:
    values = whole(0, 200).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF", compression=compression)
    assert np.array_equal(grey_of(file.getvalue()), values)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0, 1, "0 to 1"),
        (0, 1.02, "0 to 1"),  # resized: a little beyond
        (-0.03, 1.02, "0 to 1"),
        (0, 255, "0 to 255"),
        (-4, 262, "0 to 255"),
        (0, 4000, "0 to 4,095"),
        (0, 65535, "0 to 65,535"),
        (-1, 1, "-1 to 1"),
        (-2000, 3000, "-2,000 to 3,000"),
        (0, 1e6, "0 to 1e+06"),
    ],
)
@pytest.mark.parametrize("kind", ["<f4", ">f4"])
def test_fractions_fill_the_range_that_holds_them(low: float, high: float, said: str, kind: str) -> None:
    values = np.linspace(low, high, SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(SHAPE)
    pixels, guess = to_rgb(tiff(values, kind))
    assert guess == said
    first, last = (float(text.replace(",", "")) for text in said.split(" to "))
    expected = 255 * (values.astype(np.float64).clip(first, last) - first) / (last - first)
    assert np.abs(pixels[0].numpy() - expected).max() <= 1
    assert pixels[0].max() >= 240
    assert pixels[0].min() <= 1


def test_fractions_of_bytes_come_back_as_they_were() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for values in (grey.astype(np.float32), grey.astype(np.float32) / 255, grey.astype(np.float32) * 257):
        assert np.array_equal(from_fractions(values)[0], grey)
    assert np.array_equal(from_fractions(grey + np.float32(0.7))[0], grey)  # as Pillow: cut, not rounded


def test_what_is_no_number_is_black_or_white() -> None:
    values = np.array([[0, 1, np.nan, np.inf, -np.inf, 0.5]], dtype=np.float32)
    assert from_fractions(values)[0].tolist() == [[0, 255, 0, 255, 0, 128]]
    assert from_fractions(np.full((2, 2), np.nan, dtype=np.float32))[0].max() == 0


def test_black_is_black_and_nothing_to_tell() -> None:
    black = np.zeros(SHAPE)
    for kind in ("<u2", "<u4", "<f4"):
        pixels, guess = to_rgb(tiff(black, kind))
        assert (int(pixels.max()), guess) == (0, "")


def test_numbers_below_zero_are_spread_from_the_least_to_the_largest() -> None:
    grey, guess = from_integers(np.array([[-1000, 0, 3000]], dtype=np.int32), 32)
    assert grey.tolist() == [[0, 64, 255]]
    assert guess == "-1,000 to 3,000"


def test_pgm_says_its_range(tmp_path: Path) -> None:
    """Pillow brings its values to 16 bits."""
    for most, high, said in ((1000, 1000, ""), (1000, 3, ""), (65535, 40000, ""), (65535, 200, "0 to 255")):
        values = whole(0, high)
        head = f"P5 {SHAPE[1]} {SHAPE[0]} {most}\n".encode()
        (tmp_path / "a.pgm").write_bytes(head + values.astype(">u2").tobytes())
        picture = open_image(tmp_path / "a.pgm")
        assert picture.guess == said
        expected = values * 255 / (255 if said else most)
        assert np.abs(picture.whole()[0].numpy() - expected).max() <= 1


def test_turned_images_are_turned_whatever_their_mode() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    values = whole(0, 200)
    for picture in (Image.fromarray(values.astype(np.uint16)), Image.fromarray(values.astype(np.int32))):
        file = io.BytesIO()
        picture.save(file, "TIFF", exif=exif)
        assert np.array_equal(decode(file.getvalue(), exif_orientation=True)[0], np.rot90(values, -1))


def test_guess_is_of_the_image_alone(tmp_path: Path) -> None:
    """No state: whichever worker opens it, and after whichever other image."""
    names = []
    for number, (content, *_) in enumerate(INTEGERS.values()):
        (tmp_path / f"{number}.tif").write_bytes(content)
        names.append(tmp_path / f"{number}.tif")
    there = [open_image(name) for name in names]
    back = [open_image(name) for name in reversed(names)][::-1]
    for one, other in zip(there, back, strict=True):
        assert one.guess == other.guess
        assert torch.equal(one.whole(), other.whole())
    assert open_image_of_8_bits(tmp_path).guess == ""


def open_image_of_8_bits(folder: Path):  # type: ignore[no-untyped-def]
    (folder / "plain.png").write_bytes(encoded(photo(), "PNG"))
    return open_image(folder / "plain.png")
