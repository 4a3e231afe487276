"""Which jobs are one training, what a folder says of a job, and how a machine is shared."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from recipe import stored_config
from recipe.errors import ConfigError
from recipe.files import CONSOLE, LOCK, lock
from recipe.machine import limits
from recipe.machine.restarts import COMMAND, identity
from recipe.plan.compose import Plan
from recipe.sweep import machine
from recipe.sweep.jobs import Job, trainings, with_short_titles
from recipe.sweep.promote import shortened, verdicts

DATA = ("data=synthetic", "data.size=128")
CORES = sorted(os.sched_getaffinity(0))


def job(plan: Callable[..., Plan], folder: Path, *overrides: str) -> Job:
    planned = plan(*overrides, *DATA)
    return Job(overrides, replace(planned, folder=folder / planned.name / f"seed={planned.config.seed}"))


def names(groups: list[list[Job]]) -> list[list[str]]:
    return [[each.overrides[0].removeprefix("+recipe=") for each in group] for group in groups]


def test_rungs_that_differ_in_evaluation_alone_follow_the_last_that_averages(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    rungs = ("r08_weight_decay_tuning", "r09_fixres", "r10_ema", "r11_inference_resize", "r12_repeated_augmentation")
    groups = trainings([job(plan, tmp_path, f"+recipe={rung}") for rung in rungs])
    assert names(groups) == [[rungs[0]], ["r11_inference_resize", "r09_fixres", "r10_ema"], [rungs[4]]]


def test_averages_of_another_kind_are_trainings_of_their_own(plan: Callable[..., Plan], tmp_path: Path) -> None:
    jobs = [job(plan, tmp_path, "+recipe=r10_ema", f"ema.decay={decay}") for decay in (0.9, 0.99)]
    raw = job(plan, tmp_path, "+recipe=r09_fixres")
    assert trainings([raw, *jobs]) == [[jobs[0], raw], [jobs[1]]]


def test_seeds_and_repetitions(plan: Callable[..., Plan], tmp_path: Path) -> None:
    jobs = [job(plan, tmp_path, "+recipe=v1", f"seed={seed}") for seed in (0, 1, 1)]
    assert trainings(jobs) == [[jobs[0]], [jobs[2]]]  # the same job twice is one
    anew = [job(plan, tmp_path, f"+recipe={rung}", "resume=never") for rung in ("r09_fixres", "r10_ema")]
    assert trainings(anew) == [[anew[0]], [anew[1]]]  # each trains


def test_v1_and_its_rung_train_once(plan: Callable[..., Plan], tmp_path: Path) -> None:
    jobs = [job(plan, tmp_path, f"+recipe={rung}") for rung in ("r00_baseline", "v1")]
    assert trainings(jobs) == [[jobs[1], jobs[0]]]


@pytest.fixture
def finished(plan: Callable[..., Plan], tmp_path: Path) -> Job:
    done = job(plan, tmp_path, "+recipe=v1")
    done.folder.mkdir(parents=True)
    (done.folder / "config.yaml").write_text(stored_config.to_yaml(done.plan.config))
    result = {"training_hash": done.plan.training_hash, "result_hash": done.plan.result_hash, "acc1": 12.5}
    (done.folder / "result.json").write_text(json.dumps(result))
    return done


def test_a_run_of_another_folder_of_images_is_not_this_one(finished: Job) -> None:
    """Whether its result says where they were, or as in earlier versions only its config does."""
    path = finished.folder / "result.json"
    result = json.loads(path.read_text())
    assert finished.result() == result
    for root, same in ((None, True), ("/elsewhere", False)):
        path.write_text(json.dumps({**result, "data_root": root}))
        assert (finished.result() is not None) == same
    config = replace(finished.plan.config, data=replace(finished.plan.config.data, root="/elsewhere"))
    path.write_text(json.dumps(result))
    (finished.folder / "config.yaml").write_text(stored_config.to_yaml(config))
    assert finished.result() is None
    (finished.folder / "config.yaml").write_text("data: [")
    assert finished.result() is None


def test_resume_never_trains_what_this_sweep_has_not_finished(
    finished: Job, plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anew = job(plan, tmp_path, "+recipe=v1", "resume=never")
    assert anew.folder == finished.folder
    monkeypatch.setenv(COMMAND, "this sweep")
    assert anew.result() is None
    about = {"starts": [{"by": identity("this sweep")}]}
    (finished.folder / "environment.json").write_text(json.dumps(about))
    assert anew.result() is not None
    monkeypatch.setenv(COMMAND, "the same command again")
    assert anew.result() is None


def test_a_finished_job_is_known_by_its_result(finished: Job, plan: Callable[..., Plan], tmp_path: Path) -> None:
    assert finished.result() is not None
    other = Job((), replace(plan("+recipe=v1", "optimizer.lr=1", *DATA), folder=finished.folder))
    assert other.result() is None  # the folder holds another run: that run's process says so
    elsewhere = replace(finished.plan.config, data=replace(finished.plan.config.data, root="/elsewhere"))
    assert Job((), replace(finished.plan, config=elsewhere)).result() is None
    anew = replace(finished.plan, config=replace(finished.plan.config, resume="never"))
    assert Job((), anew).result() is None


@pytest.mark.parametrize("name", ["result.json", "config.yaml"])
def test_a_broken_folder_is_left_to_its_run(finished: Job, name: str) -> None:
    (finished.folder / name).write_text("{")
    assert finished.result() is None


def test_a_folder_in_which_a_process_trains(finished: Job) -> None:
    assert not finished.is_running()
    script = (
        "import sys, time; from pathlib import Path; from recipe.files import lock\n"
        "held = lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    import subprocess
    import sys

    with subprocess.Popen(
        [sys.executable, "-c", script, str(finished.folder / LOCK)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert finished.is_running()
        process.kill()
        process.wait()
    assert not finished.is_running()
    mine = lock(finished.folder / LOCK)
    assert mine is not None
    mine.close()


def test_progress_is_read_from_the_end_of_the_log(finished: Job) -> None:
    epochs = finished.plan.config.epochs
    assert finished.progress() == (0.0, {})
    rows = [{"step": n, "epoch": n // 100, "train/loss": 1 / (n + 1), "padding": "x" * 100} for n in range(1000)]
    text = "".join(f"{json.dumps(row)}\n" for row in rows) + json.dumps({"step": 1000, "epoch": 9, "val/acc1": None})
    (finished.folder / "metrics.jsonl").write_text(text + '\n{"step": 1001, "ep')  # being written
    share, figures = finished.progress()
    assert share == 10 / epochs  # evaluated, if without a figure
    assert figures["train/loss"] == 1 / 1000
    assert figures["step"] == 1000
    assert "val/acc1" not in figures


def test_last_lines(finished: Job) -> None:
    assert finished.last_lines() == []
    (finished.folder / CONSOLE).write_text("".join(f"line {n}\n\n" for n in range(9)))
    assert finished.last_lines(2) == ["line 7", "line 8"]


def test_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "memory", lambda: 2**50)
    gpus = [f"GPU-{number}" for number in range(8)]
    one_each = machine.shares(1, None, None, 100, gpus)
    assert [share.gpus for share in one_each] == [(name,) for name in gpus]
    assert [share.gpus for share in machine.shares(4, None, None, 100, gpus)] == [tuple(gpus[:4]), tuple(gpus[4:])]
    chosen = machine.shares(2, [5, 7, 1], None, 100, gpus)
    assert [share.gpus for share in chosen] == [("GPU-5", "GPU-7")]
    assert chosen[0].environment(2)["CUDA_VISIBLE_DEVICES"] == "GPU-5,GPU-7"
    assert len(machine.shares(1, None, 3, 100, gpus)) == 3
    assert len(machine.shares(1, None, None, 2, gpus)) == 2  # no more than there are trainings


@pytest.mark.parametrize(("per_job", "devices"), [(9, None), (2, [0]), (1, [8]), (1, [-1])])
def test_gpus_that_are_not_there_are_refused(per_job: int, devices: list[int] | None) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.launcher"):
        machine.shares(per_job, devices, None, 10, [f"{number}" for number in range(8)])


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(limits, "memory", lambda: 2**50)
    monkeypatch.setattr(limits, "cores", lambda: len(CORES))
    given = machine.shares(1, None, None, 100, [])
    assert len(given) == len(CORES)
    assert sorted(core for share in given for core in share.cores) == CORES
    assert given[0].environment(1) == {"OMP_NUM_THREADS": "1"}
    whole = machine.shares(1, None, 1, 100, [])
    assert [share.cores for share in whole] == [frozenset(CORES)]
    assert whole[0].environment(1) == {"OMP_NUM_THREADS": str(len(CORES))}
    eight = machine.Share((), frozenset(range(8)))
    assert eight.environment(2) == {"OMP_NUM_THREADS": "4"}
    assert machine.Share(("0", "1"), eight.cores).environment(2)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # the user's own choice
    assert eight.environment(2) == {"OMP_NUM_THREADS": "3"}
    assert len(machine.shares(10_000, None, None, 100, [])) == 1  # more processes than cores: one job at a time


def test_shortened_trainings_keep_their_proportions(plan: Callable[..., Plan]) -> None:
    whole = plan("+recipe=v2", "scale=demo", *DATA)
    short = plan(*shortened(("+recipe=v2", "scale=demo"), whole, 0.1), *DATA).config
    assert short.epochs == round(whole.config.epochs * 0.1)
    assert short.schedule.warmup_epochs == pytest.approx(whole.config.schedule.warmup_epochs * 0.1)
    assert short.optimizer.lr == whole.config.optimizer.lr
    literal = ("+recipe=v2", "scale=demo", "epochs=50")
    assert plan(*shortened(literal, plan(*literal, *DATA), 0.1), *DATA).config.epochs == 5


def test_what_hurts_is_told_from_what_is_open() -> None:
    found = {
        "first": {0: 70.0, 1: 70.4, 2: 69.8},
        "worse": {0: 60.1, 1: 60.3, 2: 60.0},
        "alike": {0: 70.9, 1: 69.5, 2: 70.1},
        "better": {0: 80.0, 1: 80.3, 2: 79.9},
        "one seed": {0: 50.0},
    }
    said = verdicts(found)
    assert said["worse"] == "hurts"
    assert said["better"] == "helps"
    assert said["alike"].startswith("unresolved")
    assert said["one seed"].startswith("unresolved")
    assert "first" not in said


def test_jobs_are_called_by_what_tells_them_apart(plan: Callable[..., Plan], tmp_path: Path) -> None:
    runs = [("+recipe=v1", "mix.mixup_alpha=0.2"), ("+recipe=v1", "seed=1"), ("+recipe=v2",)]
    jobs = with_short_titles([job(plan, tmp_path, *run) for run in runs])
    assert [each.title for each in jobs] == ["v1 mix.mixup_alpha=0.2 seed=0", "v1 seed=1", "v2 seed=0"]
    assert jobs[0].shared == {("data", "synthetic"), ("data.size", "128")}
