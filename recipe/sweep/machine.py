"""How this machine is shared between the jobs of a sweep."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from recipe.errors import ConfigError

MEMORY_PER_PROCESS = 1.5  # GiB, workers included: what a process of the demo takes, and some to spare


@dataclass(frozen=True)
class Share:
    """What one job at a time has to itself."""

    gpus: tuple[str, ...]  # as CUDA_VISIBLE_DEVICES names them; () on CPUs
    cores: frozenset[int]

    def environment(self, processes: int) -> dict[str, str]:
        """The variables that a job's processes are started with."""
        threads = 1 if self.gpus else max(1, len(self.cores) // processes)
        variables = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}
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
        at_once: jobs at a time at most; None: as many as there are GPUs for, or on CPUs, cores and memory.
        trainings: of the whole sweep. More shares than that are never made, and no fewer when some have finished: a job
            that goes on must have the cores that it began with.
        gpus: what there is.

    Raises ConfigError where the devices are not there.
    """
    if devices is not None and not set(devices) <= set(range(len(gpus))):
        raise ConfigError(f"hydra.launcher.devices={devices}: this machine has {len(gpus)} GPU(s), counted from 0")
    chosen = gpus if devices is None else [gpus[number] for number in devices]
    if chosen and per_job > len(chosen):
        raise ConfigError(f"hydra.launcher.per_job={per_job}, but there are {len(chosen)} GPU(s) to use")
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    fitting = len(chosen) // per_job if chosen else min(len(cores), int(_memory_gib() / MEMORY_PER_PROCESS)) // per_job
    count = max(1, min(fitting, trainings, at_once or fitting))
    each = max(1, len(cores) // count)
    return [
        Share(
            gpus=tuple(chosen[number * per_job : (number + 1) * per_job]),
            cores=frozenset(cores[number * each : (number + 1) * each] or cores),
        )
        for number in range(count)
    ]


def describe(given: Sequence[Share], processes: int) -> str:
    """The shares in words."""
    jobs = "1 job at a time" if len(given) == 1 else f"{len(given)} jobs side by side"
    gpus, cores = len(given[0].gpus), len(given[0].cores)
    what = f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else f"{cores} CPU core{'s' * (cores > 1)}"
    return f"{jobs}, each with {what} and {processes} process{'es' * (processes > 1)}"


def visible_gpus() -> list[str]:
    """The GPUs as CUDA_VISIBLE_DEVICES names them. Imports PyTorch."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
