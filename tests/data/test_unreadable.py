"""Why a file cannot be read: words, whatever is wrong with it, and the same ones everywhere."""

import os
import re
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from photos import encoded, photo

from recipe.data.decode import decode, open_image
from recipe.data.prepare.store import prepare
from recipe.data.prepare.verify import verify
from recipe.data.unreadable import why_unreadable
from recipe.errors import DataError
from recipe.finished.annotation import annotate

KINDS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "JPEG2000", "TGA", "PCX", "QOI", "DDS", "PPM", "SGI")
NOT_WORDS = re.compile(r"0x[0-9a-f]{6}|object at|\.(cpp|cc|c|h|py)\b|/[a-z_]+/[a-z_]+/|BytesIO|Errno|\n")
whole = encoded(photo(100, 150), "JPEG")
BAD = {
    "text.png": b"<html>404</html>",
    "empty.jpg": b"",
    "cut.jpg": whole[: len(whole) // 2],
    "header.jpg": whole[:30],
    "markers.jpg": whole[:400] + b"\xff\x61" * 200 + whole[800:],
    "cut.png": encoded(photo(100, 150), "PNG")[:900],
    "cut.avif": encoded(photo(100, 150), "AVIF")[:300],
    "cut.webp": encoded(photo(100, 150), "WEBP")[:300],
}


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Cut off, or with other bytes, in its head or anywhere."""
    changed = bytearray(content)
    kind = random.integers(3)
    if kind == 0:
        return content[: random.integers(len(content))]
    for _ in range(4):
        changed[random.integers(min(len(changed), 200 if kind == 1 else len(changed)))] = random.integers(256)
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_file_is_pixels_or_a_reason_in_words(tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(KINDS.index(kind))
    content = encoded(photo(30, 40), kind)
    path = tmp_path / "photo.img"
    reasons = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(120):
            path.write_bytes(damaged(content, random))
            try:
                open_image(path).whole()
            except DataError as error:
                reasons.add(str(error).removeprefix(f"cannot read the image {path}: "))
    assert reasons
    assert not [reason for reason in reasons if NOT_WORDS.search(reason) or not reason]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("decode_jpeg, /__w/vision/csrc/decode_jpeg.cpp:171, Unsupported marker"), "Unsupported marker"),
        (OSError("cannot identify image file <_io.BytesIO object at 0x7f126ce7d030>"), "cannot identify image file"),
        (PermissionError(13, "Permission denied", "/photos/a.jpg"), "Permission denied"),
        (MemoryError(), "there is not enough memory for its pixels"),
        (
            RuntimeError("[enforce fail at alloc.cpp:119] not enough memory"),
            "there is not enough memory for its pixels",
        ),
        (KeyError("quantization"), "it is damaged (KeyError: 'quantization')"),
        (EOFError(), "it is damaged (EOFError)"),
        (ValueError("first\nsecond"), "first"),
    ],
)
def test_reasons(error: Exception, reason: str) -> None:
    assert why_unreadable(error, "/photos/a.jpg") == reason


def test_all_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "photos"
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        (root / name / "fine.jpg").write_bytes(whole)
    for name, content in BAD.items():
        (root / "ant" / name).write_bytes(content)
    found = verify(root, 1).bad
    assert sorted(found) == sorted(f"ant/{name}" for name in BAD)
    with pytest.raises(DataError) as stored:
        prepare(root, tmp_path / "store", None, 50, 90, 1, False)
    for name, reason in found.items():
        file = root / name
        assert not NOT_WORDS.search(reason)
        assert f"{file}: {reason}" in str(stored.value)
        for read in (
            lambda file: open_image(file).whole(),
            lambda file: annotate(str(file), [("ant", "1%")], tmp_path / "a.png"),
        ):
            with pytest.raises(DataError) as caught:
                read(file)
            assert str(caught.value) == f"cannot read the image {file}: {reason}"


def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, what in (
        (tmp_path / "pipe.jpg", "a named pipe"),
        (Path("/dev/zero"), "a device"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(DataError, match=f"{name}: it is no file but {what}"):
            open_image(name)


def test_bomb_is_refused_before_it_goes_off() -> None:
    """20,000 x 20,000 pixels in a few bytes."""
    for kind, at in (("JPEG", whole.index(b"\xff\xc0") + 5), ("PNG", 16)):
        content = bytearray(whole if kind == "JPEG" else encoded(photo(8, 8), "PNG"))
        side = (20000).to_bytes(2 if kind == "JPEG" else 4, "big")
        content[at : at + 2 * len(side)] = side + side
        if kind == "PNG":
            content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        with pytest.raises(Exception, match="decompression bomb"):
            decode(bytes(content))
