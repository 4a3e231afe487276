"""A whole sweep with `hydra.launcher.until=resolved` in real processes: killed, and gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import PROJECT, ended, started, when

from recipe.ladder.reading import looks_taken

TINY = (
    *("scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false", "data.workers=0"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "epochs=1"),
    *("+recipe=r00_baseline,r01_lr_optimizations", "seed=0,1,2", "hydra.launcher.until=resolved"),
)


def sweep(outputs: Path, *arguments: str) -> "subprocess.Popen[str]":
    return started(outputs, "-m", *TINY, *arguments)


def results(outputs: Path) -> dict[Path, int]:
    """When each run ended."""
    return {path: path.stat().st_mtime_ns for path in (outputs / "multirun_outputs").glob("*/seed=*/result.json")}


def looks(outputs: Path) -> looks_taken.LooksTaken | None:
    found = list((outputs / "multirun_outputs" / looks_taken.FOLDER).glob("*.json"))
    return looks_taken.read(found[0]) if found else None


def test_on_a_cluster_it_must_wait(tmp_path: Path) -> None:
    done = ended(sweep(tmp_path, "hydra/launcher=slurm"))
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 2
    assert "needs hydra.launcher.wait=true" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_between_two_looks_it_goes_on(tmp_path: Path, how: signal.Signals) -> None:
    process = sweep(tmp_path, "hydra.launcher.max_seeds=5")
    for count in (2, 4, 6, 7):  # the last is behind the first look
        when(lambda: len(results(tmp_path)) >= count, process)  # noqa: B023
    process.send_signal(how)
    ended(process)
    time.sleep(5)  # its jobs notice, save and end
    before, taken = results(tmp_path), looks(tmp_path)
    assert taken is not None
    assert len(before) < 10
    again = ended(sweep(tmp_path, "hydra.launcher.max_seeds=5"), timeout=900)
    assert again.returncode == 0, again.stderr
    after, at_end = results(tmp_path), looks(tmp_path)
    assert at_end is not None
    assert before.items() <= after.items()  # nothing twice
    assert len(after) == 10
    assert at_end.looks[:1] == taken.looks
    assert len(at_end.looks) == 2
    assert "at max_seeds=5" in again.stdout or "resolved: " in again.stdout
    assert "10 runs, where 5 seeds of every setting are 10" in again.stdout

    done = subprocess.run(
        [sys.executable, "-m", "recipe", "report", str(tmp_path / "multirun_outputs"), "--no-figures"],
        capture_output=True, text=True, cwd=PROJECT, env={**os.environ, "COLUMNS": "200"}, check=True,
    )  # fmt: skip
    assert "2 looks of at most 2 were taken, at 3 and 5 seeds (max_seeds=5)" in " ".join(done.stdout.split())
    assert json.loads(at_end.path.read_text())["seconds"] > taken.seconds
