"""The jobs of a sweep: what each trains, what it has come to so far, and which of them are one training.

Nothing here imports PyTorch: a sweep that has finished need not wait for it.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recipe import stored_config
from recipe.errors import ConfigError, RunError
from recipe.files import CONSOLE, LOCK, is_locked, read_json
from recipe.ingredients.resizing import pixels
from recipe.machine.restarts import COMMAND, begun_by_this_command
from recipe.plan import hashes
from recipe.plan.compose import Plan
from recipe.schema import leaves

# What makes other runs of the same hashes: other images, and whether to begin anew.
BESIDE_THE_HASHES = ("data.root", "data.train_dir", "data.val_dir", "data.on_corrupt", "resume")
TAIL = 16_384  # bytes at the end of a log that are read for its last entries


@dataclass(frozen=True, eq=False)
class Job:
    """One run of a sweep."""

    overrides: tuple[str, ...]  # of its own command line
    plan: Plan
    number: int = 0  # of the sweep's
    shared: frozenset[tuple[str, str]] = frozenset()  # differences from the recipe that all jobs of the sweep have

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.plan.folder

    @property
    def setting(self) -> str:
        """The name on the screen, without the seed."""
        own = [f"{key}={value}" for key, value in self.plan.differences.items() if (key, value) not in self.shared]
        return " ".join([self.plan.rung.name, *own])

    @property
    def title(self) -> str:
        """The name on the screen."""
        return f"{self.setting} seed={self.plan.config.seed}"

    @property
    def work(self) -> float:
        """What its training costs, in a unit of which only ratios count."""
        c = self.plan.config
        length = c.epochs if c.max_steps is None else c.max_steps * c.batch_size
        return float(length * pixels(c))

    def result(self) -> dict[str, Any] | None:
        """What it has come to, if it has finished and need not train again.

        None as well for a folder that is broken or another run's: the run itself looks closer, and says what is wrong.
        """
        path = self.folder / "result.json"
        if not path.exists():
            return None
        if self.plan.config.resume == "never" and not begun_by_this_command(self.folder, os.environ.get(COMMAND)):
            return None
        try:
            result = read_json(path)
            of_earlier_versions = "data_root" not in result
            root = stored_config.data_root(self.folder / "config.yaml") if of_earlier_versions else result["data_root"]
        except RunError:
            return None
        hashes = {"training": result.get("training_hash"), "result": result.get("result_hash")}
        same = hashes in (self.plan.hashes, self.plan.former_hashes) and root == self.plan.config.data.root
        return result if same else None

    def is_running(self) -> bool:
        """Whether a process holds its folder: of this sweep, of another one, or of one that was killed."""
        return is_locked(self.folder / LOCK)

    def progress(self) -> tuple[float, dict[str, float]]:
        """The share of its training that is done, and the newest of its figures by name."""
        figures: dict[str, float] = {}
        done, whole = 0.0, False
        for row in last_rows(self.folder / "metrics.jsonl"):
            figures.update({name: value for name, value in row.items() if value is not None})
            whole = "val/acc1" in row
        if figures:
            epochs = figures["epoch"] + (1.0 if whole else 0.5)  # the steps of an epoch are not known here
            done = epochs / self.plan.config.epochs
            if self.plan.config.max_steps is not None:
                done = max(done, figures["step"] / self.plan.config.max_steps)
        return min(1.0, done), figures

    def last_lines(self, count: int = 5) -> list[str]:
        """The last lines that its console showed."""
        return last_lines(self.folder, count)


def with_short_titles(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, called by what tells them apart."""
    shared = frozenset.intersection(*(frozenset(job.plan.differences.items()) for job in jobs))
    return [replace(job, shared=shared) for job in jobs]


def the_same(jobs: Sequence[Job], by_folder: dict[str, Job]) -> list[str]:
    """A line for each job whose run is that of another one.

    Args:
        by_folder: the jobs so far; these are added.

    Raises ConfigError where two runs would share a folder.
    """
    lines = []
    for job in jobs:
        other = by_folder.setdefault(os.path.realpath(job.folder), job)
        if other is job:
            continue
        one, two = _called_apart(other, job)
        if differ := _differences(other.plan, job.plan):
            raise ConfigError(f"two runs would share the folder {job.folder}: {one} and {two}. {_way_out(differ, job)}")
        lines.append(f"{two}: {f'the same run as {one}' if one != two else 'listed twice'}, done once")
    return lines


def _differences(one: Plan, other: Plan) -> list[str]:
    """The keys that make them two runs."""
    counts = set(BESIDE_THE_HASHES)
    if (one.training_hash, one.result_hash) != (other.training_hash, other.result_hash):
        counts |= set(hashes.values_of(one.config, {"weights", "result"}))
    pairs = zip(leaves(one.config), leaves(other.config), strict=True)
    keys = [key for (key, value, _), (_, another, _) in pairs if key in counts and value != another]
    return keys or (["run_name:"] if one.name != other.name else [])


def _called_apart(one: Job, other: Job) -> tuple[str, str]:
    """Each job by the overrides that the other has not."""
    own = ([text for text in a.overrides if text not in b.overrides] for a, b in ((one, other), (other, one)))
    first, second = (" ".join(texts) or job.title for texts, job in zip(own, (one, other), strict=True))
    return first, second


def _way_out(differ: Sequence[str], job: Job) -> str:
    if len(job.folder.parts) > 1 and job.folder.parts[-2:] != (job.plan.name, f"seed={job.plan.config.seed}"):
        return f"Let hydra.sweep.subdir hold {' or '.join(f'${{{key}}}' for key in differ[:3])}"
    if differ[0].startswith("data."):
        return (
            f"{differ[0]} is not part of a run's name: for each data set write conf/data/NAME.yaml (name: imagefolder, "
            "root: …), and sweep over data=NAME,NAME"
        )
    return f"{differ[0]} is not part of a run's name: give it one value in a sweep"


def trainings(jobs: Iterable[Job]) -> list[list[Job]]:
    """The jobs, those that share one training together: the first trains, the others take its weights and evaluate.

    Averaged weights come only from a run that averages them in the same way, so that one trains. Of several that could,
    it is the last, which in a ladder is the rung with everything.
    """
    trained: dict[Any, list[Job]] = {}
    for job in {job.folder: job for job in jobs}.values():
        alone = job.plan.config.resume == "never"
        trained.setdefault(job.folder if alone else job.plan.training_hash, []).append(job)
    groups: list[list[Job]] = []
    for same in trained.values():
        averages = list(dict.fromkeys(_average(job) for job in same if _average(job) is not None)) or [None]
        for number, average in enumerate(averages):
            takers = [job for job in same if _average(job) == average or (number == 0 and _average(job) is None)]
            leader = [job for job in takers if _average(job) == average][-1]
            groups.append([leader, *(job for job in takers if job is not leader)])
    return groups


def _average(job: Job) -> tuple[float, int] | None:
    ema = job.plan.config.ema
    return None if ema.decay is None else (ema.decay, ema.steps)


def last_lines(folder: Path, count: int) -> list[str]:
    """The last lines that the console of a run's job showed; none where it had none of its own."""
    lines = _tail(folder / CONSOLE).decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-count:]


def last_rows(path: Path) -> list[dict[str, Any]]:
    """The last rows of a run's metrics.jsonl."""
    rows = []
    for line in _tail(path).splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # cut at the beginning of the tail, or being written
            continue
        if isinstance(row, dict) and "epoch" in row:
            rows.append(row)
    return rows


def _tail(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            return file.read()
    except OSError:
        return b""
