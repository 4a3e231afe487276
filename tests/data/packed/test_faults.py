"""What is wrong with an archive is one sentence that names it and the file; data.on_corrupt=skip counts as ever."""

import os
import re
import zipfile
from pathlib import Path

import pytest
import torch
from archives import assert_same, files_of, folders, labelled, opened, shards, tar, zipped

from recipe.config import Config, DataConfig
from recipe.data.loader import eval_batches
from recipe.data.notices import same_images
from recipe.data.packed import members, opening
from recipe.errors import DataError
from recipe.machine.distributed import Ranks


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opening._entries.cache_clear()
    return folders(tmp_path / "folders")


@pytest.fixture
def tars(root: Path, tmp_path: Path) -> Path:
    for part in ("train", "val"):
        shards(tmp_path / "tars" / part, files_of(root / part))
    return tmp_path / "tars"


def refused(root: Path, message: str, **keys: object) -> None:
    with pytest.raises(DataError, match=message) as caught:
        opened(root, **keys)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_shard(tars: Path, share: float) -> None:
    shard = tars / "train" / "000001.tar"
    content = shard.read_bytes().rstrip(b"\0")
    shard.write_bytes(content[: int(share * len(content))])
    refused(tars, re.escape(str(shard)) + r" is (truncated|no tar)")


def test_shard_cut_between_two_files(tars: Path) -> None:
    """tarfile takes this for the end."""
    shard = tars / "train" / "000001.tar"
    shard.write_bytes(shard.read_bytes()[: tarfile_offset(shard)])
    refused(tars, re.escape(str(shard)) + r" is truncated or damaged after .+: no tar ends so")


def tarfile_offset(shard: Path) -> int:
    import tarfile

    with tarfile.open(shard) as archive:
        return archive.getmembers()[2].offset


def test_flipped_bit_in_a_header(tars: Path) -> None:
    shard = tars / "train" / "000001.tar"
    content = bytearray(shard.read_bytes())
    content[tarfile_offset(shard) + 3] ^= 1
    shard.write_bytes(content)
    refused(tars, re.escape(str(shard)) + r" is truncated or damaged after ")


def test_empty_shard_and_what_is_no_tar(tars: Path) -> None:
    for content in (b"", b"<html>not found</html>" * 60):
        (tars / "train" / "000001.tar").write_bytes(content)
        refused(tars, r"000001\.tar is no tar, or damaged at its beginning")


def test_missing_shard(tars: Path) -> None:
    (tars / "train" / "000001.tar").unlink()
    refused(tars, r"missing: 000001\.tar of .*/train")
    refused(tars, r"missing: .*000001\.tar of", train_dir="train/{000000..000002}.tar")
    refused(tars, r"missing: 000001\.tar of", train_dir="train/*.tar")
    assert opened(tars, train_dir="train/{000000,000002}.tar")
    (tars / "val" / "000001.tar").rename(tars / "val" / "x-00001-of-00003.tar")
    refused(tars, r"missing: 000001\.tar, x-00000-of-00003\.tar, x-00002-of-00003\.tar of")


def test_two_images_of_one_name(tars: Path, root: Path) -> None:
    own = files_of(root / "train")
    tar(tars / "train" / "000002.tar", [*own[2::3], own[0]])
    name = re.escape(own[0][0])
    refused(tars, f"two images are called {name}: .*000000.tar: {name}, and .*000002.tar: {name}")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (b"3", r"000000\.tar: \S+ has the label 3: there are labels from 0 to 2"),
        (b"-1", r"000000\.tar: \S+ has the label -1"),
        (b"\xff\xfe", r"000000\.tar: \S+\.cls holds no text"),
        (b"", r"000000\.tar: \S+ has no label"),
    ],
)
def test_label_out_of_range(root: Path, tmp_path: Path, label: bytes, message: str) -> None:
    for part in ("train", "val"):
        files = labelled(root / part, "cls", ["ant", "bee bee", "größe"])
        if part == "train":
            files[1] = (files[1][0], label)
        shards(tmp_path / "tars" / part, files)
    refused(tmp_path / "tars", message, num_classes=3)


def test_image_without_a_label(root: Path, tmp_path: Path) -> None:
    files = labelled(root / "train", "cls", ["ant", "bee bee", "größe"])
    shards(tmp_path / "tars", files[:1] + files[2:])
    refused(tmp_path / "tars", r"tar: \S+ has no label beside it", val_fraction=0.3)
    shards(tmp_path / "none", [file for file in files if not file[0].endswith(".cls")])
    refused(tmp_path / "none", r"000000\.tar: \S+ has no label: it is in no class folder", val_fraction=0.3)


