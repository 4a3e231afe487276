"""What waits and runs on a real Slurm, seen from outside; and what happens to it when the sweep is started again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import PROJECT, ended, started
from slurm_cluster import slurm
from slurm_sweeps import ON_SLURM, TINY, is_over, jobs_of, submitted, told, until, until_trained_to

from recipe.sweep.slurm import queue

pytestmark = pytest.mark.slow
HELD = "hydra.launcher.sbatch=['--hold']"
ONE_AT_A_TIME = "hydra.launcher.at_once=1"
SHORT = ("epochs=1",)


def status(outputs: Path, *, path: str | None = None) -> dict[str, Any]:
    """What `recipe status --json` says."""
    command = [sys.executable, "-m", "recipe", "status", str(outputs / "multirun_outputs"), "--json"]
    environment = {**os.environ, "PATH": path or os.environ["PATH"], "SQUEUE_STATES": "RUNNING"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=PROJECT, check=True, env=environment
    )
    return dict(json.loads(done.stdout))


def by_seed(said: dict[str, Any]) -> list[dict[str, Any]]:
    return sorted(said["runs"], key=lambda run: str(run["folder"]))


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_queued_sweep_is_seen_with_the_queue_s_states_ids_and_nodes(cluster: None, tmp_path: Path) -> None:
    longer = ("epochs=400", "evaluate.every=2")
    submitted(tmp_path, *longer, "seed=0,1", ONE_AT_A_TIME, "hydra.launcher.exclude=node1")
    until_trained_to(5, tmp_path)
    first, second = by_seed(status(tmp_path))
    ids = [job["job_id"] for job in jobs_of(tmp_path)]
    assert (first["state"], first["slurm_job"], first["slurm_state"]) == ("running", ids[0], "RUNNING")
    assert (first["host"], first["epochs"], first["devices"]) == ("node2", 400, "cpu")
    assert 1 <= first["epoch"] <= 400
    assert first["images_per_second"] > 0
    assert (second["state"], second["slurm_job"], second["slurm_state"]) == ("queued", ids[1], "PENDING")
    assert (second["host"], second["epoch"], second["epochs"]) == (None, None, 400)

    without = status(tmp_path, path=str(Path(sys.executable).parent))
    assert [run["state"] for run in by_seed(without)] == ["running", "queued"]
    assert len(without["notices"]) == 1
    assert "this machine has no squeue" in without["notices"][0]

    before = files(tmp_path)
    dry = ended(started(tmp_path, "-m", *TINY, *ON_SLURM, *longer, "seed=0,1,2", "hydra.launcher.dry_run=true"))
    assert dry.returncode == 0, dry.stderr
    assert f"(job {ids[0]})" in dry.stdout
    assert f"(job {ids[1]})" in dry.stdout
    assert "3 jobs: 1 would train, 2 queued or running already, 0 finished before" in dry.stdout
    assert {path for path in files(tmp_path) if path not in before and "seed=0" not in path.parts} == set()

    slurm("scancel", ids[1])
    slurm("scancel", ids[0])
    until(lambda: is_over(tmp_path), tmp_path)
    said = status(tmp_path)
    assert [run["state"] for run in by_seed(said)] == ["stopped", "stopped"], said
    assert said["notices"] == []


def test_a_sweep_larger_than_the_cluster_s_arrays_is_several(cluster: None, tmp_path: Path) -> None:
    assert queue.setting("MaxArraySize") == "4"
    said = submitted(tmp_path, "seed=0,1,2,3,4,5", *SHORT, HELD)
    assert "6 jobs: 6 submitted" in said
    ids = [job["job_id"] for job in jobs_of(tmp_path)]
    arrays = list(dict.fromkeys(job_id.split("_")[0] for job_id in ids))
    assert ids == [f"{arrays[0]}_{number}" for number in range(4)] + [f"{arrays[1]}_{number}" for number in range(2)]
    assert set(queue.states(ids)) == set(ids)
    assert status(tmp_path)["counts"]["queued"] == 6
    assert "6 jobs: 0 submitted, 6 queued or running already" in submitted(tmp_path, "seed=0,1,2,3,4,5", *SHORT, HELD)
    slurm("scontrol", "release", arrays[1])
    until(lambda: set(queue.states(ids)) == set(ids[:4]), tmp_path)
    assert status(tmp_path)["counts"]["finished"] == 2, told(tmp_path)
    slurm("scancel", arrays[0])


def test_what_waits_with_earlier_code_is_replaced(cluster: None, tmp_path: Path) -> None:
    """Its runs are this start's; a job that runs keeps its code, and one that is not this start's is told."""
    gate = tmp_path / "gate"  # as long as it is there, what has begun waits
    gate.touch()
    keys = (*SHORT, ONE_AT_A_TIME, f"hydra.launcher.setup=['while [ -e {gate} ]; do sleep 0.2; done']")
    project = tmp_path / "project"
    for name in ("recipe", "conf", "hydra_plugins"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(PROJECT / "train.py", project)

    def sweep(*arguments: str) -> str:
        environment = {
            **os.environ,
            "RECIPE_OUTPUTS": str(tmp_path),
            "PYTHONPATH": str(project),
            "OMP_NUM_THREADS": "1",
        }
        command = [
            sys.executable,
            str(project / "train.py"),
            "-m",
            *TINY,
            *ON_SLURM,
            *keys,
            *arguments,
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=240, cwd=project, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    sweep("seed=0,1,2")
    before = [job["job_id"] for job in jobs_of(tmp_path)]
    until(lambda: queue.states(before)[before[0]] == "RUNNING", tmp_path)
    with (project / "recipe" / "ingredients" / "loss.py").open("a") as file:
        file.write("\n# changed\n")
    dry = sweep("seed=0,1", "hydra.launcher.dry_run=true")
    changed = "the code has changed since the sweep began (recipe/ingredients/loss.py)"
    assert f"queued, and would be replaced, since {changed}: {before[1]}" in dry
    assert "2 jobs: 1 would train, 1 queued or running already" in dry
    assert set(queue.states(before)) == set(before)

    said = sweep("seed=0,1")
    assert "2 jobs: 1 submitted" in said
    assert f"1 queued or running already ({before[0]})" in said
    assert f"1 of an earlier start cancelled, and submitted anew ({before[1]}): {changed}" in said, said
    assert f"out of the queue by: scancel {before[2]}" in said
    assert f"1 of an earlier start runs with its code ({before[0]})" in said
    assert set(queue.states(before)) == {before[0], before[2]}
    new = jobs_of(tmp_path)[-1]
    assert new["job_id"] not in before
    slurm("scancel", before[2])
    again = sweep("seed=0,1")
    assert "0 submitted" in again
    assert "cancelled" not in again
    gate.unlink()
    until(lambda: is_over(tmp_path), tmp_path)
    first, second = by_seed(status(tmp_path))[:2]
    assert (first["state"], second["state"]) == ("failed", "finished"), told(tmp_path)
    assert f"{changed}, and this job of it was not begun" in first["why"]
