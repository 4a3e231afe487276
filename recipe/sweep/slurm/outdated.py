"""Queued jobs that would end as they begin, since the code has changed after they were submitted; and their end.

A job runs the code that its sweep began with, or none (recipe/plan/source_code.py). So the sweep's command, given
again, takes such jobs out of the queue and submits their runs anew.
"""

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
    """Cancel those that still wait. Returns which have left the queue. Raises RunError where Slurm does not answer."""
    ids = [job.job_id for job in jobs]
    if not ids:
        return []
    with suppress(RunError):  # another user's, or begun meanwhile: they stay
        queue.told(["scancel", "--state=PENDING", *ids])
    left = queue.states(ids)
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
