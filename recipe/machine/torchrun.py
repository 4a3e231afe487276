"""How this process was started: by torchrun, by a scheduler that numbers its processes itself, or alone."""

import os

from recipe.errors import ConfigError

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
NUMBERS = VARIABLES[:4]
NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # to find the other processes


def by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def refuse_sweep() -> None:
    """A sweep under torchrun would be one sweep for each of its processes. Raises ConfigError."""
    if by_torchrun():
        raise ConfigError("a sweep starts its own processes: python train.py -m … instead of torchrun train.py -m …")


def check_environment(of_a_run: bool = True) -> None:
    """Let RANK and its kind count only where they are whole: schedulers set some of them for purposes of their own.

    Args:
        of_a_run: other commands go on alone where a run would look for processes that it cannot find.

    Raises ConfigError where they say that this is one of several processes and not how to find the others.
    """
    if by_torchrun():
        return
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if all(name in given for name in NEEDED):
        wrong = [f"{name}={given[name]}" for name in NUMBERS if not given.get(name, "0").isdecimal()]
        if not wrong and int(given["RANK"]) >= int(given["WORLD_SIZE"]):
            wrong = [f"RANK={given['RANK']}", f"WORLD_SIZE={given['WORLD_SIZE']}"]
        if wrong:
            told = " ".join(wrong)
            forget()  # none of these processes is known to be the first: each says it
            raise ConfigError(f"the environment has {told}: ranks count from 0 to WORLD_SIZE - 1. {_way_out(given)}")
        return
    count = given.get("WORLD_SIZE", "1")
    if of_a_run and count.isdecimal() and int(count) > 1:
        missing = ", ".join(name for name in NEEDED if name not in given)
        forget()
        raise ConfigError(
            f"the environment has WORLD_SIZE={count}, as for one of {count} processes, but not {missing}, to find the "
            f"others by. {_way_out(given)}"
        )
    forget()


def forget() -> None:
    """Let nothing that this process starts take itself for one of several that a scheduler has started."""
    if not by_torchrun():
        for name in VARIABLES:
            os.environ.pop(name, None)


def _way_out(given: dict[str, str]) -> str:
    return (
        "Start several processes with torchrun --nproc_per_node=N train.py …, or one with "
        f"env -u {' -u '.join(given)} python train.py …"
    )
