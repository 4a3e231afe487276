"""Archives that are broken, or made to do harm: one message, and nothing outside of the target."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from downloads import as_tar, as_zip, jpegs

from recipe.data.prepare.arrange import arrange
from recipe.data.prepare.originals import ORIGINALS
from recipe.errors import DataError


def hostile_tar(path: Path, info: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        archive.addfile(info, io.BytesIO(b"x" * info.size))
    return path


@pytest.mark.parametrize(
    "name", ["../train/n01440764/x.JPEG", "/train/n01440764/x.JPEG", "a/../../train/n01440764/x.JPEG"]
)
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path: Path, name: str) -> None:
    for source in (as_zip(tmp_path / "a.zip", jpegs(name)), as_tar(tmp_path / "a.tar", jpegs(name))):
        with pytest.raises(DataError, match="leads out of the archive"):
            arrange("imagenette", source, tmp_path / "out", any_count=True)
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == ["a.tar", "a.zip"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("imagenette2/train/n01440764/x.JPEG")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match="no file and no folder"):
        arrange("imagenette", hostile_tar(tmp_path / "a.tar", info), tmp_path / "out", any_count=True)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("imagenette2/train/n01440764/x.JPEG")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="no file and no folder"):
        arrange("imagenette", tmp_path / "a.zip", tmp_path / "out", any_count=True)


def test_members_too_large_or_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"imagenette2/train/n01440764/{number}.JPEG" for number in range(4)]
    source = as_tar(tmp_path / "a.tar", jpegs(*names))
    monkeypatch.setitem(ORIGINALS["imagenette"].images, "train", 3)
    with pytest.raises(DataError, match="more than the 3 images of train"):
        arrange("imagenette", source, tmp_path / "out")
    monkeypatch.setattr("recipe.data.prepare.archives.LARGEST", 100)
    with pytest.raises(DataError, match="more than any file of a data set has"):
        arrange("imagenette", source, tmp_path / "out", any_count=True)


@pytest.mark.parametrize("kind", ["tar", "tgz", "zip"])
def test_archive_cut_off_is_one_message_that_names_it(tmp_path: Path, kind: str) -> None:
    files = jpegs(*(f"imagenette2/train/n01440764/{number}.JPEG" for number in range(40)))
    source = tmp_path / f"set.{kind}"
    if kind == "zip":
        as_zip(source, files)
    else:
        as_tar(source, files, "w:gz" if kind == "tgz" else "w")
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(DataError, match=str(source)):
        arrange("imagenette", source, tmp_path / "out", any_count=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["tar", "tgz"])
def test_archive_damaged_in_its_middle_is_one_message_that_names_it(tmp_path: Path, kind: str) -> None:
    files = jpegs(*(f"imagenette2/train/n01440764/{number}.JPEG" for number in range(40)))
    source = as_tar(tmp_path / f"set.{kind}", files, "w:gz" if kind == "tgz" else "w")
    content = bytearray(source.read_bytes())
    middle = content.index(b"imagenette2/train/n01440764/20") if kind == "tar" else len(content) // 2
    content[middle : middle + 200] = b"\xff" * 200  # of a tar, a header
    source.write_bytes(content)
    with pytest.raises(DataError, match=str(source)):
        arrange("imagenette", source, tmp_path / "out", any_count=True)
