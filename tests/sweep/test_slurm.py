"""Sweeps submitted to a real Slurm: once, from anywhere, with sbatch's own words where it refuses; and preempted."""

import re
from pathlib import Path

import pytest
from processes import assert_same_ending, ended, started, steps_logged
from slurm_cluster import slurm
from slurm_sweeps import (
    LONG,
    ON_SLURM,
    TINY,
    jobs_of,
    outcome_of,
    run_of,
    submitted,
    until_finished,
    until_in_queue_again,
    until_trained_to,
    whole,
)

from recipe.files import CONSOLE


def test_a_preempted_training_is_submitted_once_saves_and_ends_as_if_undisturbed(cluster: None, tmp_path: Path) -> None:
    """By a job of a partition of higher priority: SIGTERM, a minute of grace, and the queue."""
    said = submitted(tmp_path, *LONG)
    assert "1 job: 1 submitted (" in said
    until_trained_to(5, tmp_path)
    again = submitted(tmp_path, *LONG)
    assert "1 job: 0 submitted, 1 queued or running already (" in again
    assert len(jobs_of(tmp_path)) == 1
    slurm("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    until_in_queue_again(tmp_path)
    undisturbed = started(tmp_path / "alone", *TINY, *LONG)
    stopped_at = steps_logged(run_of(tmp_path))
    assert 5 <= stopped_at < 80
    try:
        until_finished(tmp_path)
    finally:
        expected = whole(tmp_path / "alone", undisturbed)
    console = (run_of(tmp_path) / CONSOLE).read_text()
    assert console.count("Stopped after step") == 1
    assert console.count("going on from the checkpoint") == 1
    assert outcome_of(tmp_path)["state"] == "finished"
    assert_same_ending(run_of(tmp_path), expected)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("hydra.launcher.partition=nowhere", "sbatch refuses: .*invalid partition specified: nowhere"),
        ("hydra.launcher.gpus_per_node=a100:1", "sbatch refuses: .*[Rr]equested node configuration is not available"),
    ],
)
def test_what_sbatch_refuses_is_one_message_in_its_words(cluster: None, tmp_path: Path, key: str, words: str) -> None:
    overrides = {text.split("=")[0]: text for text in (*TINY, *ON_SLURM, key)}
    done = ended(started(tmp_path, "-m", *overrides.values()))
    assert done.returncode == 2
    assert re.search(words, done.stderr), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert jobs_of(tmp_path) == []
