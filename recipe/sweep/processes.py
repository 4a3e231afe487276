"""A job's processes: started, killed. Where the sweep itself is killed, they are asked to stop, and save."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from recipe.files import CONSOLE
from recipe.machine.signals import end_with_parent
from recipe.output import opened
from recipe.sweep.jobs import Job
from recipe.sweep.machine import Share

OF_THE_USER = ("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "PET_SHUTDOWN_TIMEOUT")  # by which the environment says it
SECONDS_TO_SAVE = 600  # from a signal until torchrun kills; its own are 30, which a large model's save may take


def command(processes: int, overrides: Sequence[str], rendezvous: Sequence[str] = ("--standalone",)) -> list[str]:
    """The command line of one job: train.py, or with several processes torchrun train.py.

    Args:
        overrides: all that follows train.py.
        rendezvous: torchrun's options that say where its processes meet.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    script = ["-m", spec.name] if spec is not None else [os.path.abspath(sys.argv[0])]
    torchrun = ["-m", "torch.distributed.run", *rendezvous, f"--nproc_per_node={processes}", *_shutdown_timeout()]
    alone = processes == 1 and list(rendezvous) == ["--standalone"]
    return [sys.executable, *([] if alone else torchrun), *script, *overrides]


def _shutdown_timeout() -> list[str]:
    """torchrun's option for how long its processes may take to save, where the installed one has it.

    Its file is read, not imported: the launcher does without PyTorch.
    """
    found = find_spec("torch")
    if found is None or found.origin is None or set(OF_THE_USER) & set(os.environ):
        return []
    with suppress(OSError):
        if "--shutdown-timeout" in (Path(found.origin).parent / "distributed" / "run.py").read_text(encoding="utf-8"):
            return [f"--shutdown-timeout={SECONDS_TO_SAVE}"]
    return []


def start(job: Job, arguments: list[str], share: Share, processes: int) -> "subprocess.Popen[bytes]":
    """Start a job in a session of its own, so that Ctrl-C reaches the sweep alone; its console goes to its folder."""
    job.folder.mkdir(parents=True, exist_ok=True)

    def before_it_begins() -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, share.cores)
        end_with_parent()

    environment = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}  # set by ours
    with opened(job.folder / CONSOLE, "a") as console:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env={**environment, **share.environment(processes), "PYTHONIOENCODING": "utf-8"},
            start_new_session=True,
            preexec_fn=before_it_begins,
        )


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a job at once, with all of its processes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
