"""Where the runs of a sweep stand, by what lies in their folders, the sweep's own record and Slurm's queue.

From any terminal or machine that sees the folders. Reads JSON alone, and neither YAML nor PyTorch.
"""

import os
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recipe.errors import RunError
from recipe.files import LOCK, is_locked, read_json
from recipe.ladder.reading.collect import find
from recipe.sweep import queued, record
from recipe.sweep.jobs import last_lines, last_rows

STATES = ("finished", "running", "queued", "waiting", "stopped", "failed")
FRESH_SECONDS = 90.0  # since a run of another machine has written something: where the disk has no locks, it runs


@dataclass
class RunStatus:
    """One run. What is not known is None."""

    folder: str
    title: str
    state: str  # of STATES
    epoch: int | None = None  # that it is in, from 1
    epochs: int | None = None
    images_per_second: float | None = None
    accuracy: float | None = None  # top-1 in percent, of the weights that count
    seconds_left: float | None = None
    host: str | None = None
    pid: int | None = None
    devices: str | None = None
    slurm_job: str | None = None
    slurm_state: str | None = None
    why: str | None = None  # of a failed one: how it ended, and the last line that it printed


@dataclass
class Status:
    """A sweep, or several."""

    runs: list[RunStatus]
    launchers: list[dict[str, Any]] = field(default_factory=list)  # that live: host, pid, started, command
    notices: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Runs by state."""
        return {state: sum(run.state == state for run in self.runs) for state in STATES}

    @property
    def goes_on(self) -> bool:
        """Whether anything is at work, or will be without being asked again."""
        return bool(self.launchers) or any(run.state in ("running", "queued") for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """All of it in plain values."""
        runs = [asdict(run) for run in self.runs]
        return {"counts": self.counts, "launchers": self.launchers, "notices": self.notices, "runs": runs}


def status(roots: Iterable[Path]) -> Status:
    """How the runs at and below some folders stand. Raises RunError where there are none and none are planned."""
    roots = list(roots)
    for root in roots:
        if not root.is_dir():
            raise RunError(f"{root} is no folder: name a sweep's, as in: recipe status multirun_outputs")
    found = Status([])
    folders = {os.path.realpath(folder): folder for root in roots for folder in find(root)}
    planned: dict[str, tuple[Mapping[str, Any], bool]] = {}  # by folder: what a record says of it, and whether it lives
    for started in (each for sweep in _sweeps(roots) for each in record.read(sweep)):
        lives = started.lives
        if lives:
            found.launchers.append({key: started.about.get(key) for key in ("host", "pid", "started", "command")})
        for folder, about in started.runs.items():
            if lives or folder not in planned or not planned[folder][1]:
                planned[folder] = about, lives
    jobs = queued.jobs(_sweeps(roots))
    states = queued.states(jobs, found.notices)
    for folder in sorted({*folders, *planned}):
        about, lives = planned.get(folder, ({}, False))
        path = folders.get(folder, Path(folder))
        found.runs.append(_run(path, about, lives, jobs.get(folder), states))
    if not found.runs:
        raise RunError(f"no runs in {', '.join(map(str, roots))}, and no sweep has left a list of them there")
    return found


def _sweeps(roots: Iterable[Path]) -> list[Path]:
    """The folders that may hold a sweep's record: those named and what is directly in them, or a run's own sweep."""
    near = {folder for root in roots for folder in (root, *root.parents[:2], *(path for path in root.iterdir()))}
    return sorted(folder for folder in near if (folder / record.FOLDER).is_dir() or (folder / queued.FOLDER).is_dir())


def _run(
    folder: Path,
    about: Mapping[str, Any],
    lives: bool,
    job: Mapping[str, Any] | None,
    states: Mapping[str, tuple[str, str]] | None,
) -> RunStatus:
    environment = _json(folder / "environment.json")
    found = RunStatus(str(folder), str(about.get("title") or _title(folder, environment)), "stopped")
    found.epochs = about.get("epochs") or environment.get("config", {}).get("epochs")
    if job is not None:
        found.slurm_job = job["job_id"]
        found.slurm_state, nodes = (states or {}).get(job["job_id"], (None, ""))
        found.host = nodes or None
    result = _json(folder / "result.json")
    if "acc1" in result:
        found.state, found.accuracy, found.host = "finished", result["acc1"], None
        return found
    holder = _holder(folder)
    if is_locked(folder / LOCK) or _seems_to_run(folder, holder):
        found.state = "running"
        found.host, found.pid = found.host or holder[0], holder[1]
    elif found.slurm_state is not None:
        found.state = "running" if found.slurm_state in queued.RUNNING else "queued"
    elif job is not None and states is None and queued.may_be_queued(job):
        found.state = "queued"
    elif lives and about.get("state") in (None, "running"):
        found.state = "waiting" if about.get("state") is None else "running"  # before it has locked its folder
        found.pid = about.get("pid")
    else:
        _ended(folder, about, job, found)
    if folder.is_dir():
        _progress(folder, environment, about, found)
    return found


def _ended(folder: Path, about: Mapping[str, Any], job: Mapping[str, Any] | None, found: RunStatus) -> None:
    """Tell a failed run from one that was stopped, or never begun."""
    lines = last_lines(folder, 20)
    why = about.get("why") if about.get("state") == "failed" else queued.why_failed(job) if job is not None else None
    error = next((line for line in reversed(lines) if re.match(r"Error\b|\w*(Error|Exception)\b.*:", line)), None)
    if why == "stopped" or (why is None and (error is None or lines[-1].startswith("Stopped"))):
        return
    last = error or (lines[-1] if lines else None)
    found.state, found.why = "failed", ": ".join(text for text in (why, last) if text)


def _progress(folder: Path, environment: Mapping[str, Any], about: Mapping[str, Any], found: RunStatus) -> None:
    """The epoch, the speed, the accuracy, and of a running one the time that is left."""
    figures: dict[str, float] = {}
    for row in last_rows(folder / "metrics.jsonl"):
        figures.update({name: value for name, value in row.items() if value is not None})
    start = (environment.get("starts") or [{}])[-1]
    if found.state == "running":
        found.devices = _devices(start, about)
    if not figures:
        return
    found.epoch = int(figures["epoch"]) + 1
    found.accuracy = figures.get("ema/acc1", figures.get("val/acc1"))
    if found.state == "running":
        found.images_per_second = figures.get("train/images_per_second")
        found.seconds_left = _seconds_left(environment, figures, found)


def _seconds_left(environment: Mapping[str, Any], figures: Mapping[str, float], found: RunStatus) -> float | None:
    """What is left to train at the newest speed, and to evaluate as if its images were trained on."""
    config, images = environment.get("config", {}), environment.get("images") or {}
    speed, size = found.images_per_second, config.get("batch_size")
    if not speed or not size or not found.epochs or not images.get("train"):
        return None
    steps = max(1, images["train"] // size)  # of an epoch
    whole = min(found.epochs * steps, config.get("max_steps") or found.epochs * steps)
    to_train = max(0.0, whole - figures["step"]) * size
    every = config.get("evaluate.every") or 1
    evaluations = max(1, -(-found.epochs // every) - int(figures["epoch"]) // every)
    return float((to_train + evaluations * images.get("val", 0)) / speed)


def _devices(start: Mapping[str, Any], about: Mapping[str, Any]) -> str | None:
    """GPUs by their numbers, or the kind of device and how many processes."""
    visible = about.get("devices") or (start.get("gpus") or "").split(",")
    named = [str(name) for name in visible if name]
    if named:
        return f"GPU {','.join(named)}"
    if not start:
        return None
    processes, device = start.get("world_size", 1), str(start.get("gpu") or start.get("device"))
    return device if processes == 1 else f"{processes} x {device}"


def _holder(folder: Path) -> tuple[str | None, int | None]:
    """Host and process that hold, or held last, a run's folder."""
    try:
        found = re.match(r"process (\d+) on (\S+)", (folder / LOCK).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None, None
    return (found[2], int(found[1])) if found else (None, None)


def _seems_to_run(folder: Path, holder: tuple[str | None, int | None]) -> bool:
    """Of another machine, whose locks cannot be seen on every disk: whether it has just written something."""
    if holder[0] in (None, socket.gethostname()) or is_locked(folder / LOCK):
        return False
    ages = [
        time.time() - path.stat().st_mtime
        for name in ("metrics.jsonl", "train.log")
        if (path := folder / name).exists()
    ]
    lines = last_lines(folder, 1)
    stopped = bool(lines) and lines[0].startswith(("Stopped", "Error"))
    return bool(ages) and min(ages) < FRESH_SECONDS and not stopped


def _title(folder: Path, environment: Mapping[str, Any]) -> str:
    name = str(environment.get("name") or folder.parent.name)
    return f"{name} {folder.name}"


def _json(path: Path) -> dict[str, Any]:
    """A file's object; empty where there is none, or none that can be read."""
    try:
        return read_json(path)
    except RunError:
        return {}
