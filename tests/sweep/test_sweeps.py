"""Whole sweeps in real processes: what they train, what they skip, what they survive."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from processes import assert_same_ending, children, ended, started, steps_logged, when

from recipe import stored_config
from recipe.files import CONSOLE, LOCK, is_locked
from recipe.machine import limits
from recipe.machine.signals import STOPPED
from recipe.plan import compose

TINY = (
    *("scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false", "data.workers=0"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "log.every_steps=1"),
    "checkpoint.keep_after_training=true",
)
LONG = ("+recipe=v1", "epochs=40", "evaluate.every=40", "checkpoint.every_minutes=0.0001")

CORES = limits.cores()


def sweep(outputs: Path, *arguments: str) -> "subprocess.Popen[str]":
    return started(outputs, "-m", *TINY, *arguments)


def folders(outputs: Path) -> dict[str, Path]:
    """Run folders by recipe and seed."""
    found = sorted((outputs / "multirun_outputs").glob("*/seed=*"))
    return {f"{folder.parent.name.split('~')[0]} {folder.name}": folder for folder in found}


def result(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "result.json").read_text())
    return content


def test_each_training_is_done_once_and_nothing_twice(tmp_path: Path) -> None:
    arguments = ("+recipe=r09_fixres,r10_ema,v1", "epochs=2")
    first = ended(sweep(tmp_path, *arguments))
    assert first.returncode == 0, first.stderr
    assert "3 jobs, 2 trainings" in first.stdout
    runs = folders(tmp_path)
    assert list(runs) == ["r09_fixres seed=0", "r10_ema seed=0", "v1 seed=0"]
    assert "trained_in" not in result(runs["r10_ema seed=0"])
    taken = result(runs["r09_fixres seed=0"])
    assert taken["trained_in"] == os.path.relpath(runs["r10_ema seed=0"], runs["r09_fixres seed=0"])
    for name, folder in runs.items():
        assert f"top-1 {result(folder)['acc1']:.2f}" in first.stdout, name
        assert "top-1" in (folder / CONSOLE).read_text()
        cores = json.loads((folder / "environment.json").read_text())["starts"][0]["cores"]
        assert cores == max(1, CORES // min(CORES, 2)), name  # its share: two trainings side by side

    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "multirun_outputs").glob("*/*/*")}
    again = ended(sweep(tmp_path, *arguments))
    assert again.returncode == 0, again.stderr
    assert "3 finished before" in again.stdout
    assert "started" not in again.stdout
    assert {path: path.stat().st_mtime_ns for path in written} == written


@pytest.mark.slow
def test_a_failed_job_is_told_at_the_end_and_harms_no_other(tmp_path: Path) -> None:
    """What was to take its weights does not train in its place."""
    recipes, takes_no_such_size = "+recipe=r09_fixres,r10_ema", "alexnet"
    done = ended(sweep(tmp_path, recipes, "epochs=1", f"model.name=shufflenet_v2_x0_5,{takes_no_such_size}"))
    assert done.returncode == 2
    assert done.stdout.count("done ") == 2
    assert "         | Error: " in done.stdout  # the end of its log
    assert "failed   r10_ema model.name=alexnet seed=0: exit code 2" in done.stdout
    assert "failed   r09_fixres model.name=alexnet seed=0: its training, r10_ema model.name=alexnet" in done.stdout
    assert "2 of 4 jobs failed" in done.stderr
    assert f"{CONSOLE}" in done.stderr
    assert len(list((tmp_path / "multirun_outputs").glob("*/*/result.json"))) == 2


def test_a_wrong_job_is_refused_before_the_first_begins(tmp_path: Path) -> None:
    done = ended(sweep(tmp_path, "+recipe=v1,v2", "sampler.repetitions=1,64"))
    assert done.returncode == 2
    assert "+recipe=v1 " in done.stderr
    assert "sampler.repetitions" in done.stderr
    assert not folders(tmp_path)
    for wrong in ("hydra.launcher.per_job=0", "hydra.launcher.jobs=0", "hydra.launcher.promote=[1,0.1]"):
        done = ended(sweep(tmp_path, "+recipe=v1", wrong))
        assert (done.returncode, "hydra.launcher" in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sweep that nothing happened to."""
    outputs = tmp_path_factory.mktemp("whole")
    done = ended(sweep(outputs, *LONG, "seed=0,1,2"))
    assert done.returncode == 0, done.stderr
    return folders(outputs)


