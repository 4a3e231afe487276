"""The keys of `data` give the images of the folders they name, in one order, with fingerprints that tell them apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipe.config import DataConfig
from recipe.data.dataset import Dataset, load
from recipe.data.folder import ImageFolder, scan_folder
from recipe.errors import DataError
from recipe.randomness import generator_at


def save_image(path: Path, grey: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), (grey, grey, grey)).save(path)


def make_split(folder: Path, classes: tuple[str, ...] = ("cat", "ant", "bee")) -> Path:
    for name in classes:
        for number in range(2):
            save_image(folder / name / f"{number}.png")
    return folder


def make_root(root: Path, val: str = "val") -> Path:
    make_split(root / "train")
    make_split(root / val)
    return root


def image_folder(root: Path, **keys: object) -> DataConfig:
    return DataConfig(**{"name": "imagefolder", "root": str(root), **keys})  # type: ignore[arg-type]


def test_images_are_scanned_in_sorted_order(tmp_path: Path) -> None:
    data = scan_folder(make_split(tmp_path))
    assert data.classes == ["ant", "bee", "cat"]
    assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert data.labels.dtype == np.int64
    assert data.paths.tolist() == [
        b"ant/0.png", b"ant/1.png", b"bee/0.png", b"bee/1.png", b"cat/0.png", b"cat/1.png"
    ]  # fmt: skip
    assert len(data) == 6


def test_images_are_read_by_number(tmp_path: Path) -> None:
    make_split(tmp_path)
    save_image(tmp_path / "bee" / "1.png", grey=77)
    data = scan_folder(tmp_path)
    assert data.open(3).whole().shape == (3, 7, 9)
    assert (data.open(3).whole() == 77).all()
    assert (data.open(2).whole() == 0).all()


def test_folders_inside_a_class_belong_to_it(tmp_path: Path) -> None:
    make_split(tmp_path)
    save_image(tmp_path / "bee" / "wild" / "small" / "7.jpeg", grey=200)
    data = scan_folder(tmp_path)
    assert data.labels.tolist() == [0, 0, 1, 1, 1, 2, 2]
    assert data.classes == ["ant", "bee", "cat"]
    assert data.paths[4] == b"bee/wild/small/7.jpeg"
    assert data.open(4).whole().float().mean() == pytest.approx(200, abs=2)


def test_other_files_are_left_out_and_suffixes_of_any_case_taken(tmp_path: Path) -> None:
    make_split(tmp_path)
    save_image(tmp_path / "ant" / "2.JPEG")
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "ant" / "._0.png").write_text("left by a file manager")
    (tmp_path / "README.md").write_text("no class")
    data = scan_folder(tmp_path)
    assert [path.decode() for path, label in zip(data.paths, data.labels, strict=True) if label == 0] == [
        "ant/0.png", "ant/1.png", "ant/2.JPEG"
    ]  # fmt: skip


def test_names_that_are_not_ascii_are_read(tmp_path: Path) -> None:
    make_split(tmp_path)
    save_image(tmp_path / "käse" / "größe.png", grey=5)
    data = scan_folder(tmp_path)
    assert "käse" in data.classes
    assert (data.open(len(data) - 1).whole() == 5).all()


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_folder_is_found_by_its_usual_names(tmp_path: Path, name: str) -> None:
    _, val = load(image_folder(make_root(tmp_path, name)))
    assert len(val) == 6
    assert val.fingerprint == scan_folder(tmp_path / name).fingerprint


def test_folders_are_those_that_the_config_names(tmp_path: Path) -> None:
    make_split(tmp_path / "first")
    make_split(tmp_path / "second")
    save_image(tmp_path / "second" / "ant" / "2.png")
    train, val = load(image_folder(tmp_path, train_dir="second", val_dir="first", num_classes=3))
    assert (len(train), len(val)) == (7, 6)


@pytest.mark.parametrize("photo", ["1.jpg", "cats/1.jpg"])
def test_photos_in_no_class_folders_are_told_how_to_lie(tmp_path: Path, photo: str) -> None:
    (tmp_path / photo).parent.mkdir(exist_ok=True)
    save_image(tmp_path / photo)
    with pytest.raises(DataError, match=r"no class folders: it needs train/CLASS/\*\.jpg and val/CLASS/\*\.jpg"):
        load(image_folder(tmp_path))


def test_missing_validation_folder_is_told(tmp_path: Path) -> None:
    make_split(tmp_path / "train")
    with pytest.raises(DataError, match=r"val, valid or validation.*data\.val_dir.*data\.val_fraction=0\.2") as caught:
        load(image_folder(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("missing", ["train", "val"])
def test_missing_folder_is_named(tmp_path: Path, missing: str) -> None:
    make_split(tmp_path / ("val" if missing == "train" else "train"))
    with pytest.raises(DataError) as caught:
        load(image_folder(tmp_path, val_dir="val"))
    assert str(tmp_path / missing) in str(caught.value)


def test_classes_that_differ_are_named(tmp_path: Path) -> None:
    make_root(tmp_path)
    save_image(tmp_path / "val" / "dog" / "0.png")
    save_image(tmp_path / "train" / "elk" / "0.png")
    with pytest.raises(DataError) as caught:
        load(image_folder(tmp_path))
    assert f"only {tmp_path / 'train'} has elk; only {tmp_path / 'val'} has dog" in str(caught.value)
    assert "ant" not in str(caught.value).replace(str(tmp_path), "")


def test_empty_class_folder_is_named(tmp_path: Path) -> None:
    make_split(tmp_path)
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError) as caught:
        scan_folder(tmp_path)
    assert str(tmp_path / "dog") in str(caught.value)


def test_fewer_than_two_classes_are_refused(tmp_path: Path) -> None:
    make_split(tmp_path, ("ant",))
    with pytest.raises(DataError, match="at least two class folders; it has 1"):
        scan_folder(tmp_path)


def test_another_number_of_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 3 classes, not data\.num_classes=10"):
        load(image_folder(make_root(tmp_path), num_classes=10))


def replace(root: Path) -> None:
    (root / "ant" / "0.png").write_bytes((root / "ant" / "0.png").read_bytes() + b"0")


def rename(root: Path) -> None:
    (root / "ant" / "0.png").rename(root / "ant" / "00.png")


def move(root: Path) -> None:
    (root / "ant" / "0.png").rename(root / "bee" / "00.png")


def rename_class(root: Path) -> None:
    (root / "ant").rename(root / "ape")


@pytest.mark.parametrize(
    "change",
    [replace, rename, move, rename_class, lambda root: (root / "ant" / "0.png").unlink()],
    ids=["size", "name", "class", "class_name", "removal"],
)
def test_fingerprint_changes_with_the_files(tmp_path: Path, change: Callable[[Path], None]) -> None:
    before = scan_folder(make_split(tmp_path)).fingerprint
    assert scan_folder(tmp_path).fingerprint == before
    change(tmp_path)
    assert scan_folder(tmp_path).fingerprint != before


def test_fingerprint_does_not_depend_on_where_the_data_lies(tmp_path: Path) -> None:
    first, second = (scan_folder(make_split(tmp_path / name)) for name in ("here", "there"))
    assert first.fingerprint == second.fingerprint


def synthetic(size: int = 40, num_classes: int = 5) -> DataConfig:
    return DataConfig(name="synthetic", size=size, num_classes=num_classes)


def test_synthetic_images_are_the_same_on_every_call() -> None:
    (train, val), (again, _) = load(synthetic()), load(synthetic())
    torch.rand(3)
    assert torch.equal(train.open(7).whole(), again.open(7).whole())
    assert not torch.equal(train.open(7).whole(), train.open(8).whole())
    assert not torch.equal(train.open(7).whole(), val.open(7).whole())
    assert (train.open(7).whole().dtype, train.open(7).whole().shape) == (torch.uint8, (3, 256, 256))


def test_synthetic_sets_have_their_sizes_and_classes() -> None:
    train, val = load(synthetic())
    assert (len(train), len(val)) == (40, 10)
    assert np.bincount(train.labels).tolist() == [8] * 5
    assert len(train.classes) == len(val.classes) == 5
    fingerprints = {
        load(config)[i].fingerprint for config in (synthetic(), synthetic(44, 5), synthetic(40, 4)) for i in (0, 1)
    }
    assert len(fingerprints) == 6


def make_classes(root: Path, **counts: int) -> Path:
    for name, count in counts.items():
        for number in range(count):
            save_image(root / name / f"{number:02}.png", grey=number)
    return root


def names(images: Dataset) -> set[str]:
    return {images.name(number) for number in range(len(images))}


def folds_of(make: Callable[[int], DataConfig], folds: int) -> list[tuple[Dataset, Dataset]]:
    return [load(make(fold)) for fold in range(folds)]


@pytest.fixture(params=["imagefolder", "one folder", "imagenet", "grocery", "synthetic"])
def each_fold(request: pytest.FixtureRequest, tmp_path: Path) -> list[tuple[Dataset, Dataset]]:
    """(training, validation) for each of 4 folds of 9 + 11 + 6 = 26 images (synthetic: 9 + 9 + 8)."""
    if request.param == "synthetic":
        return folds_of(lambda fold: DataConfig(name="synthetic", size=26, num_classes=3, folds=4, fold=fold), 4)
    root = tmp_path if request.param == "one folder" else tmp_path / "train"
    make_classes(root, ant=9, bee=11, cat=6)
    if request.param != "one folder":
        make_classes(tmp_path / "val", ant=1, bee=1, cat=1)
    name = "imagefolder" if request.param == "one folder" else request.param
    return folds_of(lambda fold: DataConfig(name=name, root=str(tmp_path), folds=4, fold=fold), 4)


def test_every_training_image_is_in_exactly_one_fold(each_fold: list[tuple[Dataset, Dataset]]) -> None:
    whole = names(each_fold[0][0]) | names(each_fold[0][1])
    assert len(whole) == 26
    for train, val in each_fold:
        assert not names(train) & names(val)
        assert names(train) | names(val) == whole
    assert sorted(name for _, val in each_fold for name in names(val)) == sorted(whole)


def test_folds_are_equal_in_size_and_in_every_class(each_fold: list[tuple[Dataset, Dataset]]) -> None:
    counts = np.array([np.bincount(val.labels, minlength=3) for _, val in each_fold])
    assert counts.min() >= 1
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1
    assert all(len(train.classes) == len(val.classes) == 3 for train, val in each_fold)


def test_fingerprints_are_those_of_the_parts(each_fold: list[tuple[Dataset, Dataset]]) -> None:
    assert len({images.fingerprint for fold in each_fold for images in fold}) == 8


def test_images_and_labels_of_a_fold_stay_together(tmp_path: Path) -> None:
    make_classes(tmp_path, ant=9, bee=11, cat=6)
    for images in load(image_folder(tmp_path, folds=4, fold=2)):
        for number in range(len(images)):
            folder, file = images.name(number).split("/")
            assert images.classes[images.labels[number]] == folder
            assert (images.open(number).whole() == int(file.removesuffix(".png"))).all()


def test_random_images_of_a_fold_are_those_of_the_whole() -> None:
    whole, _ = load(synthetic())
    for images in load(DataConfig(name="synthetic", size=40, num_classes=5, folds=4, fold=1)):
        for number in (0, 3):
            original = int(images.name(number).removeprefix("train/"))
            assert torch.equal(images.open(number).whole(), whole.open(original).whole())
            assert images.labels[number] == whole.labels[original]


def test_folds_are_the_same_on_every_call_and_not_simply_every_fourth_image(tmp_path: Path) -> None:
    make_classes(tmp_path, ant=20, bee=20)
    (_, one), (_, again) = (load(image_folder(tmp_path, folds=4, fold=0)) for _ in range(2))
    assert names(one) == names(again)
    assert one.fingerprint == again.fingerprint
    numbers = sorted(int(name[4:6]) for name in names(one) if name.startswith("ant"))
    assert len(set(np.diff(numbers))) > 1


def test_folds_have_an_address_of_their_own(tmp_path: Path) -> None:
    make_classes(tmp_path, ant=20, bee=20)
    _, val = load(image_folder(tmp_path, folds=4, fold=0))
    shuffled = torch.randperm(20, generator=generator_at(0, "folds", 1)).tolist()
    assert {name for name in names(val) if name.startswith("bee")} == {f"bee/{n:02}.png" for n in shuffled[::4]}


def test_official_validation_set_stays_out_of_the_folds(tmp_path: Path) -> None:
    make_classes(tmp_path / "train", ant=4, bee=4)
    make_classes(tmp_path / "val", ant=9, bee=9)
    train, val = load(image_folder(tmp_path, folds=2, fold=0))
    assert (len(train), len(val)) == (4, 4)
    assert {images.root for images in (train, val) if isinstance(images, ImageFolder)} == {tmp_path / "train"}


@pytest.mark.parametrize(("count", "told"), [(3, "3 training images"), (1, "1 training image,")])
def test_class_with_fewer_images_than_folds_is_named(tmp_path: Path, count: int, told: str) -> None:
    make_classes(tmp_path, ant=9, bee=count, cat=4)
    with pytest.raises(DataError, match=r"data\.folds=4") as caught:
        load(image_folder(tmp_path, folds=4, fold=0))
    assert f"{tmp_path / 'bee'} has {told}" in str(caught.value)
    with pytest.raises(DataError, match=r"the class class4 has 3 training images"):
        load(DataConfig(name="synthetic", size=19, num_classes=5, folds=4, fold=0))


def test_another_number_of_classes_is_refused_with_folds_as_well(tmp_path: Path) -> None:
    make_classes(tmp_path, ant=4, bee=4)
    with pytest.raises(DataError, match=r"has 2 classes, not data\.num_classes=10"):
        load(image_folder(tmp_path, num_classes=10, folds=2, fold=0))
