"""Queued jobs that would end as they begin, since the code has changed after they were submitted; and their end.

A job runs the code that its sweep began with, or none (recipe/plan/source_code.py). So the sweep's command, given
again, takes such jobs out of the queue and submits their runs anew.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from recipe.errors import RunError
from recipe.plan import source_code
from recipe.sweep.slurm import queue
from recipe.sweep.slurm.submit import Submitted
from recipe.sweep.slurm.task import QueuedTraining

LEAVING_SECONDS = 60.0  # that one may take to end that has begun meanwhile: Slurm's KillWait, and more


@dataclass
class Outdated:
    """Jobs in the queue that would not begin with the code of now."""

    replaceable: list[Submitted]  # that wait, and whose runs are all among those that are to be submitted
    of_others: list[Submitted]  # that wait, with runs that are not
    running: list[Submitted]  # that go on with the code that they have, unless they come back from the queue
    why: str = ""  # how the code differs


def find(queued: Sequence[Submitted], states: Mapping[str, str], folders: Collection[str]) -> Outdated:
    """Those of the jobs in the queue that the code's change concerns.

    Args:
        states: of these jobs in the queue, by id.
        folders: of the runs that this start of the sweep is to do.
    """
    found = Outdated([], [], [])
    whys = source_code.refused(_commands(queued))
    for job, why in zip(queued, whys, strict=True):
        if why is None:
            continue
        found.why = why
        left = [folder for folder in job.folders if not (Path(folder) / "result.json").exists()]
        if states[job.job_id] != "PENDING":
            found.running.append(job)
        elif all(folder in folders for folder in left):
            found.replaceable.append(job)
        else:
            found.of_others.append(job)
    return found


def take_out(jobs: Sequence[Submitted]) -> list[Submitted]:
    """Cancel jobs. Returns which have left the queue. Raises RunError where Slurm does not answer.

    Not by `scancel --state=PENDING`, which with Slurm 22.05 takes all that wait of an array where one of it is named.
    What has begun in this moment would end by itself, with exit code 2.
    """
    ids = [job.job_id for job in jobs]
    if not ids:
        return []
    with suppress(RunError):  # it refuses those of another user, which stay
        queue.told(["scancel", *ids])
    until = time.monotonic() + LEAVING_SECONDS
    while (left := queue.states(ids)) and time.monotonic() < until:
        if all(state == "PENDING" for state in left.values()):
            break
        time.sleep(0.5)
    return [job for job in jobs if job.job_id not in left]


def _commands(jobs: Sequence[Submitted]) -> list[list[str]]:
    """The first command of each; empty of those that cannot be read any more."""
    tasks = cache(QueuedTraining.read_array)
    found: list[list[str]] = []
    for job in jobs:
        own = Path(job.task)
        command: list[str] = []
        with suppress(OSError, ValueError, LookupError):
            command = tasks(own.parent)[int(own.name)].commands[0]
        found.append(command)
    return found
