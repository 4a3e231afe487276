"""`hydra.launcher.until=resolved`: further seeds for the settings whose comparison is open, until none is.

After the seeds that were given, the sweep looks at its comparisons as a report does, trains further seeds (the next
integers) for the settings of those that are open, looks again, and so on, at numbers of seeds that are planned before
the first look (`ladder.comparing.looks`). What it saw is kept in its folder (`ladder.reading.looks_taken`); what is to
be done follows from that, so that an interrupted sweep goes on where it was.
"""

import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recipe.errors import ConfigError
from recipe.ladder.reading import looks_taken
from recipe.ladder.reading.collect import collect
from recipe.ladder.reading.looks_taken import LooksTaken
from recipe.output import count
from recipe.sweep.jobs import Job
from recipe.sweep.launcher import RecipeLauncher

if TYPE_CHECKING:
    from recipe.ladder.comparing.looks import Standing

KEYS = ("until", "max_seeds", "hours", "smallest_gain")  # of hydra.launcher
KEY = "hydra.launcher.until=resolved"
SWEEPERS = ("LadderSweeper", "BasicSweeper")


@dataclass(frozen=True)
class Until:
    """What was asked for."""

    max_seeds: int  # of a setting: its comparisons end there, resolved or not
    hours: float | None  # of wall-clock time; None: as many as it takes
    smallest_gain: float | None  # points: a gain that is surely smaller, up or down, ends a comparison as well


def asked(options: dict[str, Any]) -> Until | None:
    """What a launcher's keys ask for, which are taken out of them; None: the seeds that are given, and no more.

    Raises ConfigError.
    """
    until, most, hours, smallest = (options.pop(key) for key in KEYS)
    if until is None:
        given = {"max_seeds": most, "hours": hours, "smallest_gain": smallest}
        wrong = [f"hydra.launcher.{key}={value:g}" for key, value in given.items() if value is not None]
        if wrong:
            raise ConfigError(f"{' '.join(wrong)}: goes with hydra.launcher.until=resolved")
        return None
    if until != "resolved":
        raise ConfigError(f"hydra.launcher.until={until}: must be resolved")
    most = 20 if most is None else most
    if most < 2:
        raise ConfigError(f"hydra.launcher.max_seeds={most}: must be at least 2")
    for key, value in (("hours", hours), ("smallest_gain", smallest)):
        if value is not None and not value > 0:
            raise ConfigError(f"hydra.launcher.{key}={value:g}: must be above 0")
    if options.get("wait") is False:
        raise ConfigError(
            "hydra.launcher.until=resolved looks at runs that have finished: on a cluster it needs "
            "hydra.launcher.wait=true, and the command must live as long as the sweep"
        )
    if options.get("promote") is not None:
        raise ConfigError("hydra.launcher.until and hydra.launcher.promote: choose one of them")
    return Until(most, hours, smallest)


def launch(launcher: RecipeLauncher, job_overrides: Sequence[Sequence[str]], first: int, until: Until) -> list[Any]:
    """Run the jobs, and further seeds of what is open. Returns what all jobs have come to.

    Raises what `launcher.launch` raises, and ConfigError where seeds cannot be added to the jobs.
    """
    from recipe.ladder.comparing import looks  # scipy

    settings = _settings(launcher, job_overrides, first, until)
    given = len(settings[0].seeds)
    design = looks.design(given, until.max_seeds, until.smallest_gain)
    sweep = Path(launcher.config.hydra.sweep.dir).absolute()
    work = _Work(launcher, settings, first + len(job_overrides), until, _taken(sweep, settings, design))
    work.train_given(job_overrides, first)
    return work.go_on()


@dataclass
class SweptSetting:
    """What is trained, whatever the seed."""

    overrides: tuple[str, ...]  # without the seed
    jobs: tuple[Job, ...]  # of the seeds that were given

    @property
    def seeds(self) -> list[int]:
        """Those that were given, sorted."""
        return sorted(job.plan.config.seed for job in self.jobs)

    def seed(self, place: int) -> int:
        """The seed at a place, from 0 on: the given ones, then the next integers."""
        seeds = self.seeds
        return seeds[place] if place < len(seeds) else seeds[-1] + 1 + place - len(seeds)

    def command(self, place: int) -> tuple[str, ...]:
        """The overrides of a further run, the one with that seed."""
        return (*self.overrides, f"seed={self.seed(place)}")


class _Further(NamedTuple):
    """A run beyond the seeds that were given."""

    overrides: tuple[str, ...]
    number: int  # of the sweep's jobs
    folder: Path


