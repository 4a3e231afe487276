"""The jobs of a sweep through submitit: on this machine, since there is no cluster here."""

import json
import os
import signal
from pathlib import Path

import pytest
from processes import ended, started, steps_logged, when

submitit = pytest.importorskip("submitit", reason="needs the extra slurm")

from recipe.errors import RunError  # noqa: E402
from recipe.files import CONSOLE  # noqa: E402
from recipe.sweep import processes, slurm  # noqa: E402

TINY = (
    *("scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false", "data.workers=0"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "log.every_steps=1"),
)
LOCAL = ("hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.wait=true")


def results(outputs: Path) -> list[Path]:
    return sorted((outputs / "multirun_outputs").glob("*/seed=*/result.json"))


@pytest.mark.slow
def test_jobs_run_and_those_that_have_finished_are_not_submitted_again(tmp_path: Path) -> None:
    arguments = ("-m", "+recipe=r09_fixres,r10_ema", "epochs=2", *TINY, *LOCAL, "hydra.launcher.per_node=2")
    done = ended(started(tmp_path, *arguments))
    assert done.returncode == 0, done.stderr
    assert "2 jobs: 1 submitted" in done.stdout  # one training, and the evaluation that follows it
    assert len(results(tmp_path)) == 2
    environment = json.loads((results(tmp_path)[1].parent / "environment.json").read_text())
    assert environment["starts"][0]["world_size"] == 2
    again = ended(started(tmp_path, *arguments))
    assert "2 jobs: 0 submitted" in again.stdout
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_a_failed_training_is_told(tmp_path: Path) -> None:
    arguments = ("-m", "+recipe=v1", "epochs=2", *TINY, *LOCAL, "hydra.launcher.per_node=1")
    done = ended(started(tmp_path, *arguments, "model.name=alexnet"))  # which does not take images so small
    assert done.returncode == 2
    assert "1 of 1 job failed" in done.stderr
    assert CONSOLE in done.stderr


@pytest.mark.slow
def test_preemption_saves_and_the_job_goes_on(tmp_path: Path) -> None:
    """Submitit's own signal for it, to the process that holds the job."""
    arguments = ("-m", "+recipe=v1", "epochs=60", "evaluate.every=60", *TINY, *LOCAL, "hydra.launcher.per_node=1")
    sweep = started(tmp_path, *arguments)

    def run() -> Path:
        return next(iter((tmp_path / "multirun_outputs").glob("v1*/seed=0")), tmp_path)

    when(lambda: steps_logged(run()) > 5, sweep)
    found: list[int] = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"submitit.core._submit" in command and str(tmp_path).encode() in command:
            found.append(pid)
    os.kill(min(found), signal.SIGUSR2)
    done = ended(sweep)
    assert done.returncode == 0, done.stderr
    console = (run() / CONSOLE).read_text()
    assert console.count("Stopped after step") == 1
    assert console.count("going on from the checkpoint") == 1
    assert len(results(tmp_path)) == 1


def test_without_slurm_the_message_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="srun"):
        slurm.submit([], lambda _: [], "slurm", tmp_path, {})


def test_processes_on_several_nodes_meet_at_the_first() -> None:
    template = processes.command(4, ["+recipe=v2"], slurm.rendezvous(2))
    assert "--nnodes=2" in template
    filled = [slurm._filled(argument, {"HEAD": "node7", "PORT": "29512", "ID": "512"}) for argument in template]
    assert "--rdzv_endpoint=node7:29512" in filled
    assert "--rdzv_id=512" in filled
    assert "--nproc_per_node=4" in filled
    assert "torch.distributed.run" in processes.command(1, [], slurm.rendezvous(2))  # one process on each of two nodes
    assert "torch.distributed.run" not in processes.command(1, [], slurm.rendezvous(1))
