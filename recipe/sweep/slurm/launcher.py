"""Starts every training of `python train.py -m … hydra/launcher=slurm` as a job of a Slurm cluster."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from recipe.errors import RunError
from recipe.output import count, say
from recipe.sweep import processes
from recipe.sweep.beforehand import fetch_once
from recipe.sweep.jobs import Job, trainings
from recipe.sweep.launcher import RecipeLauncher, failures, returned
from recipe.sweep.slurm import outdated, queue, request, submit
from recipe.sweep.slurm.outdated import Outdated
from recipe.sweep.slurm.submit import Submitted

POLL_SECONDS = 5.0  # between two looks at the queue
SHOWN = 5  # ids that are listed


class SlurmLauncher(RecipeLauncher):
    """Each training a job of a Slurm cluster."""

    def __init__(self, **keys: Any) -> None:
        self.keys, self.options = keys, request.options(keys)
        self.per_job = request.processes_per_node(keys)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit what has not finished and is not in the queue; with `wait`, see it through.

        Raises RunError where sbatch refuses, or when any failed then.
        """
        jobs = self.jobs(job_overrides, initial_job_idx, self.keys["nodes"] * self.per_job)
        fetch_once([job.plan.config for job in jobs if job.result() is None])
        sweep = Path(self.config.hydra.sweep.dir).absolute()
        with submit.alone(sweep):
            queued, old = _in_queue(sweep, jobs)
            replaced = outdated.take_out(old.replaceable)
            queued = [each for each in queued if each not in replaced]
            groups = _groups_to_submit(jobs, queued)
            new = self._submit(groups, queued, sweep)
        self._say(jobs, new, queued, sweep)
        for line in _about_outdated(old, replaced):
            say(line)
        if not self.keys["wait"]:
            return [
                JobReturn(
                    overrides=job.overrides, working_dir=str(job.folder), status=JobStatus.COMPLETED, _return_value=None
                )
                for job in jobs
            ]
        by_folder = {folder: each for each in [*queued, *new] for folder in each.folders}
        _wait([each.job_id for each in {each.job_id: each for each in by_folder.values()}.values()])
        failed = {job: _reason(by_folder.get(str(job.folder))) for job in jobs if job.result() is None}
        if failed:
            raise RunError(failures(failed, len(jobs)))
        return [returned(job) for job in jobs]

    def in_queue(self, jobs: Sequence[Job]) -> dict[str, str]:
        """What is not submitted again: by folder, its job. (Of a controller that does not answer: nothing is known.)"""
        sweep = Path(self.config.hydra.sweep.dir).absolute()
        try:
            queued, old = _in_queue(sweep, jobs)
        except RunError as error:
            say(f"what is in the queue already is not known: {error}")
            return {}
        if old.replaceable:
            say(f"queued, and would be replaced, since {old.why}: {_ids(old.replaceable)}")
        there = [each for each in queued if each not in old.replaceable]
        return {folder: f"job {each.job_id}" for each in there for folder in each.folders}

    def _submit(self, groups: list[list[Job]], queued: list[Submitted], sweep: Path) -> list[Submitted]:
        """Put them into the queue, those whose training is in it already behind that."""
        behind: dict[tuple[str, ...], list[list[Job]]] = {}
        for group in groups:
            same = [each.job_id for each in queued if each.training == group[0].plan.training_hash]
            behind.setdefault(tuple(same), []).append(group)
        new: list[Submitted] = []
        for after, part in behind.items():
            new += submit.submit(part, self._command, sweep, self.options, self.keys, after)
        return new

    def _command(self, job: Job) -> list[str]:
        """A job's command line on a node."""
        command = processes.command(self.per_job, self.arguments(job), rendezvous(self.keys["nodes"]))
        return [submit.python(self.keys), *command[1:]]

    def _say(self, jobs: list[Job], new: list[Submitted], queued: list[Submitted], sweep: Path) -> None:
        finished = sum(job.result() is not None for job in jobs)
        folders = {str(job.folder) for job in jobs}
        there = [each for each in queued if not folders.isdisjoint(each.folders)]
        said = [f"{len(new)} submitted{_in_brackets(new)}"]
        if there:
            said.append(f"{len(there)} queued or running already{_in_brackets(there)}")
        if finished:
            said.append(f"{count(finished, 'job')} finished before")
        print(f"{count(len(jobs), 'job')}: {', '.join(said)}")
        if new:
            say(f"Logs in {sweep / submit.FOLDER}; each run's console in its folder")
        if not self.keys["wait"] and (new or there):
            say("The same command submits again what has then neither finished nor is in the queue.")