class _Work:
    """A sweep until its comparisons are resolved, in progress."""

    def __init__(
        self, launcher: RecipeLauncher, settings: list[SweptSetting], first: int, until: Until, taken: LooksTaken
    ) -> None:
        self.launcher, self.settings, self.until, self.taken = launcher, settings, until, taken
        self.returned: list[Any] = []
        self.begun, self.spent_before = time.monotonic(), taken.seconds
        self.per_run: float | None = None  # seconds, by the trainings of this start
        self.folders = [job.folder for setting in settings for job in setting.jobs]  # of what is trained
        self.wanted: list[_Further] = []
        self.further: dict[tuple[int, int], _Further] = {}  # by setting and place of the seed
        self.first_further = first

    def train_given(self, job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """Run the jobs that were given, whatever the time."""
        self._launch(job_overrides, first, self.folders)

    def go_on(self) -> list[Any]:
        """Look and train by turns. Returns what all jobs have come to."""
        from recipe.ladder.comparing import sequential

        standings: dict[tuple[str, str, str], Standing] = {}
        needed, ended_by = set(range(len(self.settings))), ""
        for look, seeds in enumerate(self.taken.design.counts):
            self._want(needed, seeds)
            if look >= len(self.taken.looks):
                if self._is_late():
                    ended_by = f"hydra.launcher.hours={self.until.hours:g} are over"
                    break
                self._train_wanted()
                self._look()
            so_far = replace(self.taken, looks=self.taken.looks[: look + 1])
            standings = sequential.standings(so_far)
            self._tell(so_far, standings)
            needed = self._needed(key for key, standing in standings.items() if standing.is_open)
            if not needed:
                break
        if not ended_by:
            self._train_wanted()  # what earlier starts have trained: should any be gone, it is trained again
        self._sum_up(standings, ended_by)
        return self.returned

    def _want(self, needed: Iterable[int], seeds: int) -> None:
        """Note which further runs are to be trained. Their numbers are the same whenever the sweep is started."""
        for place in range(self.taken.design.given, seeds):
            for setting in sorted(needed):
                if (setting, place) not in self.further:
                    number = self.first_further + len(self.further)
                    command = self.settings[setting].command(place)
                    run = _Further(command, number, self.launcher.composer.plan(command, number).folder)
                    self.further[setting, place] = run
                    self.wanted.append(run)

    def _train_wanted(self) -> None:
        if self.wanted:
            batch, self.wanted = self.wanted, []
            folders = [run.folder for run in batch]
            self._launch([run.overrides for run in batch], batch[0].number, folders)
            self.folders += folders

    def _launch(self, overrides: Sequence[Sequence[str]], first: int, folders: Sequence[Path]) -> None:
        """Run some jobs. The time that it took is kept whatever comes of it."""
        began, before = time.monotonic(), _unfinished(folders)
        try:
            self.returned += self.launcher.launch(overrides, first)
        finally:
            if before:
                self._write()
        if before:
            self.per_run = (time.monotonic() - began) / before

    def _is_late(self) -> bool:
        """Whether what is wanted would not end in time, by what this start has trained."""
        if self.until.hours is None or not self.wanted:
            return False
        return (
            self._seconds() + (self.per_run or 0.0) * _unfinished([run.folder for run in self.wanted])
            > 3600 * self.until.hours
        )

    def _seconds(self) -> float:
        return self.spent_before + time.monotonic() - self.begun

    def _look(self) -> None:
        """See how all comparisons stand, but those that are resolved, and keep it."""
        from recipe.ladder.comparing import sequential
        from recipe.ladder.comparing.compare import compare

        resolved = {key for key, standing in sequential.standings(self.taken).items() if not standing.is_open}
        found = sequential.seen(compare(collect(self.folders)), self.until.smallest_gain)
        still = [each for each in found if (each.table, each.name, each.over) not in resolved]
        if not still and not self.taken.looks:
            raise ConfigError(f"{KEY}: no two of these settings are compared with one another")
        self.taken = self.taken.with_look(still, self.folders)
        self._write()

    def _write(self) -> None:
        self.taken = replace(self.taken, seconds=self._seconds())
        self.taken.write()

    def _needed(self, comparisons: Iterable[tuple[str, str, str]]) -> set[int]:
        """The settings of some comparisons."""
        names = {name for _, *both in comparisons for name in both}
        return {place for place, setting in enumerate(self.settings) if setting.jobs[0].plan.name in names}

    def _tell(self, taken: LooksTaken, standings: dict[tuple[str, str, str], "Standing"]) -> None:
        from recipe.ladder.comparing import sequential
        from recipe.ladder.telling.looks import line

        counts = taken.design.counts
        rungs = [setting.jobs[0].plan.rung.name for setting in self.settings]
        several = len(set(rungs)) < len(rungs)
        jobs = [setting.jobs[0] for setting in self.settings]
        titles = {job.plan.name: job.setting if several else job.plan.rung.name for job in jobs}
        print(f"\nLook {len(taken.looks)} of at most {len(counts)}, at {counts[len(taken.looks) - 1]} seeds")
        for (_, name, over), standing in standings.items():
            verdict = sequential.verdict(standing, taken)
            said = line(titles.get(name, name), titles.get(over, over), standing, verdict, counts[-1])
            print(f"  {said}", flush=True)

    def _sum_up(self, standings: dict[tuple[str, str, str], "Standing"], ended_by: str) -> None:
        from recipe.ladder.comparing import looks

        resolved = sum(standing.decided != looks.OPEN for standing in standings.values())
        still = len(standings) - resolved
        most = self.taken.design.counts[-1]
        why = f"open ({ended_by}; the same command with more hours goes on)" if ended_by else f"at max_seeds={most}"
        said = [f"{resolved} of {count(len(standings), 'comparison')} resolved"] if standings else []
        said += [f"{still} {why}"] if still or (ended_by and not standings) else []
        print(
            f"\nEnded: {', '.join(said)}; {count(len(self.folders), 'run')}, where {most} seeds of every setting are "
            f"{most * len(self.settings)}. recipe report {os.path.relpath(self.taken.sweep)} says the same.",
            flush=True,
        )


def _settings(
    launcher: RecipeLauncher, job_overrides: Sequence[Sequence[str]], first: int, until: Until
) -> list[SweptSetting]:
    """The settings of a sweep's jobs. Raises ConfigError where a job is wrong, or seeds cannot be added to them."""
    sweeper = launcher.config.hydra.sweeper
    if not str(sweeper._target_).endswith(SWEEPERS):
        raise ConfigError(f"{KEY}: other sweepers choose settings themselves; it goes with hydra/sweeper=basic")
    if sweeper.get("max_batch_size") is not None:
        raise ConfigError(f"{KEY} looks at all jobs together: leave out hydra.sweeper.max_batch_size")
    record, launcher.record = launcher.record, None  # nothing is written before all is known to be right
    world_size = launcher.config.hydra.launcher.get("nodes", 1) * launcher.per_job
    launcher.jobs(job_overrides, first, world_size)
    jobs = list(launcher.by_folder.values())
    found: dict[tuple[str, ...], list[Job]] = {}
    for job in jobs:
        if job.plan.config.max_steps is not None or job.plan.config.data.fold is not None:
            raise ConfigError(
                "hydra.launcher.until=resolved counts whole trainings by seed: without data.fold and max_steps"
            )
        found.setdefault(_without_seed(job.overrides), []).append(job)
    settings = [SweptSetting(overrides, tuple(those)) for overrides, those in found.items()]
    if any(setting.seeds != settings[0].seeds for setting in settings):
        raise ConfigError(f"{KEY}: all settings need the same seeds to begin with")
    if len(settings[0].seeds) > until.max_seeds:
        given = len(settings[0].seeds)
        raise ConfigError(f"hydra.launcher.max_seeds={until.max_seeds}: {count(given, 'seed')} are given already")
    if len(settings) < 2:
        raise ConfigError(f"{KEY}: one setting alone is compared with nothing")
    if until.max_seeds > len(settings[0].seeds):  # its folder must be another one
        launcher.jobs([settings[0].command(len(settings[0].seeds))], first + len(jobs), world_size)
    launcher.by_folder.clear()
    launcher.record = record
    return settings


def _unfinished(folders: Iterable[Path]) -> int:
    return sum(not (folder / "result.json").exists() for folder in folders)


def _without_seed(overrides: Sequence[str]) -> tuple[str, ...]:
    return tuple(each for each in overrides if each.lstrip("+").partition("=")[0] != "seed")


def _taken(sweep: Path, settings: Sequence[SweptSetting], design: looks_taken.Design) -> LooksTaken:
    """The looks that an earlier start took, or none. Raises ConfigError where they were planned in another way."""
    names = sorted(str(os.path.relpath(setting.jobs[0].folder.parent, sweep)) for setting in settings)
    path = sweep / looks_taken.FOLDER / f"{hashlib.sha256(repr(names).encode()).hexdigest()[:12]}.json"
    if not path.exists():
        return LooksTaken(path, design)
    taken = looks_taken.read(path)
    if taken.looks and taken.design != design:
        before = taken.design
        smallest = "without a smallest gain" if before.smallest is None else f"smallest_gain={before.smallest:g}"
        raise ConfigError(
            f"these settings were looked at {count(len(taken.looks), 'time')}, as planned with "
            f"{count(before.given, 'seed')} given, max_seeds={before.counts[-1]} and {smallest}; the 5% of a wrong "
            f"verdict was divided so, and another plan after looking would not hold it. Ask for the same, or take "
            f"another hydra.sweep.dir (the looks are in {path})"
        )
    return taken if taken.looks else LooksTaken(path, design, seconds=taken.seconds)
