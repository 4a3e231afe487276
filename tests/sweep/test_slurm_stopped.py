"""What stops a job of a real Slurm, each for itself: it is back in the queue, and ends as if undisturbed, or stays out.

(Preemption of a job on one node: test_slurm.py.)
"""

import os
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from processes import assert_same_ending, ended, started
from slurm_cluster import kill_node, slurm, start_node
from slurm_sweeps import (
    LONG,
    ON_SLURM,
    TINY,
    alone,
    is_over,
    jobs_of,
    outcome_of,
    processes_of,
    run_of,
    submitted,
    told,
    until,
    until_finished,
    until_in_queue_again,
    until_trained_to,
)

from recipe.files import CONSOLE

pytestmark = pytest.mark.slow
TWO_NODES = ("hydra.launcher.nodes=2", "hydra.launcher.per_node=1")
TWO_RANKS = ("hydra.launcher.per_node=2",)
ON_ONE_OR_TWO = pytest.mark.parametrize("nodes", [(), TWO_NODES], ids=["one node", "two nodes"])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The run that the others must equal, on one process or on several."""
    return cache(lambda ranks: alone(tmp_path_factory.mktemp(f"alone{ranks}"), *LONG, processes=ranks * (ranks > 1)))


def job(outputs: Path) -> str:
    return str(jobs_of(outputs)[0]["job_id"])


def console(outputs: Path) -> str:
    return (run_of(outputs) / CONSOLE).read_text()


@ON_ONE_OR_TWO
def test_scontrol_requeue(
    cluster: None, tmp_path: Path, nodes: tuple[str, ...], undisturbed: Callable[[int], Path]
) -> None:
    submitted(tmp_path, *LONG, *nodes)
    until_trained_to(5, tmp_path)
    slurm("scontrol", "requeue", job(tmp_path))
    until_in_queue_again(tmp_path)
    until_finished(tmp_path)
    assert console(tmp_path).count("Stopped after step") == 1, told(tmp_path)  # saved, on two nodes too
    assert console(tmp_path).count("going on from the checkpoint") == 1
    assert_same_ending(run_of(tmp_path), undisturbed(2 if nodes else 1))


def test_preemption_of_two_nodes(cluster: None, tmp_path: Path, undisturbed: Callable[[int], Path]) -> None:
    submitted(tmp_path, *LONG, *TWO_NODES)
    until_trained_to(5, tmp_path)
    slurm("sbatch", "--partition=high", "--nodes=1", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    until_in_queue_again(tmp_path)
    until_finished(tmp_path)
    assert console(tmp_path).count("Stopped after step") == 1, told(tmp_path)
    assert "back in the queue: stopped by a signal" in told(tmp_path)
    assert_same_ending(run_of(tmp_path), undisturbed(2))


def test_preemption_without_a_grace_time(cluster: None, tmp_path: Path, undisturbed: Callable[[int], Path]) -> None:
    """Slurm has put it back already, and leaves it KillWait to save."""
    submitted(tmp_path, *LONG, "hydra.launcher.partition=abrupt")
    until_trained_to(5, tmp_path)
    slurm("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    until_in_queue_again(tmp_path)
    until(lambda: "left to Slurm: stopped by a signal" in told(tmp_path), tmp_path)
    until_finished(tmp_path)
    assert console(tmp_path).count("Stopped after step") == 1, told(tmp_path)
    assert console(tmp_path).count("going on from the checkpoint") == 1
    assert_same_ending(run_of(tmp_path), undisturbed(1))


@ON_ONE_OR_TWO
def test_scancel_saves_and_the_job_stays_out_until_it_is_submitted_again(
    cluster: None, tmp_path: Path, nodes: tuple[str, ...], undisturbed: Callable[[int], Path]
) -> None:
    submitted(tmp_path, *LONG, *nodes)
    until_trained_to(5, tmp_path)
    slurm("scancel", job(tmp_path))
    until(lambda: is_over(tmp_path), tmp_path)
    assert console(tmp_path).count("Stopped after step") == 1, told(tmp_path)
    assert outcome_of(tmp_path) == {"state": "left to Slurm", "why": "stopped by a signal"}
    assert "JobState=CANCELLED" in slurm("scontrol", "show", "job", job(tmp_path))
    assert not (run_of(tmp_path) / "result.json").exists()
    assert "1 job: 1 submitted" in submitted(tmp_path, *LONG, *nodes)
    until(lambda: (run_of(tmp_path) / "result.json").exists(), tmp_path)
    assert console(tmp_path).count("going on from the checkpoint") == 1
    assert_same_ending(run_of(tmp_path), undisturbed(2 if nodes else 1))


def test_the_time_limit(cluster: None, tmp_path: Path) -> None:
    longer = ("epochs=500", "evaluate.every=500")  # 1,000 steps: Slurm looks at limits every 30 s
    submitted(tmp_path, *longer, "hydra.launcher.time=10:00:00", "hydra.launcher.warning_seconds=60")
    until_trained_to(5, tmp_path)
    slurm("scontrol", "update", f"JobId={job(tmp_path)}", "TimeLimit=2")
    until_in_queue_again(tmp_path)
    slurm("scontrol", "update", f"JobId={job(tmp_path)}", "TimeLimit=600")
    until_finished(tmp_path)
    assert console(tmp_path).count("Stopped after step") == 1, told(tmp_path)
    assert "back in the queue: stopped by a signal" in told(tmp_path)
    assert_same_ending(run_of(tmp_path), alone(tmp_path / "alone", *longer))


@ON_ONE_OR_TWO
def test_a_node_that_dies(
    cluster: None, tmp_path: Path, nodes: tuple[str, ...], undisturbed: Callable[[int], Path]
) -> None:
    """Slurm misses it after SlurmdTimeout. Of two nodes, the other one's ranks end before that."""
    saving = ("checkpoint.every_minutes=0.01",)
    submitted(tmp_path, *LONG, *nodes, *saving)
    until((run_of(tmp_path) / "checkpoints" / "last.pt").exists, tmp_path)
    kill_node("node2" if nodes else slurm("squeue", "--noheader", "--format=%N"))
    until_in_queue_again(tmp_path)
    if nodes:  # it needs both
        until(lambda: "down" in slurm("sinfo", "--noheader", "--format=%t"), tmp_path)
        start_node("node2")
    until_finished(tmp_path)
    assert console(tmp_path).count("going on from the checkpoint") == 1, told(tmp_path)
    assert_same_ending(run_of(tmp_path), undisturbed(2 if nodes else 1))


