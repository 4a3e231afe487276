"""Decoding a box of a JPEG file: the pixels that decoding all of it gives."""

import os
import random
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from photos import PHOTOS, encoded, orientation, photo, pixels_of_pillow
from torch import Tensor

from recipe.data import decode as decoding
from recipe.data import region
from recipe.data.decode import decode, jpeg_frame, open_image
from recipe.errors import DataError
from recipe.ingredients.box import Box, around

needs_library = pytest.mark.skipif(not region.available(), reason=f"{region.state()} (the extra `fast`)")

KINDS: dict[str, dict[str, object]] = {
    "4:4:4": {"subsampling": "4:4:4"},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:2:0": {"subsampling": "4:2:0"},
    "4:1:1": {"subsampling": "4:1:1"},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 3},
    "RGB": {"keep_rgb": True},
    "quality 30": {"quality": 30},
}


def boxes(height: int, width: int, count: int) -> Iterator[Box]:
    """All, the smallest in the corners, and some at random."""
    yield Box(0, 0, height, width)
    least = region.LEAST_WIDTH
    yield from (Box(top, left, 1, least) for top in (0, height - 1) for left in (0, width - least))
    chance = random.Random(height * width)
    for _ in range(count):
        h, w = chance.randint(1, height), chance.randint(least, width)
        yield Box(chance.randint(0, height - h), chance.randint(0, width - w), h, w)


def assert_boxes_are_exact(content: bytes, expected: Tensor, count: int) -> None:
    height, width, channels, _ = jpeg_frame(content)
    assert (height, width) == expected.shape[1:]
    assert region.can_decode_region(content, channels)
    for box in boxes(height, width, count):
        found = region.decode_region(content, box)
        assert found is not None
        assert torch.equal(found, box.of(expected)), box


@needs_library
@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("size", [(5, 16), (64, 64), (65, 79), (97, 131), (375, 500)])
def test_boxes_equal_pillow_s(kind: str, size: tuple[int, int]) -> None:
    content = encoded(photo(*size), "JPEG", **KINDS[kind])
    assert_boxes_are_exact(content, pixels_of_pillow(content), 40)


@needs_library
def test_boxes_of_grey_photos_equal_pillow_s() -> None:
    content = encoded(photo(120, 90).convert("L"), "JPEG")
    assert_boxes_are_exact(content, pixels_of_pillow(content), 40)


@needs_library
def test_orientation_tag_turns_nothing(tmp_path: Path) -> None:
    content = encoded(photo(100, 80), "JPEG", exif=orientation(6))
    assert_boxes_are_exact(content, pixels_of_pillow(content), 5)
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    assert torch.equal(open_image(path, exif_orientation=True).whole(), decode(content, exif_orientation=True))
    assert open_image(path, exif_orientation=True)[:2] == (80, 100)


@needs_library
@pytest.mark.parametrize("number", [None, 1, 3, 6])
def test_only_photos_to_be_turned_are_decoded_as_a_whole(
    number: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo(100, 80), "JPEG", **({} if number is None else {"exif": orientation(number)})))
    asked: list[Box] = []
    monkeypatch.setattr(decoding, "decode_region", lambda content, box: asked.append(box))
    open_image(path, exif_orientation=True).pixels(Box(0, 0, 30, 30))
    assert bool(asked) == (number in (None, 1))


@needs_library
@pytest.mark.skipif(PHOTOS is None, reason="no shared/data/imagenet-photos-200.tar here")
def test_boxes_of_real_photos_equal_pillow_s() -> None:
    assert PHOTOS is not None
    tried = 0
    with tarfile.open(PHOTOS) as archive:
        for member in archive.getmembers()[::3]:
            content = archive.extractfile(member).read()  # type: ignore[union-attr]
            if region.can_decode_region(content, jpeg_frame(content).channels):
                assert_boxes_are_exact(content, pixels_of_pillow(content), 3)
                tried += 1
    assert tried >= 60


