"""Whether a run was begun by the very command that now meets its folder: started again by torchrun, by a sweep, or by
Slurm, which put the job back into its queue.

`resume=never` does not resume what was there before the command; what the command itself has begun goes on.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recipe.errors import RunError
from recipe.files import read_json

COMMAND = "RECIPE_COMMAND"  # set by a sweep for its jobs: the command that they belong to


def identity(command: str) -> dict[str, Any]:
    """What a run's folder keeps of the command that starts it.

    Args:
        command: its name, see rendezvous.py.
    """
    job = os.environ.get("SLURM_JOB_ID")
    return {"command": command, "slurm_job": job, "slurm_restarts": _slurm_restarts() if job else None}


def begun_by_this_command(folder: Path, command: str | None) -> bool:
    """Whether the folder's last start was this command's, before a restart. `command`: its name, if it has one."""
    path = folder / "environment.json"
    try:
        before: Mapping[str, Any] = dict(read_json(path)["starts"][-1]["by"])
    except (RunError, LookupError, TypeError):  # none, or of an older version
        return False
    if command and before.get("command") == command:
        return True
    job, restarts = before.get("slurm_job"), before.get("slurm_restarts")
    if job is None or job != os.environ.get("SLURM_JOB_ID"):
        return False
    return int(restarts or 0) < _slurm_restarts()


def _slurm_restarts() -> int:
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return int(count) if count.isdigit() else 0
