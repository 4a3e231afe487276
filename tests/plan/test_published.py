"""Published figures are shown of the experiment that they are of, known by its data's classes and counts; else not."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from photos import encoded, photo
from synthetic import class_names_of

from recipe.data import known
from recipe.data.dataset import load
from recipe.data.known import KNOWN, described, is_known
from recipe.data.prepare.originals import ORIGINALS
from recipe.logs import console
from recipe.plan import published
from recipe.plan.compose import Plan

Composer = Callable[..., Plan]
SCENES = class_names_of("intel")


def make_images(root: Path, option: str, names: list[str], side: int = 16, **changed: int) -> None:
    """A folder with a data set's classes and counts; all its files are one."""
    picture = root / "picture.jpg"
    root.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(encoded(photo(side, side + 1), "JPEG"))
    for split, count in ({**KNOWN[option].images} | changed).items():
        for number, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            for image in range(number, count, len(names)):
                os.link(picture, root / split / name / f"{image}.jpg")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with the names and numbers of Intel's scenes."""
    root = tmp_path_factory.mktemp("scenes")
    make_images(root, "intel", SCENES)
    return root


def said_of(plan: Plan) -> str:
    """What a run of the plan says of published figures."""
    train_set, val_set = load(plan.config.data)
    lines = console.published(plan, train_set.classes, described(val=val_set, train=train_set))
    return " ".join(" ".join(lines).split())


def said(plan: Plan, classes: list[str], images: Mapping[str, int]) -> str:
    return " ".join(" ".join(console.published(plan, classes, images)).split())


def test_counts_are_those_that_data_prepare_expects() -> None:
    prepared = {"tiny_imagenet": "tiny-imagenet"}
    for option in ("imagenet", "tiny_imagenet", "intel", "imagenette"):
        original = ORIGINALS[prepared.get(option, option)]
        assert KNOWN[option].images == {split: original.images[split] for split in ("train", "val")}
        assert KNOWN[option].classes == original.classes
    assert sum(KNOWN["caltech"].images.values()) == 1109


def test_imagenet_is_known_by_its_synsets_and_both_its_counts() -> None:
    names = class_names_of("imagenet")
    whole = {"train": 1_281_167, "val": 50_000}
    assert is_known("imagenet", names, whole)
    assert is_known("imagenet", names[::-1], {"val": 50_000})  # its validation images alone
    for classes, images in (
        (names[1:], whole),
        ([*names[1:], "n99999999"], whole),
        (names, whole | {"val": 49_999}),
        (names, whole | {"train": 1}),
        (names, {}),
    ):
        assert not is_known("imagenet", classes, images)


def test_folder_with_the_original_s_classes_and_counts_is_told_the_figures(plan: Composer, scenes: Path) -> None:
    told = said_of(plan("+experiment=intel_frozen_v2", f"data.root={scenes}", "seed=3"))
    assert told.startswith("published top-1 90.870, loss 0.262 in “A Detailed Comparison")
    assert "0.53 points" in told  # √(0.9087·0.0913/3000)


def test_other_images_under_the_same_option_are_told_what_the_figures_are_of(plan: Composer, tmp_path: Path) -> None:
    make_images(tmp_path / "fewer", "intel", SCENES, train=60, val=30)
    make_images(tmp_path / "others", "intel", [*SCENES[:5], "sky"])
    for name in ("fewer", "others"):
        told = said_of(plan("+experiment=intel_frozen_v2", f"data.root={tmp_path / name}"))
        assert told.startswith("published on Intel's scenes: these are other images"), name
        assert "90.87" not in told


@pytest.mark.parametrize(
    "changed", [["scale=demo", "model.name=resnet50"], ["epochs=9"], ["max_steps=2"], ["data=imagenet"]], ids=str
)
def test_another_size_value_or_option_is_another_experiment(plan: Composer, scenes: Path, changed: list[str]) -> None:
    composed = plan("+experiment=intel_frozen_v2", f"data.root={scenes}", *changed)
    told = said(composed, SCENES, KNOWN["intel"].images)
    assert "90.87" not in told
    assert told == "" or "data=imagenet" in changed  # then it says what the figures are of


def test_the_ladder_is_known_on_imagenet_alone(plan: Composer) -> None:
    names, images = class_names_of("imagenet"), KNOWN["imagenet"].images
    on_imagenet = plan("+recipe=v2", "data=imagenet", "data.root=.")
    assert said(on_imagenet, names, images).startswith("published top-1 80.858, top-5 95.434 in “How to Train")
    assert said(on_imagenet, SCENES, images).startswith("published on ImageNet: these are other images")
    assert said(plan("+recipe=v2"), ["a", "b"], {"train": 9, "val": 9}) == ""  # the demo's photos: no try at it
    assert said(plan("+recipe=v2", "data=synthetic"), ["a", "b"], {"train": 9, "val": 9}) == ""
    confirmed = said(plan("+experiment=confirm_resnet101", "data.root=."), names, images)
    assert confirmed.startswith("published top-1 81.886")


def test_figures_of_other_evaluations_are_told_with_their_command(plan: Composer) -> None:
    told = said(plan("+experiment=zoo", "data.root=."), class_names_of("caltech"), KNOWN["caltech"].images)
    assert told.startswith("published top-1 of the best epoch 96.000 top-1 92.400 (recipe evaluate ")
    assert " split=test weights=best)" in told
    assert f"{math.sqrt(96 * 4 / 100):.2f} points" in told


def test_editions_of_imagenette_are_told_apart_by_their_size(tmp_path: Path, plan: Composer) -> None:
    names = [f"n{n:08}" for n in (1440764, 2102040, 2979186, 3000684, 3028079, 3394916, 3417042, 3425413, 3445777)]
    names.append("n03888257")
    for side in (160, 375):
        make_images(tmp_path / str(side), "imagenette", names, side)
    small, full = (
        said_of(plan("+experiment=zero_init_timm_one", f"data.root={tmp_path / side}")) for side in ("160", "375")
    )
    assert full.startswith("published top-1 78.750, loss 0.682")
    assert small.startswith("published on Imagenette (full size): these are other images")


def test_size_is_looked_at_only_where_editions_differ(scenes: Path, plan: Composer) -> None:
    train_set, val_set = load(plan("+experiment=intel_frozen_v2", f"data.root={scenes}").config.data)
    assert described(val=val_set, train=train_set) == {"val": 3_000, "train": 14_034}


def test_what_a_run_folder_says_is_enough_and_earlier_ones_say_too_little() -> None:
    rung = {"name": "mine", "published": {"acc1": 50}, "on": "intel", "by_epoch": {"2": {"loss": 0.5}}}
    environment = {"rung": rung, "differences": {}, "classes": SCENES, "images": {"train": 14_034, "val": 3_000}}
    found = published.of_run(environment)
    assert (found.shown, found.acc1, found.by_epoch) == (True, 50, {2: {"loss": 0.5}})
    assert published.of_run({**environment, "images": None}).instead == "on Intel's scenes"
    earlier = {key: value for key, value in rung.items() if key != "on"}
    assert published.of_run({**environment, "rung": earlier}).instead == "on other data"
    own = published.of_run({**environment, "rung": rung | {"on": "my_photos"}, "classes": ["a", "b"]})
    assert own.shown  # of a data option that nobody else knows, its name is all there is to compare
    assert known.digest(["b", "a"]) == known.digest(["a", "b"]) != known.digest(["ab"])