@needs_library
def test_files_of_other_kinds_are_decoded_as_a_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CMYK, not JPEG, cut off: decode_region is never asked."""
    monkeypatch.setattr(decoding, "decode_region", lambda *_: pytest.fail("asked"))
    whole = encoded(photo(100, 80), "JPEG")
    others = {
        "cmyk.jpg": encoded(photo(100, 80).convert("CMYK"), "JPEG"),
        "png.jpg": encoded(photo(100, 80), "PNG"),
        "more.jpg": whole + b"\0",
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
        assert torch.equal(open_image(tmp_path / name).whole(), pixels_of_pillow(content)), name
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.jpg"):
        open_image(tmp_path / "cut.jpg")


@needs_library
def test_file_that_the_library_refuses_goes_to_the_others(tmp_path: Path) -> None:
    """Here one whose Huffman tables are missing: the message is that of every decoder."""
    content = encoded(photo(100, 80), "JPEG")
    table = content.index(b"\xff\xc4")
    path = tmp_path / "broken.jpg"
    path.write_bytes(content[: table + 4] + b"\xff" * 16 + content[table + 20 :])
    picture = open_image(path)
    with pytest.raises(DataError, match=r"broken\.jpg"):
        picture.pixels(Box(5, 5, 20, 20))


@needs_library
def test_narrow_boxes_come_from_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo(100, 80), "JPEG"))
    picture = open_image(path)
    for width in (1, 2, region.LEAST_WIDTH - 1):
        for left in (0, 7, 80 - width):
            box = Box(60, left, 9, width)
            assert torch.equal(picture.pixels(box), box.of(pixels_of_pillow(path.read_bytes())))


def test_without_the_library_the_pixels_are_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo(120, 90), "JPEG"))
    box = Box(31, 17, 50, 40)
    first = open_image(path).pixels(box)
    monkeypatch.setattr(region, "_library", lambda: "not here")
    assert region.state() == "not here"
    assert torch.equal(open_image(path).pixels(box), first)


@needs_library
def test_library_that_decodes_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    decode_exactly = region._decode

    def one_level_off(*arguments: object) -> Tensor | None:
        found = decode_exactly(*arguments)  # type: ignore[arg-type]
        return None if found is None else found ^ 1

    monkeypatch.setattr(region, "_decode", one_level_off)
    assert str(region._library.__wrapped__()).endswith("gives other pixels than Pillow")


@needs_library
def test_library_says_nothing_and_leaves_the_environment(tmp_path: Path) -> None:
    """On stderr, where it finds no CUDA libraries and where a file is broken; in a worker that was forked, too."""
    code = """if True:
        import os, sys
        from recipe.ingredients.box import Box
        from recipe.data import region
        before = dict(os.environ)
        assert region.state().startswith("nvImageCodec "), region.state()
        assert region.available()
        assert dict(os.environ) == before
        assert "NVIMGCODEC_EXTENSIONS_PATH" not in before  # nor had the test's own process left it
        content = open(sys.argv[1], "rb").read()
        assert region.decode_region(content, Box(1, 2, 30, 20)).shape == (3, 30, 20)
        child = os.fork()
        broken = region.decode_region(content[:300], Box(0, 0, 9, 9))
        assert broken is None
        assert region.decode_region(content, Box(1, 2, 30, 20)).shape == (3, 30, 20)
        if child:
            assert os.waitpid(child, 0)[1] == 0
        """
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(photo(120, 90), "JPEG"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_box_around_boxes() -> None:
    first, second = Box(10, 40, 5, 6), Box(2, 44, 9, 30)
    outer = around([first, second])
    assert outer == Box(2, 40, 13, 34)
    assert around([first]) == first
    image = torch.arange(100 * 100).view(100, 100)
    for box in (first, second):
        assert torch.equal(box.within(outer).of(outer.of(image)), box.of(image))
