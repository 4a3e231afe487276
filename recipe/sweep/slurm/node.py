"""What a job does on each of its nodes: its runs, one after another, each by torchrun or alone.

Slurm sends its signals to all processes of a step: the runs have theirs from Slurm itself, and this process outlives
them, to leave a word on how they ended.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from recipe.files import CONSOLE
from recipe.machine.restarts import COMMAND
from recipe.machine.signals import ASKS_TO_STOP, STOPPED, end_with_parent
from recipe.output import opened
from recipe.sweep.slurm.task import QueuedTraining, begun, ended

TAIL = 65_536  # bytes at the end of what a run printed that are looked at
# What is said of a process that was killed: by torchrun, by the ranks that miss it, by the rank that misses a worker.
KILLED = re.compile(
    r"Signal (?!15\b)\d+ \(SIG\w+\) received by PID|another process of this run has ended|that loads data has died"
    r"|has had no sign of life from"
)


def main() -> None:
    """Run what is left of a task. Arguments: the array's folder, the task's number, the address and port to meet at."""
    folder, number, head, port = sys.argv[1:5]
    task, node = QueuedTraining.read(Path(folder), int(number)), int(os.environ.get("SLURM_PROCID", "0"))
    heard: list[int] = []

    def note(signal_number: int, _: FrameType | None) -> None:
        heard.append(signal_number)

    for each in ASKS_TO_STOP:
        signal.signal(each, note)
    task.write(begun(node), {"node": os.environ.get("SLURMD_NODENAME", ""), "pid": os.getpid()})
    known = {"HEAD": head, "PORT": port, "NODE": str(node)}
    code, run, printed = 0, task.folders[0], ""
    for run, template in zip(task.folders, task.commands, strict=True):
        if heard or code:
            break
        code, printed = _run(run, [filled(argument, known) for argument in template], node, task.command)
    task.write(ended(node), {"folder": str(run), **_end(code, printed, bool(heard))})


def filled(argument: str, known: dict[str, str]) -> str:
    """A command's argument with what is known on the node."""
    for name, value in known.items():
        argument = argument.replace(f"{{{name}}}", value)
    return argument


def _run(folder: Path, command: list[str], node: int, sweep: str) -> tuple[int, str]:
    """Run to the end. Returns the exit code and the last of what was printed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (CONSOLE if node == 0 else f"console.node{node}.log")
    first = path.stat().st_size if path.exists() else 0
    with opened(path, "a") as console:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**os.environ, COMMAND: sweep, "PYTHONIOENCODING": "utf-8"},
            preexec_fn=end_with_parent,
        )
        process.wait()
    with path.open("rb") as file:
        file.seek(max(first, path.stat().st_size - TAIL))
        return process.returncode, file.read().decode("utf-8", errors="replace")


def _end(code: int, printed: str, heard: bool) -> dict[str, Any]:
    killed = code < 0 or KILLED.search(printed) is not None
    return {"code": code, "stopped": heard or code == STOPPED, "killed": killed, "last": last_line(code, printed)}


def last_line(code: int, printed: str) -> str:
    """The one line that says how a run ended: torchrun's word on a killed process, its error, or the last."""
    lines = [line.strip() for line in printed.splitlines() if re.search(r"\w", line)]
    for pattern in (r"traceback *: (?=Signal (?!15\b))", r"Error( \(rank \d+\))?: "):
        for line in reversed(lines):
            if found := re.match(pattern, line):
                return line[found.end() :]
    if code < 0:
        return f"killed by signal {-code}"
    return lines[-1] if lines else f"exit code {code}"
