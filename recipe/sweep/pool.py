"""Runs the jobs of a sweep side by side on the shares of this machine, until all are done, or it is asked to stop."""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recipe.files import read_json
from recipe.machine.signals import STOPPED, Stopped, StopSignal
from recipe.output import count
from recipe.sweep.jobs import Job
from recipe.sweep.machine import Share
from recipe.sweep.overview import Clock, Screen, duration, running_line
from recipe.sweep.processes import kill, start
from recipe.sweep.record import SweepRecord

POLL_SECONDS = 0.2  # between two looks at the processes
DRAW_SECONDS = 1.0


@dataclass
class Running:
    """A job in progress."""

    job: Job
    rest: list[Job]  # that share its training and follow it
    share: Share
    process: "subprocess.Popen[bytes]"
    began: float


class Pool:
    """A sweep in progress."""

    def __init__(
        self,
        trainings: Sequence[list[Job]],
        shares: Sequence[Share],
        processes: int,
        command: Callable[[Job], list[str]],
        why_not: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Prepare to run.

        Args:
            trainings: all jobs; those in one list follow each other.
            shares: one for each job that runs at a time.
            processes: of each job.
            command: a job's command line.
            why_not: asked before each start: why no further job may start; None where it may.
        """
        self.jobs = [job for group in trainings for job in group]
        self.done = {job for job in self.jobs if job.result() is not None}
        self.failed: dict[Job, str] = {}  # with the reason
        self.withheld: list[Job] = []  # not started, for a reason that holds for all
        self.why_withheld = ""
        self._waiting = [list(group) for group in trainings if not self.done.issuperset(group)]
        self._running: list[Running] = []
        self.shares, self.processes = shares, processes
        self._free = list(shares)
        self._command, self._why_not = command, why_not
        self._screen, self._clock = Screen(), Clock([group[0] for group in self._waiting], len(shares))
        self.record: SweepRecord | None = None  # where to note what becomes of the jobs
        self._busy = 0.0  # seconds that jobs which have ended took
        self._drawn = 0.0

    def run(self) -> None:
        """Run all jobs. Raises Stopped when a signal asked for it; failed jobs are in `failed`."""
        with StopSignal() as stop:
            try:
                while (self._waiting or self._running) and not stop.name:
                    self._fill()
                    self._look()
                    self._show()
                    time.sleep(POLL_SECONDS)
                if stop.name:
                    self._stop()
            finally:
                self._screen.draw([])
                for running in self._running:
                    kill(running.process)

    def _fill(self) -> None:
        """Give the free shares work. A folder in which another process trains is passed over for now."""
        for group in list(self._waiting):
            if not self._free:
                return
            if not group[0].is_running():
                self._waiting.remove(group)
                self._begin(group, self._free.pop(0))

    def _begin(self, group: list[Job], share: Share) -> None:
        """Start the first job of a group that has not finished."""
        left = [job for job in group if job not in self.done]
        while left and left[0].result() is not None:  # by another sweep, meanwhile
            self.done.add(left.pop(0))
        if not left:
            self._free.append(share)
            return
        if reason := self._why_not():
            self._free.append(share)
            self._withhold(left, reason)
            return
        try:
            process = start(left[0], self._command(left[0]), share, self.processes)
        except OSError as error:
            self._free.append(share)
            self._fail(left, str(error))
            return
        self._screen.say(f"started  {left[0].title}")
        if self.record is not None:
            self.record.note(left[0], state="running", pid=process.pid, devices=list(share.gpus))
        self._running.append(Running(left[0], left[1:], share, process, time.monotonic()))

    def _look(self) -> None:
        """See which jobs have ended, and how."""
        for running in [running for running in self._running if running.process.poll() is not None]:
            self._running.remove(running)
            self._busy += time.monotonic() - running.began
            job, rest, code = running.job, running.rest, running.process.returncode
            # Another sweep may have begun it in the same moment, and finished it.
            if (code == 0 and (job.folder / "result.json").exists()) or job.result() is not None:
                self.done.add(job)
                if self.record is not None:
                    self.record.note(job, state="finished")
                accuracy = read_json(job.folder / "result.json")["acc1"]
                took = duration(time.monotonic() - running.began)
                at = f"{len(self.done)}/{len(self.jobs)}"
                self._screen.say(f"done     {job.title}  top-1 {accuracy:.2f}  {took}  ({at})")
                self._begin(rest, running.share)
                continue
            self._free.append(running.share)
            if job.is_running():  # another sweep was faster
                self._waiting.append([job, *rest])
            else:
                how = f"killed by signal {-code}" if code < 0 else "stopped" if code == STOPPED else f"exit code {code}"
                self._fail([job, *rest], how)

    def _withhold(self, group: list[Job], reason: str) -> None:
        """Start no job of a group."""
        if not self.withheld:
            self._screen.say(f"{reason}: no further job is started")
        self.withheld += group
        self.why_withheld = reason

    def _fail(self, group: list[Job], how: str) -> None:
        """Note a failure. What was to take this job's weights does not train in its place."""
        job, *rest = group
        self.failed[job] = how
        self._screen.say(f"failed   {job.title}: {how}")
        for line in job.last_lines():
            self._screen.say(f"         | {line}")
        for other in rest:
            self.failed[other] = f"its training, {job.title}, failed"
            self._screen.say(f"failed   {other.title}: {self.failed[other]}")
        if self.record is not None:
            for each in group:
                self.record.note(each, state="failed", why=self.failed[each])

    def _stop(self) -> None:
        """Ask what still runs to save and end, and wait for it."""
        self._screen.keep()
        for running in self._running:
            running.process.terminate()
        while self._running:
            self._running[0].process.wait()
            self._running.pop(0)
        stopped = Stopped(f"with {len(self.done)} of {count(len(self.jobs), 'job')} finished")
        stopped.resumes = all(job.plan.config.resume == "auto" for job in self.jobs)
        raise stopped

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._drawn < DRAW_SECONDS:
            return
        self._drawn = now
        busy = self._busy + sum(now - running.began for running in self._running)
        left = self._clock.left(busy, self.done | self.failed.keys() | set(self.withheld))
        waiting = len(self.jobs) - len(self.done) - len(self.failed) - len(self._running) - len(self.withheld)
        counts = {"done": len(self.done), "running": len(self._running), "waiting": waiting, "failed": len(self.failed)}
        summary = [f"{count} {name}" for name, count in counts.items() if count or name == "done"]
        if left is not None:
            summary.append(f"about {duration(left)} left")
        self._screen.draw([" · ".join(summary), *(running_line(each.job, each.began) for each in self._running)])
