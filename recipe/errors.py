"""The errors that a user can cause. Each carries one short message: what, where, and what would be right."""

import os
import sys
import time
from pathlib import Path
from typing import NoReturn


class UserError(Exception):
    """Something the user can put right. `train.py` prints its message once and exits with its code."""

    on_every_rank = True
    code = 2


def rank_local(error: UserError) -> UserError:
    """Mark an error that not every process of the run meets: the one that does must print it."""
    error.on_every_rank = False
    return error


class ConfigError(UserError):
    """A wrong key, value or combination of values."""


class DataError(UserError):
    """A missing or unreadable file or folder; the message names it."""


class RunError(UserError):
    """A run folder that does not fit this run, or a run that cannot go on."""


def unreadable(path: Path, error: Exception) -> RunError:
    """A file of a run folder that is missing or broken."""
    reason = " ".join((getattr(error, "strerror", None) or str(error)).split())[:100]
    return RunError(f"cannot read {path} ({reason}): training with resume=never sets this run aside and begins anew")


def check_here() -> None:
    """Raise RunError where the current folder is gone: nothing can be named relative to it."""
    try:
        os.getcwd()
    except OSError as error:
        gone = f", {os.environ['PWD']}," if "PWD" in os.environ else ""
        raise RunError(f"the current folder{gone} is not there any more: cd to one that is") from error


def fail(message: str, on_every_rank: bool = True, code: int = 2) -> NoReturn:
    """Say what is wrong, once for all processes of a run, and end this one."""
    rank = int(os.environ.get("RANK", "0"))
    if rank == 0 or not on_every_rank:
        where = f" (rank {rank})" if rank else ""
        print(f"Error{where}: {message}", file=sys.stderr, flush=True)
    else:
        time.sleep(10)  # torchrun ends all ranks when one exits: leave rank 0 the time to say why
    sys.exit(code)
