"""data.format: the same images in tar shards and in class folders are one data set, bit for bit; an index made once."""

import os
import tarfile
from pathlib import Path

import pytest
from archives import assert_same, files_of, folders, labelled, opened, shards, tar

from recipe.data.packed import opening
from recipe.errors import DataError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opening._entries.cache_clear()
    return folders(tmp_path / "folders")


@pytest.mark.parametrize("prefix", ["", "./", "photos/", "a/b/"])
def test_class_folders_in_shards(root: Path, tmp_path: Path, prefix: str) -> None:
    for part in ("train", "val"):
        shards(tmp_path / "tars" / part, [(prefix + name, content) for name, content in files_of(root / part)])
    found = opened(tmp_path / "tars")
    assert_same(found, opened(root))
    said = f"read from 3 tar shards as they are, labels by class folders: {tmp_path / 'tars' / 'train'}"
    assert list(found[0].remarks()) == [said]


@pytest.mark.parametrize("by", ["cls", "json"])
def test_labels_that_are_numbers_of_a_list_of_classes(root: Path, tmp_path: Path, by: str) -> None:
    classes = ["größe", "ant", "bee bee"]  # their order is the list's, that of the data set the folders'
    for part in ("train", "val"):
        shards(tmp_path / "tars" / part, labelled(root / part, by, classes))
    (tmp_path / "tars" / "classnames.txt").write_text("\n".join(classes))
    assert_same(opened(tmp_path / "tars"), opened(root))


def test_labels_without_names_are_called_by_their_numbers(root: Path, tmp_path: Path) -> None:
    """They sort as numbers do: 2 before 10."""
    (name, content), *_ = files_of(root / "val")
    suffix = name.rpartition(".")[2]
    for part in ("train", "val"):
        files = [(f"{i:03}.{suffix}", content) for i in range(22)]
        labels = [(f"{i:03}.cls", str(i % 11).encode()) for i in range(22)]
        shards(tmp_path / part, [file for pair in zip(files, labels, strict=True) for file in pair], 1)
    train, _ = opened(tmp_path)
    assert train.classes == [f"{number:02}" for number in range(11)]
    assert [os.fsdecode(path) for path in train.paths[:2]] == [f"00/000.{suffix}", f"00/011.{suffix}"]


def test_folders_and_labels_that_agree_are_the_folders(root: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        files = files_of(root / part)
        numbers = {name: str(i).encode() for i, name in enumerate(sorted({n.partition("/")[0] for n, _ in files}))}
        labels = [(f"{name.partition('.')[0]}.cls", numbers[name.partition("/")[0]]) for name, _ in files]
        tar(tmp_path / "tars" / f"{part}.tar", files + labels)
    assert_same(opened(tmp_path / "tars"), opened(root))


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("{part}/{number:06}.tar", {}),
        ("imagenet-{part}-{number:04}.tar", {}),
        ("{part}-{number:05}-of-00003.tar", {}),
        ("one/{part}_{number}.tar", {"train_dir": "one/train_{0..2}.tar", "val_dir": "one/val_*.tar"}),
        ("one/{part}_{number}.tar", {"train_dir": "one/train_{0,1,2}.tar", "val_dir": "one/val_?.tar"}),
    ],
)
def test_shards_are_found_by_their_names(root: Path, tmp_path: Path, name: str, keys: dict[str, str]) -> None:
    for part in ("train", "val"):
        files = files_of(root / part)
        for number in range(3):
            tar(tmp_path / "tars" / name.format(part=part, number=number), files[number::3])
    assert_same(opened(tmp_path / "tars", **keys), opened(root))


@pytest.mark.parametrize("prefix", ["", "photos/"])
def test_one_tar_of_all_splits(root: Path, tmp_path: Path, prefix: str) -> None:
    path = tar(tmp_path / "all.tar", [(prefix + name, content) for name, content in files_of(root)])
    assert_same(opened(path), opened(root))