def rendezvous(nodes: int) -> list[str]:
    """Torchrun's options for processes that meet across nodes; the first node has rank 0, and so the console."""
    if nodes == 1:
        return ["--standalone"]
    return [f"--nnodes={nodes}", "--node_rank={NODE}", "--master_addr={HEAD}", "--master_port={PORT}"]


def _in_queue(sweep: Path, jobs: Sequence[Job]) -> tuple[list[Submitted], Outdated]:
    """The sweep's jobs that wait or run, and those of them whose code has changed."""
    before = submit.submitted_before(sweep)
    states = queue.states(each.job_id for each in before)
    queued = [each for each in before if each.job_id in states]
    return queued, outdated.find(queued, states, {str(job.folder) for job in jobs})


def _about_outdated(old: Outdated, replaced: list[Submitted]) -> list[str]:
    """What became of jobs that the code's change concerns, and what somebody else must do."""
    lines = []
    if replaced:
        lines.append(
            f"{len(replaced)} of an earlier start cancelled, and submitted anew{_in_brackets(replaced)}: {old.why}"
        )
    left = [each for each in [*old.replaceable, *old.of_others] if each not in replaced]
    if left:
        ids = " ".join(each.job_id for each in left)
        lines.append(
            f"{len(left)} of an earlier start {'wait' if len(left) > 1 else 'waits'} and will end with exit code 2, "
            f"since {old.why}; out of the queue by: scancel {ids}"
        )
    if old.running:
        lines.append(
            f"{len(old.running)} of an earlier start {'run' if len(old.running) > 1 else 'runs'} with its code"
            f"{_in_brackets(old.running)}; one that comes back to the queue will end there with exit code 2"
        )
    return lines


def _groups_to_submit(jobs: list[Job], queued: list[Submitted]) -> list[list[Job]]:
    """What has not finished and is not in the queue, those that share a training together."""
    there = {folder for each in queued for folder in each.folders}
    left = [
        [job for job in group if job.result() is None and str(job.folder) not in there] for group in trainings(jobs)
    ]
    return [group for group in left if group]


def _wait(job_ids: list[str]) -> None:
    """Until all have left the queue. A controller that does not answer is asked again."""
    told = ""
    try:
        while True:
            try:
                if not queue.states(job_ids):
                    return
                told = ""
            except RunError as error:
                if not told:
                    say(f"{error}: asking again every {POLL_SECONDS:.0f} s")
                told = str(error)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt as interrupt:
        arrays = sorted({job_id.split("_")[0] for job_id in job_ids})
        interrupt.add_note(f"The jobs stay in the queue; scancel {' '.join(arrays)} takes them out.")
        raise


def _reason(job: Submitted | None) -> str:
    """Why a run has no result: by its job's own word, else by Slurm's."""
    if job is None:
        return "another job's training failed"
    outcome = job.outcome()
    if outcome.get("state") == "failed":
        return f"{outcome['why']} (job {job.job_id}, {job.log})"
    try:
        state = queue.state(job.job_id)
    except RunError:
        state = None
    return f"job {job.job_id} {f'ended as {state}' if state else 'left the queue'} (see {job.log})"


def _ids(jobs: list[Submitted]) -> str:
    return ", ".join([*(job.job_id for job in jobs[:SHOWN]), *["…"] * (len(jobs) > SHOWN)])


def _in_brackets(jobs: list[Submitted]) -> str:
    return f" ({_ids(jobs)})" if jobs else ""
