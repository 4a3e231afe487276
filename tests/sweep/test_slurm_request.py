"""What is asked of Slurm, in the words of sbatch(1)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from recipe.errors import ConfigError, RunError
from recipe.plan.launcher_config import SlurmConf
from recipe.sweep import processes
from recipe.sweep.slurm import queue
from recipe.sweep.slurm.launcher import rendezvous
from recipe.sweep.slurm.node import KILLED, filled, last_line
from recipe.sweep.slurm.request import options, processes_per_node, seconds


def keys(**given: Any) -> dict[str, Any]:
    return {**asdict(SlurmConf()), **given}


@pytest.mark.parametrize(
    ("given", "asked", "processes"),
    [
        ({}, {"--gpus-per-node=8"}, 8),
        ({"per_node": 4, "cpus_per_gpu": 12}, {"--gpus-per-node=4", "--cpus-per-task=48"}, 4),
        ({"gpus_per_node": "a100:4"}, {"--gpus-per-node=a100:4"}, 4),
        ({"gpus_per_node": "a100:4", "per_node": 2}, {"--gpus-per-node=a100:4"}, 2),
        ({"gres": "gpu:a100:8"}, {"--gres=gpu:a100:8"}, 8),
        ({"gres": "gpu"}, {"--gres=gpu"}, 1),
        ({"gres": "shard:2,gpu:2", "cpus_per_gpu": 8}, {"--gres=shard:2,gpu:2", "--cpus-per-task=16"}, 2),
        ({"gpus_per_node": "0"}, {"--cpus-per-task=1"}, 1),
        ({"gpus_per_node": "0", "cpus_per_task": 16}, {"--cpus-per-task=16"}, 16),
        ({"gpus_per_node": "0", "per_node": 2, "cpus_per_task": 16}, {"--cpus-per-task=16"}, 2),
        ({"gpus_per_node": "0", "per_node": 2}, {"--cpus-per-task=2"}, 2),
    ],
)
def test_processes_gpus_and_cores(given: dict[str, Any], asked: set[str], processes: int) -> None:
    told = set(options(keys(**given)))
    assert {each for each in told if each.startswith(("--gpus", "--gres", "--cpus"))} == asked
    assert processes_per_node(keys(**given)) == processes


def test_all_else_that_clusters_differ_in() -> None:
    given = {
        **{"nodes": 2, "mem": "64G", "time": "1-12", "partition": "gpu", "account": "vision", "qos": "long"},
        **{"constraint": "ib", "exclude": "node[3,7]", "reservation": "course", "mail": "a@b.org"},
        **{"sbatch": ["--nice=100"], "warning_seconds": 300},
    }
    assert set(options(keys(**given))) == {
        *("--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--mem=64G", "--time=1-12", "--signal=TERM@300"),
        *("--partition=gpu", "--account=vision", "--qos=long", "--constraint=ib", "--exclude=node[3,7]"),
        *("--reservation=course", "--mail-user=a@b.org", "--mail-type=END,FAIL", "--nice=100"),
    }
    assert "--time=1440" in options(keys())
    assert not any(each.startswith("--signal") for each in options(keys(time="UNLIMITED")))


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        *(("90", 5400), ("90:30", 5430), ("1:30:00", 5400), ("1-12", 129600), ("1-12:30", 131400)),
        *(("1-12:30:15", 131415), ("infinite", None)),
    ],
)
def test_times_in_slurm_s_own_form(time: str, expected: int | None) -> None:
    assert seconds(time) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cluster": "local"}, "hydra/launcher=torchrun"),
        ({"gres": "gpu:8", "gpus_per_node": "8"}, "leave one out"),
        ({"time": "1 day"}, "must be minutes"),
        ({"time": "2"}, "would be stopped as it begins"),
        ({"per_node": 0}, "at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options(keys(**given))


def test_processes_on_several_nodes_meet_at_the_first() -> None:
    template = processes.command(4, ["+recipe=v2"], rendezvous(2))
    assert "--nnodes=2" in template
    known = {"HEAD": "node7", "PORT": "29512", "NODE": "1"}
    told = {filled(argument, known) for argument in template}
    assert {"--node_rank=1", "--master_addr=node7", "--master_port=29512", "--nproc_per_node=4"} <= told
    assert "torch.distributed.run" in processes.command(1, [], rendezvous(2))  # one process on each of two nodes
    assert "torch.distributed.run" not in processes.command(1, [], rendezvous(1))


def test_what_runs_say_of_a_process_that_was_killed_is_recognised() -> None:
    from recipe.logs import faults

    assert KILLED.search(faults.LOST_A_PROCESS)
    assert KILLED.search(faults.dead_worker(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")))
    assert not KILLED.search(faults.not_finite(7, Path("not_finite.json")))


def test_the_last_line_is_the_one_that_tells() -> None:
    assert last_line(2, "epoch 1\nError: no such file\n=====\n") == "no such file"
    torchrun = "  exitcode  : -9 (pid: 7)\n  traceback : Signal 9 (SIGKILL) received by PID 7\n====\n"
    assert last_line(1, torchrun) == "Signal 9 (SIGKILL) received by PID 7"
    assert KILLED.search(torchrun)
    lost = "Error: another process of this run has ended\n"
    assert last_line(1, lost + torchrun) == "Signal 9 (SIGKILL) received by PID 7"
    asked = torchrun.replace("9", "15").replace("KILL", "TERM")  # by torchrun, as another rank had failed
    assert not KILLED.search(asked)
    assert last_line(1, "Error: no such file\n" + asked) == "no such file"
    assert last_line(-9, "epoch 1/2\n") == "killed by signal 9"
    assert last_line(1, "Traceback\nZeroDivisionError: division by zero\n") == "ZeroDivisionError: division by zero"


def test_without_slurm_the_message_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="there is no sbatch on this machine: start the sweep on a machine that submits"):
        queue.told(["sbatch"])
