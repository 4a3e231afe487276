"""The jobs of a sweep on a cluster, by submitit (the extra `slurm`): one Slurm job for each training.

Slurm's signal before preemption or the end of the time limit reaches `checkpoint`: the run saves and the job goes back
into the queue, where the same command goes on from the checkpoint.
"""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recipe.errors import RunError
from recipe.files import CONSOLE
from recipe.machine.restarts import COMMAND
from recipe.output import opened
from recipe.sweep.jobs import Job

try:
    import submitit
except ImportError as error:
    raise RunError("hydra/launcher=slurm needs submitit: pip install -e '.[slurm]'") from error

FIRST_PORT, PORTS = 29500, 1000  # where the processes of a job on several nodes meet


class ClusterJob:
    """What a cluster's job does, on each of its nodes: runs that share a training, one after another."""

    def __init__(self, folders: Sequence[Path], commands: Sequence[list[str]], sweep: str) -> None:
        """Prepare; the object travels to the node as a pickle.

        Args:
            folders: of the runs.
            commands: their command lines, with HEAD, PORT and ID for what is known on the node alone.
            sweep: names the sweep, see recipe/machine/restarts.py.
        """
        self.folders, self.commands, self.sweep = list(folders), list(commands), sweep
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Run. Raises RuntimeError when one fails."""
        here = submitit.JobEnvironment()
        number = int("".join(filter(str.isdigit, here.job_id.split("_")[0])) or 0)
        known = {"HEAD": here.hostnames[0], "PORT": str(FIRST_PORT + number % PORTS), "ID": here.job_id}
        for folder, template in zip(self.folders, self.commands, strict=True):
            command = [_filled(argument, known) for argument in template]
            folder.mkdir(parents=True, exist_ok=True)
            name = CONSOLE if here.node == 0 else f"console.node{here.node}.log"
            with opened(folder / name, "a") as console:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, COMMAND: self.sweep, "PYTHONIOENCODING": "utf-8"},
                )
            while self.process.poll() is None:  # a wait would hold a lock that `checkpoint` needs
                time.sleep(0.5)
            if self.process.returncode != 0:
                raise RuntimeError(f"exit code {self.process.returncode}: see {folder / name}")

    def checkpoint(self) -> "submitit.helpers.DelayedSubmission":
        """Stop and save; what is left is submitted again. (Called by submitit's signal handler.)"""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(ClusterJob(self.folders, self.commands, self.sweep))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "process": None}


Training = ClusterJob  # as the pickles of jobs that an earlier version put into a queue name it


def rendezvous(nodes: int) -> list[str]:
    """Torchrun's options for processes that meet across nodes."""
    if nodes == 1:
        return ["--standalone"]
    return [f"--nnodes={nodes}", "--rdzv_backend=c10d", "--rdzv_endpoint={HEAD}:{PORT}", "--rdzv_id={ID}"]


def submit(
    groups: Sequence[list[Job]], command: Callable[[Job], list[str]], cluster: str, logs: Path, options: dict[str, Any]
) -> "list[submitit.Job[None]]":
    """Put trainings into the cluster's queue.

    Args:
        groups: jobs that still have to run; those in one list follow each other.
        command: a job's command line.
        cluster: slurm, or local: processes of this machine, to try it.
        logs: folder for what submitit writes.
        options: of submitit's executor.

    Raises RunError where there is no such cluster here.
    """
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=cluster, slurm_max_num_timeout=1000)
    except RuntimeError as error:
        raise RunError(f"hydra/launcher=slurm: {error}. Start the sweep on a machine that submits to Slurm") from error
    executor.update_parameters(**options)
    with executor.batch():
        return [
            executor.submit(
                ClusterJob([job.folder for job in group], [command(job) for job in group], os.environ[COMMAND])
            )
            for group in groups
        ]


def _filled(argument: str, known: dict[str, str]) -> str:
    for name, value in known.items():
        argument = argument.replace(f"{{{name}}}", value)
    return argument
