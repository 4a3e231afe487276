"""What a training asks of Slurm: the launcher's keys as options of sbatch."""

import re
from typing import Any

from recipe.errors import ConfigError

WARNING = "TERM"  # the signal before the time limit: the one of preemption, which all processes of a step know
SAME_NAME = ("partition", "account", "qos", "constraint", "exclude", "reservation", "mem")  # as sbatch has them
# Slurm's forms of a time limit (sbatch(1)): what stands before and after the days.
TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
ENDLESS = ("unlimited", "infinite", "-1")


def processes_per_node(keys: dict[str, Any]) -> int:
    """Processes of each node: `per_node`, or one for each GPU that is asked for, or without GPUs for each core."""
    if keys["per_node"] is not None:
        return int(keys["per_node"])
    asked = _gpus_asked(keys)
    if asked is None:
        return 8
    return asked or int(keys["cpus_per_task"] or 1)


def options(keys: dict[str, Any]) -> list[str]:
    """Options of sbatch for one training. Raises ConfigError."""
    _check(keys)
    given = {
        "nodes": keys["nodes"],
        "ntasks-per-node": 1,  # torchrun starts the processes of a node
        **_gpus(keys),
        "cpus-per-task": _cpus(keys),
        "time": keys["time"] or keys["timeout_min"],
        **{name: keys[name] for name in SAME_NAME},
        **({"mail-user": keys["mail"], "mail-type": "END,FAIL"} if keys["mail"] else {}),
    }
    told = [f"--{name}={value}" for name, value in given.items() if value is not None]
    if seconds(str(given["time"])) is not None:
        told.append(f"--signal={WARNING}@{keys['warning_seconds']}")
    return [*told, *keys["sbatch"]]


def seconds(time: str) -> int | None:
    """A time limit in Slurm's form, in seconds; None for one without end. Raises ConfigError."""
    if time.lower() in ENDLESS:
        return None
    found = TIME.fullmatch(time)
    if found is None:
        raise ConfigError(f"hydra.launcher.time={time}: must be minutes, hours:minutes:seconds or days-hours:minutes")
    days, *parts = (None if part is None else int(part) for part in found.groups())
    numbers = [part for part in parts if part is not None]
    if days is not None:  # days-hours, days-hours:minutes, days-hours:minutes:seconds
        hours, minutes, rest = [*numbers, 0, 0][:3]
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if len(numbers) == 3:
        return (numbers[0] * 60 + numbers[1]) * 60 + numbers[2]
    return numbers[0] * 60 + (numbers[1] if len(numbers) == 2 else 0)


def _gpus_asked(keys: dict[str, Any]) -> int | None:
    """How many GPUs of a node the keys ask for; None where they do not say."""
    if keys["gres"] is not None:
        kinds = [kind for kind in keys["gres"].split(",") if kind.split(":")[0] == "gpu"]
    elif keys["gpus_per_node"] is not None:
        kinds = keys["gpus_per_node"].split(",")
    else:
        return None
    last = [kind.split(":")[-1] for kind in kinds]
    return sum(int(count) if count.isdecimal() else 1 for count in last)


def _gpus(keys: dict[str, Any]) -> dict[str, Any]:
    if keys["gres"] is not None:
        return {"gres": keys["gres"]}
    if _gpus_asked(keys) == 0:
        return {}  # a cluster without GPUs refuses to be asked for none
    return {"gpus-per-node": keys["gpus_per_node"] or processes_per_node(keys)}


def _cpus(keys: dict[str, Any]) -> int | None:
    if keys["cpus_per_task"] is not None:
        return int(keys["cpus_per_task"])
    processes = processes_per_node(keys)
    if keys["cpus_per_gpu"] is not None:
        return int(keys["cpus_per_gpu"]) * processes
    return processes if _gpus_asked(keys) == 0 else None


def _check(keys: dict[str, Any]) -> None:
    if keys["cluster"] != "slurm":
        raise ConfigError(
            f"hydra.launcher.cluster={keys['cluster']}: there is slurm alone. On this machine a sweep runs with "
            "hydra/launcher=torchrun, the default"
        )
    if keys["gpus_per_node"] is not None and keys["gres"] is not None:
        raise ConfigError("hydra.launcher.gpus_per_node and hydra.launcher.gres ask for the same: leave one out")
    if keys["nodes"] < 1 or processes_per_node(keys) < 1 or keys["at_once"] < 1 or keys["requeues"] < 0:
        raise ConfigError(
            "hydra.launcher.nodes, per_node and at_once must be at least 1, hydra.launcher.requeues at least 0"
        )
    limit = seconds(str(keys["time"] or keys["timeout_min"]))
    if limit is not None and limit <= keys["warning_seconds"]:
        raise ConfigError(
            f"a time limit of {limit} s, and hydra.launcher.warning_seconds={keys['warning_seconds']} before it: the "
            "job would be stopped as it begins"
        )
