"""Trainings put into Slurm's queue by sbatch, as arrays; what was submitted is kept in the sweep's folder.

`.slurm/jobs.jsonl` there has a line for each job: whoever starts the sweep again, or asks how it stands, reads it.
(Not by submitit: it takes SIGTERM for no preemption, and a job's state from accounting, which many clusters lack.)
"""

import fcntl
import json
import os
import shlex
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recipe.errors import RunError
from recipe.machine.restarts import COMMAND
from recipe.sweep.jobs import Job
from recipe.sweep.slurm import queue
from recipe.sweep.slurm.task import OUTCOME, TASKS, node_program

FOLDER = ".slurm"  # of a sweep's folder
JOBS = "jobs.jsonl"


@dataclass(frozen=True)
class Submitted:
    """A job that was put into the queue: a line of jobs.jsonl."""

    job_id: str  # as Slurm shows it, 12_3: the third of array 12
    folders: list[str]  # of its runs, which follow each other
    submitted: str  # ISO time
    log: str  # what it printed beside its runs' consoles
    training: str  # the training hash that its runs share
    task: str  # its own folder below .slurm

    def outcome(self) -> dict[str, Any]:
        """What it came to by its own words, `state` and `why`; empty where it has none."""
        with suppress(OSError, ValueError):
            said = json.loads((Path(self.task) / OUTCOME).read_text(encoding="utf-8"))
            return said if isinstance(said, dict) else {}
        return {}


@contextmanager
def alone(sweep: Path) -> Iterator[None]:
    """One command at a time looks into a sweep's queue and submits to it. (Where the disk has no locks, any.)"""
    (sweep / FOLDER).mkdir(parents=True, exist_ok=True)
    with (sweep / FOLDER / "lock").open("a") as file:
        with suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_EX)
        yield


def submitted_before(sweep: Path) -> list[Submitted]:
    """All jobs that the sweep's folder knows of, the oldest first."""
    found = []
    with suppress(FileNotFoundError):
        for line in (sweep / FOLDER / JOBS).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError):  # cut by a power failure
                found.append(Submitted(**json.loads(line)))
    return found


def submit(
    groups: Sequence[list[Job]],
    command: Callable[[Job], list[str]],
    sweep: Path,
    options: Sequence[str],
    keys: dict[str, Any],
    after: Sequence[str] = (),
) -> list[Submitted]:
    """Put trainings into the queue, all at once but for those beyond the cluster's largest array.

    Args:
        groups: jobs that still have to run; those in one list follow each other.
        command: a job's command line, with HEAD, PORT and NODE for what is known on its nodes alone.
        options: of sbatch.
        keys: the launcher's.
        after: ids of jobs that must have ended before.

    Raises RunError with sbatch's own words where it refuses.
    """
    said = queue.setting("MaxArraySize")
    most = max(1, int(said)) if said.isdecimal() else 1001
    parts = [groups[first : first + most] for first in range(0, len(groups), most)]
    found: list[Submitted] = []
    for part in parts:
        try:
            found += _submit_array(part, command, sweep, options, keys, max(1, keys["at_once"] // len(parts)), after)
        except RunError as error:
            before = f" ({len(found)} of {len(groups)} trainings were submitted before)" if found else ""
            raise RunError(f"{error}{before}") from error
    return found


def _submit_array(
    groups: Sequence[list[Job]],
    command: Callable[[Job], list[str]],
    sweep: Path,
    options: Sequence[str],
    keys: dict[str, Any],
    at_once: int,
    after: Sequence[str],
) -> list[Submitted]:
    folder = sweep / FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
    folder.mkdir(parents=True)
    tasks = [
        {"folders": [str(job.folder) for job in each], "commands": [command(job) for job in each]} for each in groups
    ]
    about = {"nodes": keys["nodes"], "requeues": keys["requeues"], "command": os.environ[COMMAND], "tasks": tasks}
    (folder / TASKS).write_text(json.dumps(about, indent=1), encoding="utf-8")
    in_its_file_names = str(folder).replace("%", "%%")
    arguments = [
        "sbatch",
        "--parsable",
        f"--job-name={sweep.name or 'sweep'}",
        f"--array=0-{len(groups) - 1}%{at_once}",
        "--requeue",
        "--open-mode=append",
        f"--output={in_its_file_names}/%a.log",
        f"--chdir={os.getcwd()}",
        *([f"--dependency=afterany:{':'.join(after)}"] if after else []),
        *options,
        str(folder / "job.sh"),
    ]
    (folder / "job.sh").write_text(_script(folder, keys, arguments), encoding="utf-8")
    try:
        array = queue.told(arguments).strip().split(";")[0]  # behind it the cluster, of several
    except RunError:
        shutil.rmtree(folder)
        raise
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    found = [
        Submitted(
            job_id=f"{array}_{number}",
            folders=[str(job.folder) for job in group],
            submitted=now,
            log=str(folder / f"{number}.log"),
            training=group[0].plan.training_hash,
            task=str(folder / str(number)),
        )
        for number, group in enumerate(groups)
    ]
    with (sweep / FOLDER / JOBS).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(job), ensure_ascii=False) + "\n" for job in found)
    return found


def _script(folder: Path, keys: dict[str, Any], arguments: Sequence[str]) -> str:
    """What runs on a job's first node."""
    return "\n".join(
        [
            "#!/bin/bash",
            f"# {shlex.join(arguments)}",
            *keys["setup"],
            f"exec {shlex.join(node_program('recipe.sweep.slurm.job', python(keys), str(folder)))}",
            "",
        ]
    )


def python(keys: dict[str, Any]) -> str:
    """The Python of the nodes."""
    return str(keys["python"] or sys.executable)
