"""Whole sweeps on a real Slurm: waited for, from two shells at once, with the keys in which clusters differ."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PROJECT, ended, started
from slurm_cluster import slurm
from slurm_sweeps import ON_SLURM, TINY, is_over, jobs_of, run_of, told, until

from recipe.files import CONSOLE

pytestmark = pytest.mark.slow
SHORT = ("epochs=2",)
WAITING = ("hydra.launcher.wait=true",)


def test_runs_of_one_training_follow_each_other_and_what_has_finished_is_not_submitted_again(
    cluster: None, tmp_path: Path
) -> None:
    of_one = [text for text in TINY if "recipe=" not in text]
    arguments = ("-m", "+recipe=r09_fixres,r10_ema", *of_one, *ON_SLURM, *SHORT, *WAITING, "hydra.launcher.per_node=2")
    done = ended(started(tmp_path, *arguments))
    assert done.returncode == 0, done.stderr
    assert "2 jobs: 1 submitted" in done.stdout
    (job,) = jobs_of(tmp_path)
    assert len(job["folders"]) == 2
    for folder in map(Path, job["folders"]):
        assert (folder / "result.json").exists()
    environment = json.loads((run_of(tmp_path) / "environment.json").read_text())
    assert environment["starts"][0]["world_size"] == 2
    again = ended(started(tmp_path, *arguments))
    assert again.returncode == 0, again.stderr
    assert "2 jobs: 0 submitted, 2 jobs finished before" in again.stdout


def test_two_shells_at_once_train_nothing_twice(cluster: None, tmp_path: Path) -> None:
    """The second knows a recipe more than the first, and one with the same training as one of these."""
    of_one = [text for text in TINY if "recipe=" not in text]
    sweeps = [
        started(tmp_path, "-m", f"+recipe={recipes}", *of_one, *ON_SLURM, *SHORT, *WAITING)
        for recipes in ("v1,r10_ema", "v1,r10_ema,r09_fixres")
    ]
    for sweep in sweeps:
        done = ended(sweep, timeout=600)
        assert done.returncode == 0, done.stderr
    folders = [folder for job in jobs_of(tmp_path) for folder in job["folders"]]
    assert len(folders) == len(set(folders)) == 3
    for folder in map(Path, folders):
        assert len(json.loads((folder / "environment.json").read_text())["starts"]) == 1
    trained = [folder for folder in folders if "epoch 1/2" in (Path(folder) / CONSOLE).read_text()]
    assert len(trained) == 2, told(tmp_path)


def test_keys_in_which_clusters_differ(cluster: None, tmp_path: Path) -> None:
    """From another folder, with a folder of the sweep relative to it, which has a space in its name."""
    given = (
        *(
            "gres=gpu:1",
            "cpus_per_task=2",
            "mem=1000M",
            "time=0-02:00:00",
            "exclude='node[1,1]'",
            "mail=nobody@localhost",
        ),
        *("setup=['export FROM_SETUP=here','echo $FROM_SETUP > setup.txt']", "sbatch=['--comment=ours']"),
        *(f"python={sys.executable}", "partition=low"),
    )
    keys = [f"hydra.launcher.{text}" for text in given]
    here = tmp_path / "a folder"
    here.mkdir()
    command = [sys.executable, str(PROJECT / "train.py"), "-m", *TINY, *SHORT, "hydra/launcher=slurm", *keys]
    environment = {**os.environ, "RECIPE_OUTPUTS": "its outputs"}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    outputs = here / "its outputs"
    shown = slurm("scontrol", "show", "job", jobs_of(outputs)[0]["job_id"])
    for text in (
        "gpu:1",
        "CPUs/Task=2",
        "MinMemoryNode=1000M",
        "TimeLimit=02:00:00",
        "ExcNodeList=node1",
        "Comment=ours",
    ):
        assert text in shown
    until(lambda: is_over(outputs), outputs)
    assert (run_of(outputs) / "result.json").exists(), told(outputs)
    assert (here / "setup.txt").read_text() == "here\n"
    assert "top-1" in (run_of(outputs) / CONSOLE).read_text()
