"""`recipe data verify` on archives: the images that cannot be read are named with archive and file."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import files_of, folders, shards, zipped

Recipe = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def test_shards(recipe: Recipe, tmp_path: Path, capsys: Capture) -> None:
    root = folders(tmp_path / "folders")
    files = files_of(root / "train")
    name = next(name for name, _ in files if name.endswith(".png"))
    broken = [(own, content[:40] if own == name else content) for own, content in files]
    shards(tmp_path / "tars" / "train", [*broken, ("ant/notes.txt", b"")])
    shards(tmp_path / "tars" / "val", files_of(root / "val"))
    assert recipe("data", "verify", tmp_path / "tars", "--workers", 2) == 2
    said = capsys.readouterr()
    assert "18 images decoded, 1 other file" in said.out
    (bad,) = (line for line in said.out.splitlines() if line.startswith("bad: "))
    assert bad.startswith(f"bad: {tmp_path / 'tars'}/train/00000")
    assert f".tar: {name}: " in bad
    assert "1 of 18 images" in said.err
    for path in (tmp_path / "tars" / "val", f"{tmp_path}/tars/val/{{000000..000002}}.tar"):
        assert recipe("data", "verify", path, "--workers", 1) == 0
        assert "6 images decoded, 0 other files" in capsys.readouterr().out
    (tmp_path / "tars" / "train" / "000001.tar").unlink()
    assert recipe("data", "verify", tmp_path / "tars") == 2
    assert "missing: 000001.tar" in capsys.readouterr().err


def test_zip_by_its_checksums(recipe: Recipe, tmp_path: Path, capsys: Capture) -> None:
    root = folders(tmp_path / "folders")
    files = files_of(root)
    path = zipped(tmp_path / "all.zip", files)
    assert recipe("data", "verify", path, "--workers", 1) == 0
    with zipfile.ZipFile(path) as archive:
        info = archive.infolist()[3]
    content = bytearray(path.read_bytes())
    content[info.header_offset + 30 + len(info.filename.encode()) + info.file_size - 5] ^= 1
    path.write_bytes(content)
    assert recipe("data", "verify", path, "--workers", 1) == 2
    assert f"bad: {path}: {info.filename}: it is damaged: its checksum is another" in capsys.readouterr().out
