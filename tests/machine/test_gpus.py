"""What is started on machines with no, one and several GPUs, which PyTorch is made to report (tests/pretended)."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gpus import pretending, real_gpus
from processes import TIMEOUT, ended, started

from recipe.errors import ConfigError
from recipe.machine import limits
from recipe.plan.compose import PROJECT, Plan
from recipe.sweep import machine

MICRO_BATCHES = 4  # of a step of the demo
TINY = ("scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=64", "model.name=shufflenet_v2_x0_5")
SHORT = ("+recipe=r01_lr_optimizations", *TINY, "data.workers=0", "log.images=false", "epochs=1")


def said(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(("gpus", "processes"), [(0, None), (1, 1), (3, 2), (8, 4)])
def test_make_demo_starts_as_many_processes_as_the_machine_has_room_for(
    tmp_path: Path, gpus: int, processes: int | None
) -> None:
    """In an environment whose torchrun says what it was asked for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, runs in (("torchrun", 'echo "$@"'), ("python", f'exec "{sys.executable}" "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{runs}\n")
        (programs / name).chmod(0o755)
    (tmp_path / ".demo").touch()  # its packages are there
    asked = said(["make", "--silent", "demo", f"VENV={tmp_path}"], pretending(gpus)).split()
    cores = min(limits.cores(), limits.that_fit(machine.MEMORY_PER_PROCESS))
    assert asked[0] == f"--nproc_per_node={processes or (1 if cores < 2 else 2 if cores < 4 else 4)}"
    assert asked[1:] == ["train.py", "+recipe=v2", "scale=demo"]


@pytest.mark.parametrize("recipe", ["r01_lr_optimizations", "v2"])
def test_the_demo_has_four_micro_batches(plan: Callable[..., Plan], recipe: str) -> None:
    config = plan(f"+recipe={recipe}", "scale=demo").config
    assert config.batch_size // config.micro_batch_size == MICRO_BATCHES
    assert f"recipe.sweep.machine {MICRO_BATCHES})" in (PROJECT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("micro_batches", "gpus", "processes"), [(1, 8, 1), (4, 5, 4), (6, 5, 3), (8, 7, 4), (5, 4, 1)]
)
def test_processes_divide_the_micro_batches(micro_batches: int, gpus: int, processes: int) -> None:
    assert machine.most_processes(micro_batches, gpus) == processes


def test_without_gpus_cores_and_memory_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "cores", lambda: 3)
    assert machine.most_processes(4, 0) == 2
    monkeypatch.setattr(limits, "memory", lambda: 2 * 2**30)
    assert machine.most_processes(4, 0) == 1


@pytest.mark.parametrize(
    ("gpus", "variables", "names"),
    [
        (0, {}, []),
        (1, {}, ["0"]),
        (2, {"CUDA_VISIBLE_DEVICES": "6,GPU-0f"}, ["6", "GPU-0f"]),
        (4, {"RECIPE_DEVICE": "cpu"}, []),
    ],
)
def test_gpus_that_a_sweep_shares_out(gpus: int, variables: dict[str, str], names: list[str]) -> None:
    script = "import json; from recipe.sweep.machine import visible_gpus; print(json.dumps(visible_gpus()))"
    assert json.loads(said([sys.executable, "-c", script], pretending(gpus) | variables)) == names


def test_pytorch_is_not_imported_for_pretended_gpus() -> None:
    said([sys.executable, "-c", "import sys; sys.exit('torch' in sys.modules)"], pretending(1))


def test_no_test_is_fooled_by_pretended_gpus() -> None:
    """Tests that compute on a GPU ask the driver."""
    script = "import torch; from gpus import real_gpus; print(torch.cuda.device_count(), real_gpus())"
    environment = pretending(64)
    environment["PYTHONPATH"] += f"{os.pathsep}{PROJECT / 'tests'}"
    assert said([sys.executable, "-c", script], environment).split() == ["64", str(real_gpus())]


def test_more_processes_than_gpus_are_refused_with_what_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in pretending(1).items():
        monkeypatch.setenv(name, value)
    done = ended(started(tmp_path, *SHORT, processes=2))
    assert done.returncode != 0
    message = "2 processes on this machine, but 1 GPU: use --nproc_per_node=1, or runtime.device=cpu"
    assert (done.stdout + done.stderr).count(message) == 1


def test_one_gpu_beside_which_two_processes_train_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in pretending(1).items():
        monkeypatch.setenv(name, value)
    done = ended(started(tmp_path, *SHORT, "runtime.device=cpu", "max_steps=1", processes=2))
    assert done.returncode == 0, done.stderr
    assert "over 2 ranks" in done.stdout


def test_a_sweep_runs_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One GPU, and RECIPE_DEVICE=cpu: jobs share the cores, and each trains on them."""
    for name, value in (pretending(1) | {"RECIPE_DEVICE": "cpu"}).items():
        monkeypatch.setenv(name, value)
    done = ended(started(tmp_path, "-m", *SHORT, "max_steps=1", "seed=0,1"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CPU core" in done.stdout
    environments = sorted((tmp_path / "multirun_outputs").glob("*/seed=*/environment.json"))
    assert [json.loads(path.read_text())["starts"][0]["device"] for path in environments] == ["cpu", "cpu"]


def test_sweeps_with_more_processes_a_job_than_gpus_are_refused_with_what_works() -> None:
    with pytest.raises(ConfigError, match=r"per_job=2, but there are 1 GPU\(s\) to use: at most per_job=1"):
        machine.shares(2, None, None, 4, ["0"])


def test_a_wrong_device_in_the_environment_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "train.py", *SHORT]
    environment = {**os.environ, "RECIPE_DEVICE": "gpu", "RECIPE_OUTPUTS": str(tmp_path)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 2
    assert "RECIPE_DEVICE=gpu in the environment: must be one of auto, cuda, mps, cpu" in done.stderr
