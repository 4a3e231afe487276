"""What Slurm says of jobs, by squeue and scontrol alone: accounting (sacct) is not to be had everywhere."""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence

from recipe.errors import RunError

TIMEOUT = 120  # seconds; a busy controller lets wait for tens of them
GONE = "Invalid job id"  # of squeue and scontrol, for jobs that have left the controller's memory


def told(command: Sequence[str]) -> str:
    """What one of Slurm's commands prints. Raises RunError with its own words where it refuses."""
    # Inside another job's allocation, that job's variables would be defaults of this one. SQUEUE_STATES hides jobs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SQUEUE_"))}
    environment.pop("HYDRA_FULL_ERROR", None)  # set by ours
    kept = {name: os.environ[name] for name in ("SLURM_CONF", "SLURM_CLUSTERS") if name in os.environ}
    name = command[0]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            env={**environment, **kept},
        )
    except FileNotFoundError as error:
        where = "start the sweep on a machine that submits to Slurm (a login node)"
        raise RunError(f"hydra/launcher=slurm: there is no {name} on this machine: {where}") from error
    except subprocess.TimeoutExpired as error:
        raise RunError(f"{name} did not answer in {TIMEOUT} s") from error
    if done.returncode != 0:
        lines = [re.sub(rf"^{name}: (error|fatal): ", "", line) for line in done.stderr.splitlines() if line.strip()]
        raise RunError(f"{name} refuses: {'; '.join(lines) or f'exit code {done.returncode}'}")
    return done.stdout


def states(job_ids: Iterable[str]) -> dict[str, str]:
    """The state in the queue (PENDING, RUNNING, COMPLETING, …) of those that are still in it, by id as in 12_3.

    Raises RunError where Slurm does not answer.
    """
    wanted = set(job_ids)
    if not wanted:
        return {}
    arrays = sorted({job_id.split("_")[0] for job_id in wanted})
    try:
        lines = told(["squeue", "--noheader", "--array", f"--jobs={','.join(arrays)}", "--format=%F_%K %T"])
    except RunError as error:
        if GONE in str(error):
            return {}
        raise
    found = dict(line.split() for line in lines.splitlines() if line.strip())
    return {job_id: state for job_id, state in found.items() if job_id in wanted}


def state(job_id: str) -> str | None:
    """The state of one job, RUNNING or whatever it is, for some minutes after its end too; None when it is forgotten.

    Raises RunError where Slurm does not answer.
    """
    try:
        about = told(["scontrol", "show", "job", "--oneliner", job_id])
    except RunError as error:
        if GONE in str(error):
            return None
        raise
    found = re.search(r"\bJobState=(\w+)", about)
    return found[1] if found else None


def setting(name: str) -> str:
    """A setting of the cluster, as in slurm.conf(5); empty where it has none of that name. Raises RunError."""
    found = re.search(rf"^{name}\s*=\s*(.*?)\s*$", told(["scontrol", "show", "config"]), re.M)
    return found[1] if found else ""
