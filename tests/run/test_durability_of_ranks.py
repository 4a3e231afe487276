"""Runs of several ranks that are stopped or killed, started again by torchrun or resumed, end as the whole one."""

import os
import signal
from pathlib import Path

import pytest
import torch
from durable_runs import EACH_STEP, RUN, begin, go_on, ignoring_hangups, stopped, undisturbed
from processes import assert_same_ending, children, curves, ended, killed, metrics, rank_of, started, steps_logged, when


@pytest.fixture(scope="module")
def whole_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to, on two ranks."""
    return undisturbed(tmp_path_factory.mktemp("whole"), 2)


@pytest.mark.slow
def test_torchrun_that_takes_nohup_back_saves_and_that_is_said(
    whole_of_two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends its ranks when the terminal closes, whatever they think of it."""
    folder = tmp_path / "run"
    monkeypatch.setenv("_", "/usr/bin/nohup")
    arguments = (*RUN, f"hydra.run.dir={folder}", "data.workers=2")
    process = started(tmp_path, *arguments, processes=2, in_child=ignoring_hangups)
    when(lambda: steps_logged(folder) >= 6, process)
    os.kill(process.pid, signal.SIGHUP)
    done = ended(process)
    assert "torchrun takes it back: when the terminal closes, this run saves and ends" in done.stdout
    assert done.stderr.count("The same command goes on from there") == 1
    kept = ("--signals-to-handle=SIGTERM,SIGINT,SIGQUIT",)
    process = started(tmp_path, *arguments, processes=2, torchrun=kept, in_child=ignoring_hangups)
    when(lambda: steps_logged(folder) >= 15, process)
    os.kill(process.pid, signal.SIGHUP)
    done = ended(process)
    assert "takes it back" not in done.stdout
    assert done.returncode == 0, done.stderr
    assert_same_ending(whole_of_two, folder)


@pytest.mark.slow
def test_torchrun_starts_again_when_a_rank_is_killed(whole_of_two: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = begin(folder, EACH_STEP, processes=2, torchrun=("--max-restarts=1",))
    when(lambda: steps_logged(folder) >= 6, process)
    (rank_1,) = (pid for pid in children(process) if rank_of(pid) == 1)
    os.kill(rank_1, signal.SIGKILL)
    done = ended(process)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("going on from the checkpoint") == 1
    assert done.stderr.count("another process of this run has ended") == 1
    assert "Error executing job" not in done.stderr
    assert_same_ending(whole_of_two, folder)


@pytest.mark.slow
def test_torchrun_starts_again_what_was_to_be_begun_anew(whole_of_two: Path, tmp_path: Path) -> None:
    """resume=never sets aside what was there before the command, and not what the command has done."""
    folder = tmp_path / "run"
    stopped(folder)
    process = begin(folder, EACH_STEP, "resume=never", processes=2, torchrun=("--max-restarts=1",))
    aside = tmp_path / "run.old-1"
    when(lambda: aside.exists() and steps_logged(folder) >= 6, process)
    (rank_1,) = (pid for pid in children(process) if rank_of(pid) == 1)
    os.kill(rank_1, signal.SIGKILL)
    done = ended(process)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("going on from the checkpoint") == 1
    assert (aside / "checkpoints" / "last.pt").exists()
    assert not (tmp_path / "run.old-2").exists()
    assert_same_ending(whole_of_two, folder)


@pytest.mark.slow
def test_two_ranks_save_at_the_same_step_when_torchrun_is_asked_to_stop(whole_of_two: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = begin(folder, processes=2)
    when(lambda: steps_logged(folder) >= 6, process)
    os.kill(process.pid, signal.SIGTERM)
    done = ended(process)
    assert done.stderr.count("The same command goes on from there") == 1
    assert "going on from the checkpoint" in go_on(folder, processes=2)
    assert_same_ending(whole_of_two, folder)


@pytest.mark.slow
def test_run_goes_on_with_another_number_of_ranks(tmp_path: Path) -> None:
    """The same images and draws. What is left is the order in which floats are added: float64, and few tame steps."""
    whole, folder = tmp_path / "whole", tmp_path / "run"
    tame = ("runtime.precision=fp64", "optimizer.lr=0.0001", "epochs=3")
    go_on(whole, *tame)
    process = begin(folder, EACH_STEP, *tame, processes=2)
    when(lambda: steps_logged(folder) >= 6, process)
    killed(process)
    assert "going on" in go_on(folder, *tame)
    one, other = (torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"] for run in (whole, folder))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-7)
    rows = [[row["train/loss"] for row in metrics(run) if "train/loss" in row] for run in (whole, folder)]
    assert rows[0] == pytest.approx(rows[1], abs=2e-6)  # added up in float32
    assert len(set(rows[0])) == len(rows[0])
    steps = [[step for step, _ in curves(run)["train/loss"]] for run in (whole, folder)]
    assert steps[0] == steps[1]
