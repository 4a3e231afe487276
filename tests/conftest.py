"""What several tests use: plans composed as train.py composes them or made by hand, and scripts on several ranks."""

import faulthandler
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import hydra
import pytest
import slurm_cluster
from hydra.core.global_hydra import GlobalHydra
from photos import CLASSES, save_photos

from recipe.config import Config
from recipe.machine.restarts import COMMAND
from recipe.plan import compose
from recipe.plan.checks import check
from recipe.plan.command_line import for_hydra
from recipe.plan.compose import PROJECT, Plan
from recipe.plan.rungs import Rung

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: threads beyond the cores make small tensors crawl
os.environ["RECIPE_DEVICE"] = "cpu"  # the same bits on every machine: what is for GPUs says so itself, see gpus.py
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(PROJECT), str(PROJECT / "tests"), os.environ.get("PYTHONPATH", "")])
)
PHOTO_RUN = (  # noqa: SIM905 +recipe=v2, on a few photos of 3 classes
    "scale=demo scale.resolution=0.15 data=imagefolder data.workers=0 model.name=shufflenet_v2_x0_5 batch_size=16 "
    "micro_batch_size=8 epochs=8 schedule.warmup_epochs=0 ema.decay=0.999999 ema.steps=1 optimizer.lr=0.02 "
    "sampler.repetitions=1 log.images=false evaluate.batch_size=8"
).split()
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
        composed = hydra.compose("config", for_hydra(overrides), return_hydra_config=True)
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
        former_hashes={},
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


@pytest.fixture(autouse=True)
def no_command_s_name() -> Iterator[None]:
    """A sweep in a test's own process names the command that its jobs belong to: the next test's runs are not of it."""
    yield
    os.environ.pop(COMMAND, None)


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory: pytest.TempPathFactory, plan: Callable[..., Plan]) -> Path:
    """The folder of the run; its photos are in `train`, `val` and `test` of ../data."""
    from recipe.run.run import train  # PyTorch

    root = tmp_path_factory.mktemp("photo_run")
    for split, count in (("train", 16), ("val", 7), ("test", 4)):
        for label, name in enumerate(CLASSES):
            save_photos(root / "data" / split / name, label, count)
    composed = plan("+recipe=v2", *PHOTO_RUN, f"data.root={root / 'data'}")
    train(replace(composed, folder=root / "run"))
    return root / "run"


@pytest.fixture(scope="session")
def slurm_daemons() -> Iterator[None]:
    """A real Slurm of two nodes, for all tests of this process; it is skipped where Slurm is not installed."""
    with slurm_cluster.running():
        yield


@pytest.fixture
def cluster(slurm_daemons: None) -> Iterator[None]:
    """Its nodes, for one test alone."""
    with slurm_cluster.for_one_test():
        yield


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `recipe …`; returns its exit code."""

    from recipe import __main__

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["recipe", *map(str, arguments)])
        try:
            __main__.main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0

    return run
