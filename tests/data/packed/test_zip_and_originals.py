"""A zip of class folders, and ImageNet's tars as they are downloaded, are the data set that the folders are."""

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from archives import assert_same, files_of, folders, opened, tar, zipped

from recipe.config import DataConfig
from recipe.data.dataset import load_split
from recipe.data.packed import opening
from recipe.data.prepare.arrange import arrange
from recipe.errors import DataError

WNIDS = ("n01440764", "n01496331", "n01530575")
NUMBERS = (3, 1, 2)  # ILSVRC2012_ID of each: not their order


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opening._entries.cache_clear()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_of_train_and_val(tmp_path: Path, method: int) -> None:
    root = folders(tmp_path / "folders")
    path = zipped(tmp_path / "photos.zip", [(f"photos/{name}", content) for name, content in files_of(root)], method)
    found = opened(path)
    assert_same(found, opened(root))
    (said,) = found[0].remarks()
    assert ("12 of them compressed" in said) == (method == zipfile.ZIP_DEFLATED)
    assert said.startswith("read from a zip as they are")


def test_zip_of_class_folders_is_divided(tmp_path: Path) -> None:
    root = folders(tmp_path / "folders") / "train"
    path = zipped(tmp_path / "photos.zip", files_of(root))
    assert_same(opened(path, val_fraction=0.3), opened(root, val_fraction=0.3))
    with pytest.raises(DataError, match=r"has no folder val or valid or validation in it.*val_fraction"):
        opened(path)


def test_names_in_utf_8_that_a_zip_does_not_call_so(tmp_path: Path) -> None:
    """As Macs write them."""
    root = folders(tmp_path / "folders")
    path = zipped(tmp_path / "photos.zip", files_of(root))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            content[info.header_offset + 7] &= ~8
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + 9] &= ~8
        at = content.find(b"PK\x01\x02", at + 1)
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert not any("größe" in name for name in archive.namelist())
    assert_same(opened(path), opened(root))


def test_zip_beside_zip_holds_a_split_each(tmp_path: Path) -> None:
    root = folders(tmp_path / "folders")
    (tmp_path / "zips").mkdir()
    for part in ("train", "val"):
        zipped(tmp_path / "zips" / f"{part}.zip", files_of(root / part))
    assert_same(opened(tmp_path / "zips"), opened(root))


def imagenet(folder: Path, devkit: bool = True) -> Path:
    """The three downloads, of three classes: tars in a tar, validation images in one folder, labels in the devkit."""
    source = folders(folder.parent / "made")
    folder.mkdir()
    inner = []
    for wnid, name in zip(WNIDS, ("ant", "bee bee", "größe"), strict=True):
        photos = [path.read_bytes() for path in sorted((source / "train" / name).iterdir())]
        own = tar(folder / f"{wnid}.tar", [(f"{wnid}_{i}.JPEG", photo) for i, photo in enumerate(photos)])
        inner.append((own.name, own.read_bytes()))
        own.unlink()
    tar(folder / "ILSVRC2012_img_train.tar", inner)
    photos = [path.read_bytes() for path in sorted((source / "val").rglob("*.*"))]
    val = [(f"ILSVRC2012_val_{number:08}.JPEG", photo) for number, photo in enumerate(photos, 1)]
    tar(folder / "ILSVRC2012_img_val.tar", val)
    if devkit:
        with tarfile.open(folder / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as archive:
            truth = "".join(f"{NUMBERS[i // 2]}\n" for i in range(len(photos)))
            tables = {"ILSVRC2012_validation_ground_truth.txt": truth.encode(), "meta.mat": meta()}
            for name, content in tables.items():
                info = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/data/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return folder


def meta() -> bytes:
    """meta.mat: a structure `synsets` with ILSVRC2012_ID and WNID, among others."""
    savemat = pytest.importorskip("scipy.io").savemat
    synsets = np.array(
        [(number, wnid) for number, wnid in zip(NUMBERS, WNIDS, strict=True)],
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")],
    )
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": synsets})
    return buffer.getvalue()


def test_imagenet_as_it_is_downloaded_is_what_prepare_makes_of_it(tmp_path: Path) -> None:
    downloads = imagenet(tmp_path / "downloads")
    arrange("imagenet", downloads, tmp_path / "folders", False, True, False)
    found = opened(downloads)
    assert_same(found, opened(tmp_path / "folders"))
    assert found[0].classes == list(WNIDS)
    assert [found[1].classes[label] for label in found[1].labels] == [wnid for wnid in WNIDS for _ in range(2)]
    said = [next(iter(images.remarks())) for images in found]
    assert "ImageNet's own tars" in said[0]
    assert "labels by the devkit's ground truth" in said[1]


def test_kaggle_s_table_labels_too(tmp_path: Path) -> None:
    downloads = imagenet(tmp_path / "downloads")
    before = opened(downloads)
    (downloads / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    rows = [f"ILSVRC2012_val_{i + 1:08},{WNIDS[i // 2]} 0 0 9 9" for i in range(6)]
    (downloads / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    assert_same(opened(downloads), before)


def test_imagenet_without_labels_says_what_it_needs(tmp_path: Path) -> None:
    downloads = imagenet(tmp_path / "downloads", devkit=False)
    with pytest.raises(DataError, match=r"img_val\.tar: ILSVRC2012_val_00000001\.JPEG has no label: put ILSVRC2012"):
        opened(downloads)
    train = load_split(DataConfig(name="imagenet", root=str(downloads)), "train", WNIDS)
    assert len(train) == 12
