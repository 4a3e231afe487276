"""However a run is stopped or killed, it loses no more than the work since the last save, and ends as the whole one."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from durable_runs import EACH_STEP, RUN, STEPS, begin, go_on, ignoring_hangups, stopped, undisturbed
from processes import assert_same_ending, ended, imports_torch, killed, started, steps_logged, when

from recipe.machine.signals import STOPPED


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    return undisturbed(tmp_path_factory.mktemp("whole"), 0)


@pytest.fixture(scope="module")
def whole_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to, on two ranks."""
    return undisturbed(tmp_path_factory.mktemp("whole"), 2)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGHUP, id="SIGHUP", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, id="SIGINT", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, id="SIGUSR1", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR2, id="SIGUSR2", marks=pytest.mark.slow),
    ],
)
def test_stopped_run_loses_nothing_and_ends_as_the_whole_one(whole: Path, tmp_path: Path, number: int) -> None:
    """To all processes at once, data workers included, as a terminal and Slurm send it."""
    folder = tmp_path / "run"
    process = begin(folder)
    when(lambda: steps_logged(folder) >= 6, process)
    os.killpg(process.pid, number)
    done = ended(process)
    assert done.returncode == STOPPED, done.stderr
    assert done.stderr.count("The same command goes on from there") == 1
    assert "Traceback" not in done.stderr
    progress = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)["progress"]
    saved = 4 * progress["epoch"] + progress["step"]
    assert 6 <= saved < STEPS
    assert f"after step {progress['step']} of epoch {progress['epoch'] + 1}" in done.stderr
    assert "going on from the checkpoint" in go_on(folder)
    assert_same_ending(whole, folder)


@pytest.mark.slow
def test_resumed_run_that_is_stopped_before_its_next_step_loses_nothing(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    checkpoint = stopped(folder)
    saved = checkpoint.read_bytes()
    process = begin(folder)
    when(lambda: imports_torch(process), process)
    os.kill(process.pid, signal.SIGTERM)
    done = ended(process)
    assert done.returncode == STOPPED, done.stderr
    assert "Stopped before its next step: all that was trained is in the last checkpoint." in done.stderr
    assert checkpoint.read_bytes() == saved
    go_on(folder)
    assert_same_ending(whole, folder)


def test_nohup_is_kept(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = (*RUN, f"hydra.run.dir={folder}", "data.workers=2")
    process = started(tmp_path, *arguments, in_child=ignoring_hangups)
    when(lambda: steps_logged(folder) >= 3, process)
    os.killpg(process.pid, signal.SIGHUP)
    done = ended(process)
    assert done.returncode == 0, done.stderr
    assert_same_ending(whole, folder)


def test_killed_run_ends_as_the_whole_one(whole: Path, tmp_path: Path) -> None:
    """Once within an epoch, once where it happens to be."""
    folder = tmp_path / "run"
    for least in (5, 13):
        process = begin(folder, EACH_STEP)
        when(lambda least=least: steps_logged(folder) >= least, process)  # type: ignore[misc]
        killed(process)
        assert not (folder / "result.json").exists()
    go_on(folder)
    assert_same_ending(whole, folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("processes", [0, 2])
def test_run_killed_at_random_moments_ends_as_the_whole_one(
    whole: Path, whole_of_two: Path, tmp_path: Path, processes: int, seed: int
) -> None:
    moments, folder = random.Random(seed), tmp_path / "run"
    for _ in range(4):
        process = begin(folder, f"checkpoint.every_minutes={moments.choice([1e-6, 0.01, 10])}", processes=processes)
        try:
            process.wait(moments.uniform(4, 12))
        except subprocess.TimeoutExpired:
            killed(process)
        else:
            assert process.returncode == 0, process.communicate()
    go_on(folder, processes=processes)
    assert_same_ending(whole_of_two if processes else whole, folder)


def test_requeued_job_goes_on_with_what_was_to_be_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm counts the restarts of a job."""
    folder = tmp_path / "run"
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    for going_on in (False, True):
        if going_on:
            monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        steps = steps_logged(folder) + 3
        process = begin(folder, "epochs=200", "resume=never", "data.workers=0")
        when(lambda steps=steps: steps_logged(folder) >= steps, process)  # type: ignore[misc]
        os.kill(process.pid, signal.SIGTERM)
        done = ended(process)
        assert done.returncode == STOPPED, done.stderr
        assert ("going on from the checkpoint" in done.stdout) == going_on
        assert not list(tmp_path.glob("run.old-*"))
        assert "resume=auto goes on from there" in done.stderr
