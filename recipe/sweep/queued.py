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
UNKNOWN = "what was submitted and has left no word on its end counts as queued"


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


def states(known: Mapping[str, Mapping[str, Any]], notices: list[str]) -> dict[str, tuple[str, str]] | None:
    """State and nodes of the jobs that are in the queue, by id; None where nobody can be asked, a line in `notices`."""
    ids = {str(job["job_id"]) for job in known.values()}
    if not ids:
        return {}
    if shutil.which("squeue") is None:
        notices.append(f"this machine has no squeue: {UNKNOWN}")
        return None
    arrays = ",".join(sorted({job_id.split("_")[0] for job_id in ids}))
    command = ["squeue", "--noheader", "--array", f"--jobs={arrays}", "--format=%i|%F_%K|%T|%N"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}  # filters
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, check=False, env=environment
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        notices.append(f"squeue does not answer ({error}): {UNKNOWN}")
        return None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        if "Invalid job id" in done.stderr:  # all of them have left its memory
            return {}
        notices.append(f"squeue does not answer ({said[-1].removeprefix('slurm_load_jobs error: ')}): {UNKNOWN}")
        return None
    found = {}
    for line in done.stdout.splitlines():
        job_id, in_array, state, nodes = (*line.strip().split("|"), "", "", "")[:4]
        found.update({name: (state, nodes) for name in (job_id, in_array) if name in ids})
    return found


def why_failed(job: Mapping[str, Any]) -> str | None:
    """What a job that has left the queue said of its own end; None where it said nothing, or did not fail."""
    said = _outcome(job)
    return f"{said.get('why')} (job {job['job_id']})" if said.get("state") == "failed" else None


def may_be_queued(job: Mapping[str, Any]) -> bool:
    """Whether a job has left no word on its end: where squeue cannot be asked, it is taken to wait or to run."""
    return _outcome(job).get("state") in (None, "requeued")


def _outcome(job: Mapping[str, Any]) -> dict[str, Any]:
    """`state` and `why` by the job's own words; empty where it has none."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        said = json.loads((Path(job["task"]) / "outcome.json").read_text(encoding="utf-8"))
        return said if isinstance(said, dict) else {}
    return {}
