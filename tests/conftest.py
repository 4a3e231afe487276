"""What several tests use: plans composed as train.py composes them or made by hand, and scripts on several ranks."""

import faulthandler
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra

from recipe import compose
from recipe.checks import check
from recipe.compose import PROJECT, Plan
from recipe.config import Config
from recipe.rungs import Rung

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: threads beyond the cores make small tensors crawl
TIMEOUT = 240  # seconds, for a script on several ranks


@pytest.fixture(scope="session")
def plan() -> Callable[..., Plan]:
    """The plan of a command line: `plan("+recipe=v2", "scale=demo")`. Errors come as Hydra raises them."""
    return lambda *overrides: _plan(os.environ.get("WORLD_SIZE"), *overrides)


@cache
def _plan(world_size: str | None, *overrides: str) -> Plan:
    compose.register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        composed = hydra.compose("config", list(overrides), return_hydra_config=True)
        return compose.plan(composed, composed.hydra)


def plan_of(config: Config, folder: Path) -> Plan:
    """The plan of a config made by hand, which takes no seconds to compose. Makes the folder."""
    check(config, int(os.environ.get("WORLD_SIZE", "1")))
    folder.mkdir(parents=True, exist_ok=True)
    return Plan(
        config,
        Rung("test", None, None, {}),
        name="test",
        folder=folder,
        training_hash="",
        result_hash="",
        chain=("test",),
        differences={},
        overrides=(),
        literal=frozenset({"ema.steps"}),
        hydra_files={},
    )


def torchrun(processes: int, script: Path, *arguments: object) -> None:
    """Run a script of the tests on several ranks, one thread each. Fails with what they printed."""
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", str(script)]
    with subprocess.Popen(
        [sys.executable, *command, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT + 60)
        finally:
            if process.poll() is None:
                process.terminate()  # torchrun ends its ranks: in sessions of their own, they would survive a kill
    assert process.returncode == 0, output


def watch_over() -> None:
    """End this process, a rank, when the time is over, and say where it stands."""
    faulthandler.dump_traceback_later(TIMEOUT, exit=True)
