"""How this machine is shared between the jobs of a sweep, or taken by one run.

`python -m recipe.sweep.machine M` says how many processes a run of M micro-batches a step may have here: `make demo`.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from recipe.errors import ConfigError
from recipe.machine import limits

MEMORY_PER_PROCESS = 1.5  # GiB, workers included: what a process of the demo takes, and some to spare


@dataclass(frozen=True)
class Share:
    """What one job at a time has to itself."""

    gpus: tuple[str, ...]  # as CUDA_VISIBLE_DEVICES names them; () on CPUs
    cores: frozenset[int]
    busy: int | None = None  # cores that may be busy at a time, where a container allows fewer than all of them

    @property
    def count(self) -> int:
        """Cores that a job may keep busy."""
        return self.busy or len(self.cores)

    def environment(self, processes: int) -> dict[str, str]:
        """The variables that a job's processes are started with."""
        threads = 1 if self.gpus else max(1, self.count // processes)
        variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
        if self.busy is not None:
            variables["RECIPE_CORES"] = str(self.busy)
        if self.gpus:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return variables


def shares(
    per_job: int, devices: Sequence[int] | None, at_once: int | None, trainings: int, gpus: Sequence[str]
) -> list[Share]:
    """A share for each job that runs at a time.

    Args:
        per_job: processes of a job, one on each of its GPUs.
        devices: which of the GPUs to use, by their number here; None: all.
        at_once: jobs at a time at most; None: as many as there are memory and GPUs for, or without any, cores.
        trainings: of the whole sweep. More shares than that are never made, and no fewer when some have finished: a job
            that goes on must have the cores that it began with.
        gpus: what there is.

    Raises ConfigError where the devices are not there.
    """
    if devices is not None and not set(devices) <= set(range(len(gpus))):
        raise ConfigError(f"hydra.launcher.devices={devices}: this machine has {len(gpus)} GPU(s), counted from 0")
    chosen = gpus if devices is None else [gpus[number] for number in devices]
    if chosen and per_job > len(chosen):
        raise ConfigError(
            f"hydra.launcher.per_job={per_job}, but there are {len(chosen)} GPU(s) to use: "
            f"at most per_job={len(chosen)}, or runtime.device=cpu"
        )
    cores, allowed = limits.affinity(), limits.cores()
    fitting = min(len(chosen) or allowed, limits.that_fit(MEMORY_PER_PROCESS)) // per_job
    count = max(1, min(fitting, trainings, at_once or fitting))
    each = max(1, len(cores) // count)
    return [
        Share(
            gpus=tuple(chosen[number * per_job : (number + 1) * per_job]),
            cores=frozenset(cores[number * each : (number + 1) * each] or cores),
            busy=max(1, allowed // count) if allowed < len(cores) else None,
        )
        for number in range(count)
    ]


def describe(given: Sequence[Share], processes: int) -> str:
    """The shares in words."""
    jobs = "1 job at a time" if len(given) == 1 else f"{len(given)} jobs side by side"
    gpus, cores = len(given[0].gpus), given[0].count
    what = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else f"{cores} CPU core{'s' * (cores > 1)}"
    return f"{jobs}, each with {what} and {processes} process{'es' * (processes > 1)}"


def visible_gpus() -> list[str]:
    """The GPUs as CUDA_VISIBLE_DEVICES names them; none where RECIPE_DEVICE wants another device. Imports PyTorch."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count() if limits.device("auto") in ("auto", "cuda") and torch.cuda.is_available() else 0
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def most_processes(micro_batches: int, gpus: int) -> int:
    """The most that divide a step's micro-batches and have a GPU each, or without any a core and the memory."""
    room = gpus or min(limits.cores(), limits.that_fit(MEMORY_PER_PROCESS))
    return max(number for number in range(1, micro_batches + 1) if micro_batches % number == 0 and number <= room)


if __name__ == "__main__":
    print(most_processes(int(sys.argv[1]), len(visible_gpus())))
