"""What a job does on its first node beside training: it starts its parts on all nodes, waits for them, and decides.

Stopped by a signal (preemption, the time limit) or with a process lost, it puts itself back into the queue, unless
Slurm has decided already (requeued, cancelled). It fails by an error of its own, or where several starts in a row have
not saved a step.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from recipe.errors import RunError
from recipe.machine.signals import ASKS_TO_STOP
from recipe.sweep.slurm import queue
from recipe.sweep.slurm.task import OUTCOME, QueuedTraining, attempt, begun, ended, node_program

STARTS = "starts.json"
POLL_SECONDS = 0.5  # between two looks into the task's folder
OTHERS_SECONDS = 90.0  # that the other nodes have once one has ended: torchrun's own wait, and a network file system's
WORDS_SECONDS = 30.0  # until a network file system shows what the nodes have written, once srun has ended
ASKING_SECONDS = 60.0  # in which a controller that does not answer is asked again


def main() -> None:
    """Run a task to its end, or to its next place in the queue. Argument: the array's folder."""
    for each in ASKS_TO_STOP:
        signal.signal(each, lambda *_: None)  # its parts have them too; without an answer it would end before them
    task = QueuedTraining.read(Path(sys.argv[1]), int(os.environ["SLURM_ARRAY_TASK_ID"]))
    fruitless = _starts_without_a_save(task)
    _say(f"start {attempt() + 1} on {os.environ.get('SLURM_JOB_NODELIST', '?')}")
    if fruitless > task.requeues:
        _finish(task, "failed", f"{_last_words(task)} ({fruitless} starts in a row have not saved a step)")
    saved = task.saved()
    ends = _run_on_all_nodes(task)
    if len(ends) == task.nodes and not any(end["code"] or end["stopped"] for end in ends):
        _finish(task, "finished", "")
    why = _why(task, ends)
    if len(ends) == task.nodes and not any(end["stopped"] or end["killed"] for end in ends):
        _finish(task, "failed", why)
    if _state() not in ("RUNNING", None):
        _finish(task, "left to Slurm", why)
    if task.saved() == saved and fruitless >= task.requeues:
        _finish(task, "failed", f"{why} ({fruitless + 1} starts in a row have not saved a step)")
    try:
        task.write(OUTCOME, {"state": "requeued", "why": why})
        queue.told(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]])
        _say(f"back in the queue: {why}")
    except RunError as error:
        _finish(task, "failed", f"{why}; {error}")


def _starts_without_a_save(task: QueuedTraining) -> int:
    """How many starts before this one have saved nothing, since the last that did."""
    before: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        before = json.loads((task.own / STARTS).read_text(encoding="utf-8"))
    same = before and before["saved"] == task.saved()
    fruitless = before["fruitless"] + 1 if same else 0
    task.write(STARTS, {"saved": task.saved(), "fruitless": fruitless})
    return int(fruitless)


def _run_on_all_nodes(task: QueuedTraining) -> list[dict[str, Any]]:
    """Returns how its parts have ended; less than one a node where some have left no word."""
    srun = _start_step(task)
    until = float("inf")
    while True:
        ends, over = task.read_all(ended()), srun.poll() is not None
        if len(ends) == task.nodes or time.monotonic() > until:
            break
        if over or ends:
            until = min(until, time.monotonic() + (WORDS_SECONDS if over else OTHERS_SECONDS))
        time.sleep(POLL_SECONDS)
    if not ends and not task.read_all(begun()):
        _finish(task, *_not_begun(task, srun.returncode))
    with suppress(subprocess.TimeoutExpired):
        srun.wait(WORDS_SECONDS)
    return ends


def _start_step(task: QueuedTraining) -> "subprocess.Popen[bytes]":
    """Start its parts, by srun: as a step of Slurm's they get the signals of preemption, which spare the script."""
    cores = os.environ.get("SLURM_CPUS_PER_TASK")  # which srun, since 22.05, does not take from sbatch
    task.own.mkdir(parents=True, exist_ok=True)
    program = node_program("recipe.sweep.slurm.node", sys.executable, sys.argv[1], task.own.name, _head(), _free_port())
    options = (
        *(f"--nodes={task.nodes}", f"--ntasks={task.nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"),
        *("--mpi=none", "--input=none", "--open-mode=append", "--quiet"),
        f"--output={str(task.own).replace('%', '%%')}/node.%t.log",
        *([f"--cpus-per-task={cores}"] if cores else []),
        *(["--cpu-bind=none"] if _binds() else []),  # torchrun's processes share the node's cores
    )
    return subprocess.Popen(["srun", *options, *program], stdin=subprocess.DEVNULL)


def _not_begun(task: QueuedTraining, code: int | None) -> tuple[str, str]:
    if _state() not in ("RUNNING", None):
        return "left to Slurm", "stopped before it began"
    printed = "".join(path.read_text(errors="replace") for path in sorted(task.own.glob("node.*.log")))
    last = [line for line in printed.splitlines() if line.strip()][-1:]
    return "failed", ": ".join([f"srun ended with exit code {code} before the runs began", *last])


def _head() -> str:
    """The first node's name, or its address where the name is not known to the network."""
    name = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    with suppress(OSError):
        socket.getaddrinfo(name, None)
        return name
    with suppress(RunError):
        for word in queue.told(["scontrol", "show", "node", "--oneliner", name]).split():
            if word.startswith("NodeAddr="):
                return word.partition("=")[2]
    return name


def _binds() -> bool:
    """Whether the cluster binds steps to cores; elsewhere srun complains of the option."""
    with suppress(RunError):
        return "affinity" in queue.setting("TaskPlugin")
    return False


def _free_port() -> str:
    """One of this node that nobody uses now."""
    with socket.create_server(("", 0)) as server:
        return str(server.getsockname()[1])


def _state() -> str | None:
    """What Slurm has made of this job: RUNNING unless it has decided something. None where it does not answer."""
    until = time.monotonic() + ASKING_SECONDS
    while True:
        try:
            return queue.state(os.environ["SLURM_JOB_ID"])
        except RunError as error:
            if time.monotonic() > until:
                return None
            _say(str(error))
            time.sleep(5)


def _why(task: QueuedTraining, ends: list[dict[str, Any]]) -> str:
    """One line for how it ended."""
    for end in ends:
        if end["stopped"]:
            return "stopped by a signal"
    bad = [end for end in ends if end["code"]]
    if len(ends) < task.nodes and not bad:
        return "a node's part ended without a word"
    return str(next((end for end in bad if end["killed"]), bad[0])["last"])


def _last_words(task: QueuedTraining) -> str:
    with suppress(OSError, ValueError, LookupError):
        return str(json.loads((task.own / OUTCOME).read_text(encoding="utf-8"))["why"])
    return "its nodes were lost"


def _finish(task: QueuedTraining, state: str, why: str) -> NoReturn:
    task.write(OUTCOME, {"state": state, "why": why})
    _say(": ".join(filter(None, (state, why))))
    sys.exit(0 if state == "finished" else 1)


def _say(text: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", file=sys.stderr, flush=True)