@pytest.mark.parametrize("where", ["tars", "tars/{000000..000002}.tar", "tars/*.tar"])
def test_shards_of_one_set_are_divided_as_one_folder_is(root: Path, tmp_path: Path, where: str) -> None:
    shards(tmp_path / "tars", files_of(root / "train"))
    found = opened(tmp_path / where, val_fraction=0.3)
    assert_same(found, opened(root, val_fraction=0.3))
    with pytest.raises(DataError, match=r"data\.val_fraction=0\.2"):
        opened(tmp_path / where)


def test_what_a_folder_leaves_out_is_left_out_of_a_tar(root: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        (root / part / "ant" / "notes.txt").write_text("of the photographer")
        (root / part / "ant" / "._1.jpg").write_text("half of a file")
        (root / part / "ant" / "inner").mkdir()
        (root / part / "ant" / "inner" / "new.avif").write_bytes(b"")
        tar(tmp_path / "tars" / f"{part}.tar", [(f"x/{name}", content) for name, content in files_of(root / part)])
    (found, _), (expected, _) = opened(tmp_path / "tars"), opened(root)
    assert found.strays == expected.strays == ["ant/notes.txt"]
    assert (found.fingerprint, found.earlier) == (expected.fingerprint, expected.earlier)
    assert found.earlier
    assert [images.fingerprint for images in found.versions()] == [images.fingerprint for images in expected.versions()]


def test_hard_link_is_the_file_before_it_and_another_is_left_out(root: Path, tmp_path: Path) -> None:
    """As tar packs what `recipe data split` has linked."""
    (root / "train" / "bee bee" / "twin.jpg").hardlink_to(next((root / "train" / "ant").glob("*.jpg")))
    path = tmp_path / "all.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(root, "photos")
    assert_same(opened(path), opened(root))
    with tarfile.open(path) as archive:
        assert any(info.islnk() for info in archive)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("photos/train/ant/link.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "1.jpg"
        archive.addfile(info)
    said = list(opened(path)[0].remarks())
    assert said[1:] == [f"left out, neither file nor folder: ant/link.jpg (a link) (1 in {path})"]


def test_index_is_made_once_and_anew_where_a_shard_has_changed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of the data: nothing is written beside the shards."""
    for part in ("train", "val"):
        shards(tmp_path / "tars" / part, files_of(root / part))
    before = sorted((tmp_path / "tars").rglob("*"))
    first = opened(tmp_path / "tars")
    assert sorted((tmp_path / "tars").rglob("*")) == before
    with monkeypatch.context() as patch:
        patch.setattr(opening, "scan", None)  # as a call it would fail
        opening._entries.cache_clear()
        second = opened(tmp_path / "tars")
    assert_same(second, first)
    assert list(second[0].remarks()) == list(first[0].remarks())
    extra = files_of(root / "val")[0]
    tar(tmp_path / "tars" / "train" / "000001.tar", [*files_of(root / "train")[1::3], extra])
    assert len(opened(tmp_path / "tars")[0]) == len(first[0]) + 1


def test_broken_index_is_no_hindrance(root: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        shards(tmp_path / "tars" / part, files_of(root / part))
    first = opened(tmp_path / "tars")
    kept = list((tmp_path / "cache" / "recipe-ladder" / "archives").glob("*.npz"))
    assert len(kept) == 2
    for content in (b"", kept[0].read_bytes()[:300]):
        for file in kept:
            file.write_bytes(content)
        opening._entries.cache_clear()
        assert_same(opened(tmp_path / "tars"), first)


def test_format_says_where_to_look(root: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        tar(root / f"{part}.tar", files_of(root / part))
    assert opened(root)[0].members is None  # where there is a folder it is the folder
    assert opened(root, format="folder")[0].members is None
    assert opened(root, format="tar")[0].members is not None
    with pytest.raises(DataError, match=r"data\.format=zip: .* has no such archives for val or valid or validation"):
        opened(root, format="zip")
