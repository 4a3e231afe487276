"""Splits on the disk: which images each part has, and that they are the same ones every time."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from photos import encoded, photo

from recipe.data.prepare.split_folder import shares, split_folder
from recipe.errors import DataError


def photos(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number:03}.jpg").write_bytes(encoded(photo(8, 9), "JPEG"))
    return root


def parts(root: Path) -> dict[str, list[str]]:
    return {
        part.name: sorted(path.relative_to(part).as_posix() for path in part.rglob("*.jpg"))
        for part in root.iterdir()
        if part.is_dir()
    }


def test_first_images_by_name_train_the_next_validate_the_rest_test(tmp_path: Path) -> None:
    source = photos(tmp_path / "all", bear=9, zebra=7, dog=3)
    counts, _ = split_folder(source, tmp_path / "zoo", first=[4, 2], classes=["zebra", "bear"])
    assert parts(tmp_path / "zoo") == {
        "train": [f"{name}/{number:03}.jpg" for name in ("bear", "zebra") for number in range(4)],
        "val": [f"{name}/{number:03}.jpg" for name in ("bear", "zebra") for number in (4, 5)],
        "test": ["bear/006.jpg", "bear/007.jpg", "bear/008.jpg", "zebra/006.jpg"],
    }
    assert counts == {
        "train": {"bear": 4, "zebra": 4},
        "val": {"bear": 2, "zebra": 2},
        "test": {"bear": 3, "zebra": 1},
    }
    assert (tmp_path / "zoo/test/bear/006.jpg").samefile(source / "bear/006.jpg")
    split_folder(source, tmp_path / "two", first=[2], copy=True)
    assert {part: len(names) for part, names in parts(tmp_path / "two").items()} == {"train": 6, "val": 13}
    assert not (tmp_path / "two/train/bear/000.jpg").samefile(source / "bear/000.jpg")


def test_fractions_are_of_every_class_and_every_image_is_in_one_part(tmp_path: Path) -> None:
    source = photos(tmp_path / "all", cat=20, dog=10, elk=3)
    counts, _ = split_folder(source, tmp_path / "out", fractions=[0.8, 0.1, 0.1], seed=3)
    assert counts == {
        "train": {"cat": 16, "dog": 8, "elk": 1},
        "val": {"cat": 2, "dog": 1, "elk": 1},
        "test": {"cat": 2, "dog": 1, "elk": 1},
    }
    found = parts(tmp_path / "out")
    assert sorted(name for names in found.values() for name in names) == parts(tmp_path)["all"]
    assert found["val"] != [*(f"cat/{number:03}.jpg" for number in (16, 17)), "dog/008.jpg", "elk/001.jpg"]  # drawn


def test_draw_depends_on_the_seed_and_on_the_class_alone(tmp_path: Path) -> None:
    source = photos(tmp_path / "all", cat=20, dog=20, elk=20)
    found = {}
    for name, seed, classes in (("a", 0, None), ("b", 0, ["dog", "elk"]), ("c", 1, None)):
        split_folder(source, tmp_path / name, fractions=[0.5, 0.5], seed=seed, classes=classes)
        found[name] = [image for image in parts(tmp_path / name)["train"] if not image.startswith("cat")]
    assert found["a"] == found["b"] != found["c"]
    dogs, elks = ([name[4:] for name in found["a"] if name.startswith(kind)] for kind in ("dog", "elk"))
    assert dogs != elks  # classes are drawn apart


@pytest.mark.parametrize(
    ("count", "fractions", "sizes"),
    [
        (10, [0.8, 0.1, 0.1], [8, 1, 1]),
        (15, [0.8, 0.1, 0.1], [12, 2, 1]),
        (3, [0.98, 0.01, 0.01], [1, 1, 1]),
        (100, [0.98, 0.001, 0.019], [98, 1, 1]),
        (70, [0.7, 0.3], [49, 21]),
        (7, [0.5, 0.5], [4, 3]),
    ],
)
def test_shares_sum_to_the_whole_and_leave_no_part_empty(
    count: int, fractions: Sequence[float], sizes: list[int]
) -> None:
    assert shares(count, fractions) == sizes


def test_same_command_again_has_nothing_to_do_and_another_is_refused(tmp_path: Path) -> None:
    source = photos(tmp_path / "all", cat=8, dog=8)
    assert not split_folder(source, tmp_path / "out", first=[4, 2])[1]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert split_folder(source, tmp_path / "out", first=[4, 2])[1]
    with pytest.raises(DataError, match=r"made otherwise \(first \[4, 2\] there, \[4, 1\] here\)"):
        split_folder(source, tmp_path / "out", first=[4, 1])
    with pytest.raises(DataError, match="made otherwise"):
        split_folder(source, tmp_path / "out", fractions=[0.5, 0.5])
    (source / "cat" / "new.jpg").write_bytes(b"new")
    with pytest.raises(DataError, match=r"made otherwise \(source"):
        split_folder(source, tmp_path / "out", first=[4, 2])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_class_with_too_few_images_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    source = photos(tmp_path / "all", bear=80, skunk=6)
    with pytest.raises(DataError, match=r"class skunk has 6 images, and --first 4,2 needs 7 or more"):
        split_folder(source, tmp_path / "out", first=[4, 2])
    with pytest.raises(DataError, match=r"no class skunks\. Did you mean skunk\?"):
        split_folder(source, tmp_path / "out", first=[4, 1], classes=["bear", "skunks"])
    assert [path.name for path in tmp_path.iterdir()] == ["all"]
    split_folder(source, tmp_path / "out", first=[4, 1])
    with pytest.raises(DataError, match=r"is split already \(test, train, val\)"):
        split_folder(tmp_path / "out", tmp_path / "again", first=[4, 1])


@pytest.mark.parametrize("content", ["{}", '{"images": 8}', "[]", "no JSON"])
def test_folder_with_another_program_s_file_of_that_name_is_left_alone(tmp_path: Path, content: str) -> None:
    source = photos(tmp_path / "all", cat=8, dog=8)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.json").write_text(content)
    with pytest.raises(DataError, match="is there already, and this command did not make it"):
        split_folder(source, tmp_path / "out", first=[4, 2])
    assert (tmp_path / "out" / "dataset.json").read_text() == content
