"""Starts every job of `python train.py -m …` as processes of its own on this machine. (Clusters: slurm/launcher.py.)

Hydra knows these launchers by their namesakes in hydra_plugins/recipe_launcher.
"""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from recipe.errors import ConfigError, RunError
from recipe.files import CONSOLE, read_json
from recipe.machine import limits, torchrun
from recipe.machine.restarts import COMMAND
from recipe.machine.shared_files import kept_for_a_sweep
from recipe.output import count, say
from recipe.plan.checks import check
from recipe.plan.command_line import check_sweeps, quoted
from recipe.plan.source_code import SourceCode
from recipe.sweep import machine, processes
from recipe.sweep.beforehand import fetch_once
from recipe.sweep.composing import Composer, let_interpolations_see
from recipe.sweep.jobs import Job, the_same, trainings, with_short_titles
from recipe.sweep.pool import Pool
from recipe.sweep.record import SweepRecord

NOT_FOR_JOBS = ("hydra.launcher", "hydra/launcher", "hydra/sweeper", "hydra.sweeper", "hydra.mode", "hydra.run")


class RecipeLauncher(Launcher):
    """What both launchers share: from overrides to checked jobs, from jobs to command lines."""

    per_job: int  # processes on each machine

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra hands over what it has composed."""
        self.hydra_context, self.config = hydra_context, config
        os.environ.setdefault(COMMAND, uuid.uuid4().hex)  # of the jobs: one that is started again goes on
        self.by_folder: dict[str, Job] = {}
        self.code = SourceCode(config.hydra.launcher.changed_code, _config_folders(config))
        torchrun.refuse_sweep()
        check_sweeps(config, hydra_context.config_loader)
        let_interpolations_see(config)
        self.composer = Composer(hydra_context.config_loader, config)
        self.record: SweepRecord | None = SweepRecord(Path(config.hydra.sweep.dir).absolute())

    def jobs(self, job_overrides: Sequence[Sequence[str]], first: int, world_size: int) -> list[Job]:
        """Jobs, composed and checked: a wrong one is refused before the first begins."""
        jobs = [self._job(overrides, number, world_size) for number, overrides in enumerate(job_overrides, first)]
        jobs = with_short_titles(jobs)
        for line in the_same(jobs, self.by_folder):
            say(line)
        if self.record is not None:
            self.record.add(jobs, type(self).__name__.removesuffix("Launcher").lower())
        return jobs

    def _job(self, overrides: Sequence[str], number: int, world_size: int) -> Job:
        try:
            plan = self.composer.plan(overrides, number)
            check(plan.config, world_size)
        except ConfigError as error:
            raise ConfigError(f"{' '.join(overrides)}: {error}") from error
        return Job(tuple(overrides), plan, number)

    def in_queue(self, jobs: Sequence[Job]) -> dict[str, str]:
        """What waits or runs elsewhere already and is not started again: by folder, where it stands."""
        return {}

    def arguments(self, job: Job) -> list[str]:
        """What follows train.py in a job's command: its own overrides and those about Hydra that all share."""
        hydra = self.config.hydra
        given: Any = OmegaConf.to_container(hydra.overrides.hydra, resolve=False)
        shared = [text for text in given if not text.lstrip("+~").startswith(NOT_FOR_JOBS)]
        return [
            *self.code.argument(),
            *(argument for folder in _config_folders(self.config) for argument in ("--config-dir", folder)),
            *job.overrides,
            *shared,
            f"hydra.job.num={job.number}",
            f"hydra.job.id={job.number}",
            f"hydra.run.dir={quoted(str(job.folder))}",  # what fills it in may be the clock
        ]


def _config_folders(config: DictConfig) -> list[str]:
    """What --config-dir names."""
    return [source.path for source in config.hydra.runtime.config_sources if source.provider == "command-line"]


