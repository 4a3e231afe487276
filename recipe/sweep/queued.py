"""Jobs that a sweep has put into Slurm's queue, by SWEEP/.slurm/jobs.jsonl, and what squeue says of them."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = ".slurm"  # of a sweep's folder
JOBS = "jobs.jsonl"
RUNNING = {"RUNNING", "COMPLETING", "CONFIGURING", "STOPPED", "SUSPENDED"}
TIMEOUT = 10.0  # seconds


def jobs(sweeps: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The job of each run, by the real path of its folder; of several the last that was submitted."""
    found: dict[str, dict[str, Any]] = {}
    for sweep in sweeps:
        with suppress(OSError):
            for line in (sweep / FOLDER / JOBS).read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, TypeError, KeyError):  # cut by a power failure
                    job = json.loads(line)
                    found.update({os.path.realpath(folder): job for folder in job["folders"] if job["job_id"]})
    return found


def states(known: Mapping[str, Mapping[str, Any]], notices: list[str]) -> dict[str, tuple[str, str]]:
    """State and nodes of the jobs that are in the queue, by id. What cannot be asked is a line in `notices`."""
    ids = {str(job["job_id"]) for job in known.values()}
    if not ids:
        return {}
    if shutil.which("squeue") is None:
        notices.append("this machine has no squeue: what waits in Slurm's queue is not known here")
        return {}
    arrays = ",".join(sorted({job_id.split("_")[0] for job_id in ids}))
    command = ["squeue", "--noheader", "--array", f"--jobs={arrays}", "--format=%i|%F_%K|%T|%N"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        notices.append(f"squeue does not answer ({error})")
        return {}
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        if "Invalid job id" not in done.stderr:  # all of them have left its memory
            notices.append(f"squeue does not answer: {said[-1]}")
        return {}
    found = {}
    for line in done.stdout.splitlines():
        job_id, in_array, state, nodes = (*line.strip().split("|"), "", "", "")[:4]
        found.update({name: (state, nodes) for name in (job_id, in_array) if name in ids})
    return found


def why_failed(job: Mapping[str, Any]) -> str | None:
    """What a job that has left the queue said of its own end; None where it said nothing, or did not fail."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads((Path(job["task"]) / "outcome.json").read_text(encoding="utf-8"))
        if said.get("state") == "failed":
            return f"{said.get('why')} (job {job['job_id']})"
    return None