def test_compressed_tar_and_other_files(root: Path, tmp_path: Path) -> None:
    for name, message in (("a.tar.gz", "is compressed.*gunzip"), ("a.7z", "is no folder")):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, message, val_fraction=0.3)


def test_names_that_are_not_utf_8(root: Path, tmp_path: Path) -> None:
    """As in folders: any bytes are a name."""
    for part in ("train", "val"):
        path = next((root / part / "ant").iterdir())
        path.rename(path.with_name(os.fsdecode(b"caf\xe9" + path.suffix.encode())))
        files = files_of(root / part)
        shards(tmp_path / "tars" / part, files)
    assert_same(opened(tmp_path / "tars"), opened(root))


def evaluated(images: object, **keys: str) -> list[str]:
    """Files that could not be read, as batches say."""
    config = Config(data=DataConfig(name="imagefolder", workers=0, **keys))  # type: ignore[arg-type]
    config.evaluate.batch_size = 4
    ranks = Ranks(0, 1, 0, 1, torch.device("cpu"))
    return [name for batch in eval_batches(images, config, ranks, 32, 32) for name in batch.unreadable]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["tar", "zip", "deflated"])
def test_damaged_image_is_counted_as_in_folders(root: Path, tmp_path: Path, kind: str) -> None:
    """A zip has checksums: it finds bits that decoders do not."""
    files = files_of(root)
    at = next(i for i, (name, _) in enumerate(files) if name.startswith("train/") and name.endswith(".png"))
    name, content = files[at]
    if kind == "tar":
        files[at] = (name, content[:20] + b"\0" * (len(content) - 20))
        archive = tar(tmp_path / "all.tar", files)
    else:
        archive = zipped(tmp_path / "all.zip", files, zipfile.ZIP_STORED if kind == "zip" else zipfile.ZIP_DEFLATED)
        with zipfile.ZipFile(archive) as opened_zip:
            begin = opened_zip.getinfo(name).header_offset + 30 + len(name.encode()) + 12
        whole = bytearray(archive.read_bytes())
        whole[begin] ^= 0x10
        archive.write_bytes(whole)
    train, _ = opened(archive)
    with pytest.raises(DataError, match=re.escape(f"{archive}: {name}") + r".*data\.on_corrupt=skip"):
        evaluated(train)
    assert evaluated(train, on_corrupt="skip") == [name.removeprefix("train/")]


def test_archive_that_changes_or_goes_while_a_run_reads(tars: Path, root: Path) -> None:
    train, _ = opened(tars)
    shard = tars / "train" / "000001.tar"
    os.utime(shard, (1, 1))
    with pytest.raises(DataError, match=r"000001\.tar has changed since the run began"):
        evaluated(train)
    shard.unlink()
    with pytest.raises(DataError, match=r"000001\.tar: .*No such file"):
        evaluated(train)
    with pytest.raises(DataError, match=r"missing: 000001\.tar"):
        opened(tars)


def test_few_archives_are_open_at_a_time(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [
        (f"{name.partition('/')[0]}/{number}.png", content)
        for number in range(20)
        for name, content in [files_of(root / "train")[number % 2]]
    ]
    names = {name.partition("/")[0] for name, _ in files}
    if len(names) < 2:
        files[0] = (f"other/{files[0][0].partition('/')[2]}", files[0][1])
    for number, file in enumerate(files):
        tar(tmp_path / "many" / f"{number:03}.tar", [file])
    monkeypatch.setattr(members, "MOST_OPEN", 3)
    train, val = opened(tmp_path / "many", val_fraction=0.2)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        for images in (train, val):
            for index in range(len(images)):
                images.open(index).whole()
    assert len(os.listdir("/proc/self/fd")) - before <= 3


def test_validation_images_that_are_trained_on_are_noticed(root: Path, tmp_path: Path) -> None:
    files = files_of(root)
    name, content = next((name, content) for name, content in files if name.startswith("val/ant"))
    train, val = opened(tar(tmp_path / "all.tar", [*files, ("train/ant/twin.png", content)]))
    said = " ".join(same_images(train, val))
    assert said.startswith("leak: 1 of 6 validation images")
    assert f"{tmp_path / 'all.tar'}/{name.removeprefix('val/')}" in said
