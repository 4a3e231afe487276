"""`recipe bench loader` measures every pipeline on real files, and its figures are those of the rounds."""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import encoded, photo

from recipe.commands.bench import loader, pipelines
from recipe.commands.bench.loader import LoaderFigures
from recipe.config import Config, DataConfig
from recipe.data import formats, imagefolder
from recipe.data.dataset import Dataset
from recipe.data.formats import Format
from recipe.data.loader import TrainLoader
from recipe.data.micro_batch import Task
from recipe.data.order import make_order
from recipe.plan import compose

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["batch_size=16", "micro_batch_size=4", "resolution.train_crop=32", "resolution.val_resize=36",
         "resolution.val_crop=32"]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for number in range(40):
        path = root / "train" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(photo(60 + number, 90), "JPEG"))
    for name in ("class0", "class1"):
        (root / "val" / name).mkdir(parents=True)
        (root / "val" / name / "0.jpg").write_bytes(encoded(photo(), "JPEG"))
    return root


def config_of(root: Path, *overrides: str) -> Config:
    return compose.plan_of(["+recipe=v2", "data=imagefolder", f"data.root={root}", *SMALL, *overrides]).config


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recipe", "bench", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment)


@pytest.mark.parametrize("flags", [["--json"], pytest.param(["--rate", "2500"], marks=pytest.mark.slow)])
def test_bench_loader(root: Path, flags: list[str]) -> None:
    done = bench(
        "loader",
        "+recipe=v2",
        "data=imagefolder",
        f"data.root={root}",
        *SMALL,
        "--seconds",
        "0.1",
        "--images",
        "48",
        *flags,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    if flags == ["--json"]:
        found = json.loads(done.stdout)
        names = [(row["name"], row["during"]) for row in found["rows"]]
        ours = "recipe-ladder"
        on_device = f"{ours}, device policy"
        training = ["torchvision's reference", "timm", ours, on_device, f"{on_device}, 4 repeats"]
        assert names[:5] == [(name, "training") for name in training]
        assert names[5:] == [(name, "evaluation") for name in ("torchvision's reference", "timm", ours)]
        for row in found["rows"]:
            assert len(row["rates"]) == 3
            assert min(row["rates"]) <= row["median"] <= max(row["rates"])
            assert row["times"]["timm"] > 0
            assert (row["times"]["torchvision's reference"] == 1) == (row["name"] == "torchvision's reference")
        assert list(found["stages"]) == ["read", "decode", "draw", "resize", "policy", "assembly", "transport"]
        assert found["stages"]["decode"] > 0
        assert found["jpeg"].startswith("nvImageCodec")
    else:
        assert "cores for 2,500 images/s in training" in done.stdout
        assert done.stdout.count("recipe-ladder, device policy, 4 repeats") == 2
        assert max(map(len, done.stdout.splitlines())) <= 80, done.stdout


def test_ratio_is_the_median_of_the_rounds() -> None:
    """A round that was slow for both leaves it as it is."""
    slow, fast = LoaderFigures("a", "training", [10.0, 1.0, 10.0]), LoaderFigures("b", "training", [20.0, 3.0, 20.0])
    assert fast.times(slow) == 2
    assert slow.times(slow) == 1


PIPELINES = [pipelines.reference, pipelines.timm_train, pipelines.ours]


@pytest.mark.parametrize("repetitions", [1, 4])
def test_pipelines_load_the_same_images(root: Path, repetitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many in each round, the files of the training's order, and no worker stays."""
    config = config_of(root, f"sampler.repetitions={repetitions}")
    images = loader.image_files(config)
    order = make_order(config, len(images))
    seen: list[int] = []
    draw_tasks = TrainLoader._task

    def noted(self: TrainLoader, images: np.ndarray, epoch: int, step: int, number: int) -> Task:
        task = draw_tasks(self, images, epoch, step, number)
        seen.extend(task.indices)
        return task

    monkeypatch.setattr(TrainLoader, "_task", noted)
    before = set(multiprocessing.active_children())  # of tests before this one
    for number in range(2):
        counts = {pipeline(images, config, 48)(number) for pipeline in PIPELINES}
        assert counts == {len(seen)}
        assert sorted(seen) == sorted(pipelines._indices(order, number, 48).tolist())
        seen.clear()
    assert not set(multiprocessing.active_children()) - before


def test_evaluations_load_each_image_once(root: Path) -> None:
    config = config_of(root, "sampler.repetitions=1")
    images = loader.image_files(config)
    rounds = {pipeline(images, config, 40)(0) for pipeline in (pipelines.reference_eval, pipelines.timm_eval)}
    assert rounds == {pipelines.ours_eval(images, config, 40)(0)} == {32}  # two steps


def test_stages_of_a_configuration_without_a_policy(root: Path) -> None:
    config = config_of(root)
    images = loader.image_files(config)
    without = replace(config, augment=replace(config.augment, policy="none"))
    stages = loader.stages_of(without, images)
    assert stages["policy"] < stages["decode"]
    assert min(stages.values()) >= 0
    assert min(stages[name] for name in ("read", "decode", "draw", "resize", "assembly")) > 0


class Listed:
    """Somebody's own data set of files: no folders of classes are behind it, as far as its type says."""

    def __init__(self, images: Dataset) -> None:
        self._images = images

    def __len__(self) -> int:
        return len(self._images)

    def versions(self) -> Iterator["Listed"]:
        yield self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._images, name)


def open_split(config: DataConfig, split: str) -> Listed:
    """This module is the format's."""
    return Listed(imagefolder.open_split(config, split))


def test_other_formats_of_files_are_measured(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(root)
    monkeypatch.setitem(formats.FORMATS, "imagefolder", Format(__name__))
    images = loader.image_files(config)
    assert isinstance(images, Listed)
    assert pipelines.reference(images, config, 16)(0) == pipelines.ours(images, config, 16)(0) == 16
    assert loader.stages_of(config, images)["read"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+recipe=v2", "data=synthetic"], "data=synthetic has no files to load"),
        (["+recipe=v2", "data=imagefolder", "data.root=nowhere"], "nowhere"),
        (["--seconds", "0"], "--seconds takes a number above 0, not 0"),
        (["+recpie=v2"], "recpie"),
    ],
)
def test_error_is_one_message(arguments: list[str], message: str) -> None:
    done = bench("loader", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
