"""What a sweep leaves in its folder for whoever asks how it stands: SWEEP/.sweep/ID.json, a file for each start.

It says who has started the sweep (host, pid, command line, since when) and which runs it is to do, each with its title,
its folder and, of those that were begun, what became of them. As long as the command lives, it holds ID.lock.
"""

import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from recipe.errors import RunError
from recipe.files import is_locked, lock, read_json, write_atomically
from recipe.sweep.jobs import Job

FOLDER = ".sweep"  # of a sweep's folder


class SweepRecord:
    """The file of this start. That it cannot be written harms no sweep."""

    def __init__(self, sweep: Path) -> None:
        """Prepare; nothing is written yet. `sweep`: the sweep's folder."""
        self._folder = sweep / FOLDER
        self._id = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        self._held: TextIO | None = None
        self._jobs: dict[str, dict[str, Any]] = {}  # by folder
        self._about = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": [sys.argv[0], *sys.argv[1:]],
            "cwd": os.getcwd(),
        }

    def add(self, jobs: Sequence[Job], launcher: str) -> None:
        """Note what is to be done. Older files that say nothing more are removed."""
        new = [job for job in jobs if str(job.folder) not in self._jobs]
        for job in new:
            config = job.plan.config
            self._jobs[str(job.folder)] = {"title": job.title, "epochs": config.epochs, "max_steps": config.max_steps}
        if not new or all(job.result() is not None for job in jobs):
            return
        self._about["launcher"] = launcher
        with suppress(OSError, RunError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._held = self._held or lock(self._folder / f"{self._id}.lock")
            for earlier in read(self._folder.parent):
                if not earlier.lives and earlier.runs.keys() <= self._jobs.keys():
                    earlier.path.unlink(missing_ok=True)
                    earlier.path.with_suffix(".lock").unlink(missing_ok=True)
        self._write()

    def note(self, job: Job, **what: Any) -> None:
        """Note what has become of a job: its `state` ("running", "finished", "failed"), and what else is known."""
        about = self._jobs.setdefault(str(job.folder), {"title": job.title})
        for name in ("pid", "devices", "why"):
            about.pop(name, None)
        about.update(what, at=time.time())
        self._write()

    def _write(self) -> None:
        runs = [{"folder": folder, **about} for folder, about in self._jobs.items()]
        with suppress(OSError):
            write_atomically(self._folder / f"{self._id}.json", json.dumps({**self._about, "runs": runs}, indent=1))


@dataclass(frozen=True)
class Started:
    """What one of these files says."""

    path: Path
    about: Mapping[str, Any]
    runs: Mapping[str, Mapping[str, Any]]  # by the real path of the run's folder

    @property
    def lives(self) -> bool:
        """Whether the command that started the sweep is at work. (Of another machine: where the disk has locks.)"""
        if is_locked(self.path.with_suffix(".lock")):
            return True
        return self.about.get("host") == socket.gethostname() and _is_that_command(self.about)


def read(sweep: Path) -> Iterator[Started]:
    """All starts of a sweep that are known, the oldest first. Files that cannot be read are left out."""
    for path in sorted((sweep / FOLDER).glob("*.json")):
        with suppress(RunError, TypeError, KeyError, AttributeError):
            about = read_json(path, "host", "pid", "started", "runs")
            runs = {os.path.realpath(run["folder"]): run for run in about["runs"]}
            yield Started(path, about, runs)


def _is_that_command(about: Mapping[str, Any]) -> bool:
    """Whether the process of that number is still the one that was started so."""
    try:
        words = Path(f"/proc/{int(about['pid'])}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return False
    return set(about.get("command", ())[1:]) <= set(words)