def alive(pid: int) -> bool:
    """Whether a process still does something."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def in_the_middle(outputs: Path) -> bool:
    """Whether two jobs train, and have saved."""
    runs = folders(outputs).values()
    return sum(steps_logged(run) > 8 and (run / "checkpoints" / "last.pt").exists() for run in runs) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_stopped_sweep_goes_on(undisturbed: dict[str, Path], tmp_path: Path, how: signal.Signals) -> None:
    process = sweep(tmp_path, *LONG, "seed=0,1,2")
    when(lambda: in_the_middle(tmp_path), process)
    started_by_it = children(process)
    assert len(started_by_it) >= 2
    process.send_signal(how)
    stopped = ended(process)
    if how != signal.SIGKILL:
        assert stopped.returncode == STOPPED
        assert "of 3 jobs finished" in stopped.stderr
    deadline = time.monotonic() + 30  # SIGKILL: the jobs learn of it, save and end by themselves
    while any(map(alive, started_by_it)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len([run for run in folders(tmp_path).values() if (run / "result.json").exists()]) < 3

    again = ended(sweep(tmp_path, *LONG, "seed=0,1,2"))
    assert again.returncode == 0, again.stderr
    assert any("resumed" in (run / CONSOLE).read_text() for run in folders(tmp_path).values())
    for name, run in folders(tmp_path).items():
        assert_same_ending(run, undisturbed[name])


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    process = sweep(tmp_path, "+recipe=v1", "epochs=400", "data.size=2048", "seed=0,1")
    when(lambda: all(steps_logged(run) for run in folders(tmp_path).values()) and len(folders(tmp_path)) == 2, process)
    started_by_it = children(process)
    for pid in started_by_it:
        os.kill(pid, signal.SIGSTOP)  # so that none of them can end by itself
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    stopped = ended(process, timeout=30)
    assert stopped.returncode == 130
    assert not any(map(alive, started_by_it))


@pytest.mark.slow
def test_two_sweeps_share_the_work(undisturbed: dict[str, Path], tmp_path: Path) -> None:
    both = [sweep(tmp_path, *LONG, "seed=0,1,2", "hydra.launcher.jobs=1") for _ in range(2)]
    done = [ended(process) for process in both]
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    for name, run in folders(tmp_path).items():
        assert_same_ending(run, undisturbed[name])
        assert len(json.loads((run / "environment.json").read_text())["starts"]) == 1


@pytest.mark.slow
def test_a_killed_job_is_a_failure_that_the_next_sweep_mends(undisturbed: dict[str, Path], tmp_path: Path) -> None:
    process = sweep(tmp_path, *LONG, "seed=0,1,2")
    when(lambda: in_the_middle(tmp_path), process)
    victim = next(run for run in folders(tmp_path).values() if is_locked(run / LOCK))
    os.kill(int((victim / LOCK).read_text().split()[1]), signal.SIGKILL)
    done = ended(process)
    assert done.returncode == 2
    assert "killed by signal 9" in done.stdout
    assert "1 of 3 jobs failed" in done.stderr
    assert ended(sweep(tmp_path, *LONG, "seed=0,1,2")).returncode == 0
    for name, run in folders(tmp_path).items():
        assert_same_ending(run, undisturbed[name])


@pytest.mark.slow
def test_jobs_of_several_processes(tmp_path: Path) -> None:
    done = ended(sweep(tmp_path, "+recipe=v1", "epochs=2", "seed=0,1", "hydra.launcher.per_job=2"))
    assert done.returncode == 0, done.stderr
    for run in folders(tmp_path).values():
        assert json.loads((run / "environment.json").read_text())["starts"][0]["world_size"] == 2
    three = ended(sweep(tmp_path, "+recipe=v1", "epochs=2", "seed=2", "hydra.launcher.per_job=3"))
    assert three.returncode == 2
    assert "micro" in three.stderr  # 2 micro-batches cannot be shared by 3


def finish(outputs: Path, acc1: float, *overrides: str) -> None:
    """The folder of a run that has finished with a top-1, without training."""
    planned = compose.plan_of([*TINY, *overrides])
    folder = outputs / "multirun_outputs" / planned.name / f"seed={planned.config.seed}"
    folder.mkdir(parents=True)
    hashes = {"training_hash": planned.training_hash, "result_hash": planned.result_hash}
    (folder / "result.json").write_text(json.dumps({**hashes, "acc1": acc1}))
    (folder / "config.yaml").write_text(stored_config.to_yaml(planned.config))


@pytest.mark.slow
def test_promotion_goes_on_with_what_does_not_hurt(tmp_path: Path) -> None:
    """Short trainings were forged: what hurt is not trained for longer, nor is what fails."""
    for setting, accuracies in {"0.5": (70, 70.5, 69.7), "0.1": (60, 60.6, 59.5), "0.2": (70.4, 70, 70.1)}.items():
        for seed, acc1 in enumerate(accuracies):
            run = ("+recipe=v1", f"optimizer.momentum={setting}", f"seed={seed}")
            finish(tmp_path, acc1, *run, "epochs=2", "++scale.epochs=0.00666666666667")
            if setting != "0.1":
                finish(tmp_path, acc1, *run, "epochs=20")
    arguments = ("+recipe=v1", "epochs=20", "optimizer.momentum=0.5,0.1,0.2", "seed=0,1,2")
    done = ended(sweep(tmp_path, *arguments, "hydra.launcher.promote=[0.1,1]"))
    assert done.returncode == 0, done.stderr
    assert "10% of the epochs, for 3 settings" in done.stdout
    assert "v1 optimizer.momentum=0.5: the first\n" in done.stdout
    assert "v1 optimizer.momentum=0.1: hurts, left out\n" in done.stdout
    assert "v1 optimizer.momentum=0.2: unresolved" in done.stdout
    assert "6 finished before" in done.stdout
    assert "started" not in done.stdout


@pytest.mark.slow
def test_promotion_leaves_out_what_fails(tmp_path: Path) -> None:
    arguments = ("+recipe=v1", "epochs=20", "optimizer.lr=0.05,1e30", "hydra.launcher.promote=[0.1,1]")
    done = ended(sweep(tmp_path, *arguments))
    assert done.returncode == 2
    assert "v1 optimizer.lr=1e+30: failed, left out" in done.stdout
    assert "1 of 2 jobs failed" in done.stderr
    assert len(list((tmp_path / "multirun_outputs").glob("*/*/result.json"))) == 2  # 0.05, for 2 and for 20 epochs


@pytest.mark.slow
def test_a_recipe_of_ones_own_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "conf" / "recipe").mkdir(parents=True)
    (tmp_path / "conf" / "recipe" / "mine.yaml").write_text(
        "# @package _global_\n# Mine.\ndefaults: [r00_baseline, _self_]\nepochs: 15\n"
    )
    done = ended(sweep(tmp_path, "+recipe=mine", "seed=0,1", f"--config-dir={tmp_path / 'conf'}"))
    assert done.returncode == 0, done.stderr
    assert list(folders(tmp_path)) == ["mine seed=0", "mine seed=1"]
