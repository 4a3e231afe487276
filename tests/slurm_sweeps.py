"""Sweeps on the real Slurm of slurm_cluster.py: started, looked at, and what they should come to."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import PROJECT, ended, started, steps_logged
from slurm_cluster import slurm

from recipe.files import CONSOLE
from recipe.sweep.slurm import queue, submit

TINY = (  # noqa: SIM905
    "+recipe=v2 scale=demo scale.resolution=0.0715 sampler.repetitions=1 model.name=shufflenet_v2_x0_5 data=synthetic "
    "data.size=64 batch_size=32 micro_batch_size=16 data.workers=0 log.images=false log.every_steps=1"
).split()
LONG = ("epochs=40", "evaluate.every=40")  # 80 steps
ON_SLURM = ["hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0", "hydra.launcher.partition=low"]
PATIENCE = 600  # seconds, for anything on two cores that others use


def submitted(outputs: Path, *arguments: str) -> str:
    """What a sweep's command prints that submits and ends."""
    overrides = {text.partition("=")[0]: text for text in (*TINY, *ON_SLURM, *arguments)}  # the last of a key counts
    done = ended(started(outputs, "-m", *overrides.values()))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def alone(outputs: Path, *arguments: str, processes: int = 0) -> Path:
    """The folder of the same training, undisturbed and without Slurm."""
    return whole(outputs, started(outputs, *TINY, *arguments, processes=processes))


def whole(outputs: Path, process: subprocess.Popen[str]) -> Path:
    """The folder of a run that was started, when it has ended."""
    done = ended(process, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return next(path.parent for path in outputs.glob("*/*/seed=0/result.json"))


def jobs_of(outputs: Path) -> list[dict[str, Any]]:
    """The lines of jobs.jsonl."""
    path = outputs / "multirun_outputs" / submit.FOLDER / submit.JOBS
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_of(outputs: Path) -> Path:
    """The folder of the only run."""
    return Path(jobs_of(outputs)[0]["folders"][0])


def outcome_of(outputs: Path) -> dict[str, Any]:
    """What the first job says of its end."""
    path = Path(jobs_of(outputs)[0]["task"]) / "outcome.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


def until(condition: Callable[[], bool], outputs: Path) -> None:
    """Wait until something is so; fails with what the job has printed."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, told(outputs)
        time.sleep(0.1)


def until_trained_to(step: int, outputs: Path) -> None:
    until(lambda: steps_logged(run_of(outputs)) >= step, outputs)


def until_in_queue_again(outputs: Path, times: int = 1) -> None:
    """The job is back in the queue, or has begun anew already."""
    job = jobs_of(outputs)[0]["job_id"]
    until(lambda: f"Restarts={times}" in slurm("scontrol", "show", "job", job), outputs)


def until_finished(outputs: Path) -> None:
    until(lambda: (run_of(outputs) / "result.json").exists() or is_over(outputs), outputs)
    until(lambda: is_over(outputs), outputs)
    assert (run_of(outputs) / "result.json").exists(), told(outputs)


def is_over(outputs: Path) -> bool:
    """Whether its jobs have left the queue."""
    return not queue.states(job["job_id"] for job in jobs_of(outputs))


def told(outputs: Path) -> str:
    """What its jobs have printed."""
    files = [Path(job["log"]) for job in jobs_of(outputs)] + [run_of(outputs) / CONSOLE]
    texts = [f"{path}:\n{path.read_text()}" for path in files if path.exists()]
    return "\n".join([*texts, slurm("squeue", check=False)])


def processes_of(outputs: Path) -> list[int]:
    """The ids of the processes of the job's training that have train.py in their command."""
    found = []
    run = str(run_of(outputs)).encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if run in command and str(PROJECT / "train.py").encode() in command and b"torch.distributed" not in command:
            found.append(int(pid))
    return sorted(found)