class TorchrunLauncher(RecipeLauncher):
    """Each job in processes of its own, side by side on this machine's devices."""

    def __init__(
        self,
        devices: list[int] | None,
        per_job: int,
        jobs: int | None,
        promote: list[float] | None,
        changed_code: str,  # see SourceCode
    ) -> None:
        self.devices, self.per_job, self.at_once, self.promote = devices, per_job, jobs, promote
        if per_job < 1 or (jobs is not None and jobs < 1):
            raise ConfigError("hydra.launcher.per_job and hydra.launcher.jobs must be at least 1")
        if promote is not None and not (len(promote) > 1 and promote[0] > 0 and promote[-1] == 1 and _rises(promote)):
            raise ConfigError(f"hydra.launcher.promote={promote}: must be shares that rise to 1, as in [0.1,0.33,1]")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs that have not finished. Raises RunError when any failed, Stopped when asked to stop."""
        jobs = self.jobs(job_overrides, initial_job_idx, self.per_job)
        failed: dict[Job, str] = {}
        for share in (self.promote or [1.0])[:-1]:
            jobs = self._worth_more(jobs, share, failed)
        failed |= self._run(jobs)
        if failed:
            raise RunError(failures(failed, len(job_overrides)))
        return [returned(job) for job in jobs]

    def _run(self, jobs: list[Job]) -> dict[Job, str]:
        """Run what has not finished. Returns the jobs that failed, with the reasons."""
        groups = trainings(jobs)
        on_cpu = all(limits.device(job.plan.config.runtime.device) == "cpu" for job in jobs)
        finished = all(job.result() is not None for job in jobs)
        gpus = [] if on_cpu or finished else machine.visible_gpus()
        shares = machine.shares(self.per_job, self.devices, self.at_once, len(groups), gpus)
        pool = Pool(
            groups,
            shares,
            self.per_job,
            lambda job: processes.command(self.per_job, self.arguments(job)),
            self.code.why_not,
        )
        pool.record = self.record
        _say_what_is_to_do(pool, len(groups))
        fetch_once([job.plan.config for job in pool.jobs if job not in pool.done])
        with kept_for_a_sweep(any(job.plan.config.data.cache == "memory" for job in jobs)):
            pool.run()
        if pool.withheld:
            raise RunError(_withheld(pool))
        return pool.failed

    def _worth_more(self, jobs: list[Job], share: float, failed: dict[Job, str]) -> list[Job]:
        """Train for a share of the epochs. Returns the jobs whose setting neither fails nor hurts against the first."""
        from recipe.sweep.promote import shortened, verdicts

        print(f"\n{share:.0%} of the epochs, for {count(len({job.plan.name for job in jobs}), 'setting')}")
        short = self.jobs([shortened(job.overrides, job.plan, share) for job in jobs], 0, self.per_job)
        fallen = self._run(short)
        failed |= fallen
        fell = {job.folder for job in fallen}
        found: dict[str, dict[int, float]] = {}
        for job, run in zip(jobs, short, strict=True):
            if run.folder not in fell:
                found.setdefault(job.setting, {})[job.plan.config.seed] = _accuracy(run)
        said = {**{job.setting: "failed" for job in jobs}, next(iter(found), ""): "the first", **verdicts(found)}
        left_out = {setting for setting, text in said.items() if text in ("failed", "hurts")}
        for setting in dict.fromkeys(job.setting for job in jobs):
            print(f"{setting}: {said[setting]}{', left out' if setting in left_out else ''}")
        return [job for job in jobs if job.setting not in left_out]


def _rises(shares: Sequence[float]) -> bool:
    return list(shares) == sorted(set(shares))


def _say_what_is_to_do(pool: Pool, groups: int) -> None:
    jobs, done = len(pool.jobs), len(pool.done)
    shared = f", {count(groups, 'training')} (the others only evaluate their weights)" if groups < jobs else ""
    common = " ".join(f"{key}={value}" for key, value in sorted(pool.jobs[0].shared))
    print(f"{count(jobs, 'job')}{shared}; {done} finished before")
    if done < jobs:
        if common:
            print(f"all with {common}")
        say(machine.describe(pool.shares, pool.processes))


def _withheld(pool: Pool) -> str:
    told = f"\n{failures(pool.failed, len(pool.jobs))}" if pool.failed else ""
    return (
        f"{pool.why_withheld}, and {len(pool.withheld)} of {count(len(pool.jobs), 'job')} were not started. The same "
        f"command goes on with the new code; with hydra.launcher.changed_code=continue it would have gone on{told}"
    )


def failures(failed: Mapping[Job, str], jobs: int) -> str:
    """What a sweep ends with whose jobs have not all come to their ends, `failed` with the reasons."""
    lines = [f"  {job.title}: {how}; its console is in {job.folder / CONSOLE}" for job, how in failed.items()]
    return f"{len(failed)} of {count(jobs, 'job')} failed; the same command tries them again\n" + "\n".join(lines)


def _accuracy(job: Job) -> float:
    return float(read_json(job.folder / "result.json")["acc1"])


def returned(job: Job) -> JobReturn:
    """A job's top-1, for a sweeper that looks for the best."""
    return JobReturn(
        overrides=job.overrides,
        working_dir=str(job.folder),
        status=JobStatus.COMPLETED,
        _return_value=_accuracy(job),
    )