def test_one_rank_is_killed(cluster: None, tmp_path: Path, undisturbed: Callable[[int], Path]) -> None:
    submitted(tmp_path, *LONG, *TWO_RANKS, "checkpoint.every_minutes=0.01")
    until((run_of(tmp_path) / "checkpoints" / "last.pt").exists, tmp_path)
    os.kill(processes_of(tmp_path)[1], signal.SIGKILL)
    until_in_queue_again(tmp_path)
    until_finished(tmp_path)
    assert "back in the queue: Signal 9 (SIGKILL)" in told(tmp_path)
    assert console(tmp_path).count("going on from the checkpoint") == 1
    assert_same_ending(run_of(tmp_path), undisturbed(2))


def test_what_is_killed_again_and_again_before_it_saves_fails_with_its_last_line(cluster: None, tmp_path: Path) -> None:
    sweep = started(tmp_path, "-m", *TINY, *ON_SLURM, *LONG, "hydra.launcher.requeues=1", "hydra.launcher.wait=true")
    until(lambda: bool(jobs_of(tmp_path)), tmp_path)
    for times in (1, 2):
        until(lambda: bool(processes_of(tmp_path)), tmp_path)
        os.kill(processes_of(tmp_path)[0], signal.SIGKILL)
        if times == 1:
            until_in_queue_again(tmp_path)
    done = ended(sweep)
    assert done.returncode == 2
    why = "killed by signal 9 (2 starts in a row have not saved a step)"
    assert outcome_of(tmp_path) == {"state": "failed", "why": why}
    assert "1 of 1 job failed; the same command tries them again" in done.stderr
    assert f"{why} (job {job(tmp_path)}" in done.stderr


def test_an_error_of_its_own_is_not_tried_again(cluster: None, tmp_path: Path) -> None:
    shown = ended(started(tmp_path, "-m", *TINY, *ON_SLURM, "model.name=alexnet", "hydra.launcher.wait=true"))
    assert shown.returncode == 2
    assert "1 of 1 job failed" in shown.stderr
    assert outcome_of(tmp_path)["state"] == "failed"
    assert "Restarts=0" in slurm("scontrol", "show", "job", job(tmp_path))
    assert "Traceback" not in shown.stderr
