"""Every experiment runs on what the original download becomes: archives with the originals' names, made small."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from downloads import as_tar, as_zip, jpegs
from test_experiments import EXPERIMENTS

from recipe.data.known import KNOWN, digest
from recipe.logs import console
from recipe.plan import rungs
from recipe.plan.compose import Plan, plan_of

Composer = Callable[..., Plan]
Recipe = Callable[..., int]
OTHER_IMAGES = "these are other images, so that no figure is shown beside them"
WNIDS = "n01440764", "n02102040", "n02979186"
SCENES = "buildings", "forest", "glacier", "mountain", "sea", "street"
ZOO = "bear,chimp,giraffe,gorilla,llama,ostrich,porcupine,skunk,triceratops,zebra"
IN_CALTECH = (  # the archive's names of the ten, and of one that is left out
    *("009.bear", "038.chimp", "084.giraffe", "090.gorilla", "134.llama-101", "151.ostrich", "164.porcupine"),
    *("186.skunk", "228.triceratops", "250.zebra", "257.clutter"),
)


def tiny_imagenet(folder: Path) -> Path:
    top = "tiny-imagenet-200"
    train = jpegs(*(f"{top}/train/{wnid}/images/{wnid}_{number}.JPEG" for wnid in WNIDS for number in range(4)))
    val = jpegs(*(f"{top}/val/images/val_{number}.JPEG" for number in range(3)))
    table = "".join(f"val_{number}.JPEG\t{wnid}\t0\t0\t9\t9\n" for number, wnid in enumerate(WNIDS))
    files = {**train, **val, f"{top}/val/val_annotations.txt": table.encode()}
    return as_zip(folder / "tiny-imagenet-200.zip", files)


def imagenette(folder: Path) -> Path:
    names = (
        f"imagenette2/{part}/{w}/{w}_{number}.JPEG" for part in ("train", "val") for w in WNIDS for number in "1234"
    )
    return as_tar(folder / "imagenette2.tgz", jpegs(*names), "w:gz")


def intel(folder: Path) -> Path:
    parts = ("seg_train", "seg_test")
    names = (f"{part}/{part}/{scene}/{number}.jpg" for part in parts for scene in SCENES for number in range(2))
    return as_zip(folder / "archive.zip", jpegs(*names, "seg_pred/seg_pred/5.jpg"))


def caltech256(folder: Path) -> Path:
    names = (f"256_ObjectCategories/{name}/{name[:3]}_{n:04}.jpg" for name in IN_CALTECH for n in range(1, 73))
    return as_tar(folder / "256_ObjectCategories.tar", jpegs(*names))


def imagenet(folder: Path) -> Path:
    downloads = folder / "downloads"
    downloads.mkdir()
    inner = {}
    for wnid in WNIDS:
        photos = jpegs(*(f"{wnid}_{number}.JPEG" for number in range(4)))
        inner[f"{wnid}.tar"] = as_tar(folder / "inner.tar", photos).read_bytes()
    as_tar(downloads / "ILSVRC2012_img_train.tar", inner)
    val = {f"ILSVRC2012_val_{number:08}": wnid for number, wnid in enumerate(WNIDS, 1)}
    as_tar(downloads / "ILSVRC2012_img_val.tar", jpegs(*(f"{name}.JPEG" for name in val)))
    rows = "".join(f"{name},{wnid} 1 2 3 4\n" for name, wnid in val.items())
    (downloads / "LOC_val_solution.csv").write_text(f"ImageId,PredictionString\n{rows}")
    return downloads


# By the experiments' data option: the download, its name for `recipe data prepare`, and what becomes of it.
DOWNLOADS: dict[str, tuple[Callable[[Path], Path], str, dict[str, int]]] = {
    "tiny_imagenet": (tiny_imagenet, "tiny-imagenet", {"train": 12, "val": 3}),
    "imagenette": (imagenette, "imagenette", {"train": 12, "val": 12}),
    "intel": (intel, "intel", {"train": 12, "val": 12, "predict": 1}),
    "caltech": (caltech256, "caltech256", {"train": 600, "val": 100, "test": 20}),
    "imagenet": (imagenet, "imagenet", {"train": 12, "val": 3}),
}


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for option, (make, _, _) in DOWNLOADS.items():
        made[option] = make(tmp_path_factory.mktemp(option))
    return made


def prepared(recipe: Recipe, downloads: dict[str, Path], option: str) -> Path:
    """The folder that the documented commands make, once, of a download."""
    _, name, images = DOWNLOADS[option]
    folder = downloads[option].parent / "prepared"
    source = downloads[option].parent / "all" if option == "caltech" else folder
    plain = ["--plain-names"] if option == "caltech" else []
    assert recipe("data", "prepare", name, downloads[option], source, "--any-count", *plain) == 0
    if option == "caltech":
        assert recipe("data", "split", source / "train", folder, "--first", "60,10", "--classes", ZOO) == 0
    for part, count in images.items():
        assert len([path for path in (folder / part).rglob("*") if path.is_file()]) == count
    return folder


def test_all_data_options_of_experiments_are_walked() -> None:
    assert {rungs.own_data(name) for name in EXPERIMENTS} == set(DOWNLOADS)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name.startswith("confirm") else []) for name in EXPERIMENTS],
)
def test_experiment_runs_two_steps_on_its_download(
    plan: Composer, recipe: Recipe, downloads: dict[str, Path], tmp_path: Path, name: str
) -> None:
    from recipe.run.run import train

    root = prepared(recipe, downloads, rungs.own_data(name) or "")
    small = ["scale=demo", "scale.resolution=0.15", "batch_size=4", "micro_batch_size=4", "max_steps=2"]
    small += [f"data.root={root}", "data.num_classes=null", "data.workers=0", "log.images=false"]
    own = plan_of([f"+experiment={name}", "data.root=."], to_run=False).config
    if own.model.weights is not None or name in ("tiny_imagenet_4", "tiny_imagenet_5"):
        torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "own.pth")
        small.append(f"model.weights={tmp_path / 'own.pth'}")
    if own.sampler.repetitions > 1:
        small += ["sampler.repetitions=1", "schedule.warmup_epochs=0"]
    train(replace(plan(f"+experiment={name}", *small), folder=tmp_path / "run"))
    log = (tmp_path / "run" / "train.log").read_text()
    assert not [figure for figure in EXPERIMENTS[name][0].values() if f"{figure:.3f}" in log]  # it is of other images
    rows = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"step": 2' in rows
    assert "val/acc1" in rows


def told(plan: Plan, classes: list[str], images: Mapping[str, int]) -> str:
    """What a run of the plan says of published figures on such data."""
    return " ".join(" ".join(console.published(plan, classes, images)).split())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_published_figures_of_an_experiment_stand_on_its_original_data_alone(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """On data with the original's classes and counts; on the small archive's counts the line says what is missing."""
    composed = plan_of([f"+experiment={name}", "data.root=."], to_run=False)
    on = rungs.own_data(name) or ""
    classes = [f"class {number}" for number in range(KNOWN[on].classes)]
    monkeypatch.setitem(KNOWN, on, replace(KNOWN[on], names=digest(classes)))
    original = {**KNOWN[on].images, "shorter_side": KNOWN[on].shorter_side}
    there, here = told(composed, classes, original), told(composed, classes, DOWNLOADS[on][2])
    figures = [f"{figure:.3f}" for figure in EXPERIMENTS[name][0].values()]
    assert [figure for figure in figures if figure in there] == figures
    assert not [figure for figure in figures if figure in here]
    assert there.startswith("published ") == bool(figures)
    assert here == (f"published on {KNOWN[on].title}: {OTHER_IMAGES}" if figures else "")
    assert told(composed, [*classes[1:], "another"], original) == here
