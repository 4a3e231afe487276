"""One training in Slurm's queue, as its nodes find it: what to run, and what they leave for each other in its folder.

Knows neither Hydra nor PyTorch: a job that is only to be put back into the queue must not wait for them.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recipe
from recipe.files import write_atomically

TASKS = "tasks.json"  # of all trainings of an array, in its folder
OUTCOME = "outcome.json"
CODE = Path(recipe.__file__).resolve().parents[1]
CHECKPOINT = Path("checkpoints") / "last.pt"  # as recipe.network.kept_files names it, in packages that know more


@dataclass(frozen=True)
class QueuedTraining:
    """A training, and what its nodes know of it. `own`: its folder."""

    own: Path
    nodes: int
    requeues: int
    command: str  # names the sweep, see recipe/machine/restarts.py
    folders: list[Path]  # of its runs, which follow each other
    commands: list[list[str]]  # of these; with HEAD, PORT and NODE for what is known on a node alone

    @classmethod
    def read(cls, array: Path, number: int) -> "QueuedTraining":
        """The one of this number."""
        return cls.read_array(array)[number]

    @classmethod
    def read_array(cls, array: Path) -> list["QueuedTraining"]:
        """All of an array, by its folder."""
        about = json.loads((array / TASKS).read_text(encoding="utf-8"))
        return [
            cls(
                array / str(number),
                about["nodes"],
                about["requeues"],
                about["command"],
                [Path(folder) for folder in task["folders"]],
                task["commands"],
            )
            for number, task in enumerate(about["tasks"])
        ]

    def saved(self) -> list[int | str]:
        """What its runs have on the disk: another value after each save."""
        found: list[int | str] = []
        for folder in self.folders:
            if (folder / "result.json").exists():
                found.append("finished")
                continue
            with suppress(OSError):
                found.append((folder / CHECKPOINT).stat().st_mtime_ns)
        return found

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Put a file into its folder, whole or not at all."""
        self.own.mkdir(parents=True, exist_ok=True)
        write_atomically(self.own / name, json.dumps(content, ensure_ascii=False))

    def read_all(self, begins: str) -> list[dict[str, Any]]:
        """The files of its folder whose names begin so."""
        with suppress(FileNotFoundError):  # a listing, since some network file systems remember what was not there
            names = sorted(name for name in os.listdir(self.own) if name.startswith(begins))
            return [json.loads((self.own / name).read_text(encoding="utf-8")) for name in names]
        return []


def attempt() -> int:
    """How often Slurm has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def begun(node: int | str = "") -> str:
    """The name of the file that says that a node's part of this attempt has begun; without a node, its beginning."""
    return f"attempt{attempt()}.begun.{node}"


def ended(node: int | str = "") -> str:
    """The same of its end."""
    return f"attempt{attempt()}.ended.{node}"


def node_program(module: str, python: str, *arguments: str) -> list[str]:
    """The command that calls a module's `main`, wherever the code lies, whatever lies in the current folder."""
    program = f"import sys; sys.path.insert(0, {str(CODE)!r}); from {module} import main; main()"
    return [python, "-P", "-c", program, *arguments]
