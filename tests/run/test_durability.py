"""No fault loses more than the work since the last save, and none changes the result. Real processes, real signals."""

import json
import os
import random
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from processes import assert_same_ending, children, curves, ended, killed, metrics, rank_of, started, steps_logged, when

from recipe import stored_config
from recipe.data.order import make_order
from recipe.machine.signals import STOPPED, WORKER_GRACE

# Everything that draws or averages is on: TrivialAugment, erasing, mixup, cutmix, repeated augmentation, warm-up, EMA.
# 5 epochs of 4 steps at 12 px; the log's entries (every 3 steps) do not fall on the ends of saves or epochs.
RUN = (
    *("+recipe=v2", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false"),
    *("data=synthetic", "data.size=256", "batch_size=64", "micro_batch_size=16", "epochs=5", "evaluate.every=2"),
    *("ema.decay=0.9999999", "log.every_steps=3", "checkpoint.keep_after_training=true"),
)
STEPS = 20
EACH_STEP = "checkpoint.every_minutes=0.00001"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    return undisturbed(tmp_path_factory.mktemp("whole"), 0)


@pytest.fixture(scope="module")
def whole_of_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on two ranks."""
    return undisturbed(tmp_path_factory.mktemp("whole"), 2)


def undisturbed(folder: Path, processes: int) -> Path:
    done = ended(started(folder, *RUN, f"hydra.run.dir={folder / 'run'}", "data.workers=1", processes=processes))
    assert done.returncode == 0, done.stderr
    return folder / "run"


def begin(folder: Path, *more: str, processes: int = 0, torchrun: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    arguments = (*RUN, f"hydra.run.dir={folder}", "data.workers=2", *more)
    return started(folder.parent, *arguments, processes=processes, torchrun=torchrun)


def stopped(folder: Path) -> Path:
    """The checkpoint of a run that was asked to stop on its way."""
    process = begin(folder, EACH_STEP)
    when(lambda: steps_logged(folder) >= 6, process)
    os.kill(process.pid, signal.SIGTERM)
    ended(process)
    return folder / "checkpoints" / "last.pt"


def go_on(folder: Path, *more: str, processes: int = 0) -> str:
    """The same command again, to the end. Other workers: they change nothing."""
    arguments = (*RUN, f"hydra.run.dir={folder}", "data.workers=0", *more)
    done = ended(started(folder.parent, *arguments, processes=processes))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGTERM, id="SIGTERM"),
        pytest.param(signal.SIGHUP, id="SIGHUP"),
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


def ignoring_hangups() -> None:
    """As nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_nohup_is_kept(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = (*RUN, f"hydra.run.dir={folder}", "data.workers=2")
    process = started(tmp_path, *arguments, in_child=ignoring_hangups)
    when(lambda: steps_logged(folder) >= 3, process)
    os.killpg(process.pid, signal.SIGHUP)
    done = ended(process)
    assert done.returncode == 0, done.stderr
    assert_same_ending(whole, folder)


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


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_checkpoint_is_told_and_the_one_before_used(whole: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "run"
    last = stopped(folder)
    content = last.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]
    last.write_bytes(content[:middle] if damage == "cut" else flipped)
    assert f"{last} is not whole" in go_on(folder).replace("\n             ", " ")
    assert_same_ending(whole, folder)


@pytest.mark.slow
def test_full_disk_leaves_the_last_checkpoint_and_says_so(whole: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk's: the same error from the same call."""
    folder = tmp_path / "run"
    last = stopped(folder)
    before = last.read_bytes()

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    arguments = (*RUN, f"hydra.run.dir={folder}", "data.workers=0")
    done = ended(started(folder.parent, *arguments, in_child=small_files))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "next.pt: File too large. What was saved before is whole" in done.stderr
    assert last.read_bytes() == before
    assert not list((folder / "checkpoints").glob(".*"))
    go_on(folder)
    assert_same_ending(whole, folder)


def test_second_run_in_a_folder_is_refused_and_the_first_unharmed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = begin(folder, "epochs=200")
    when(lambda: steps_logged(folder) >= 3, first)
    for more in ((), ("resume=never",)):
        second = ended(begin(folder, "epochs=200", *more))
        assert second.returncode == 2
        assert f"process {first.pid} on" in second.stderr
        assert f"is training in {folder}" in second.stderr
    os.kill(first.pid, signal.SIGTERM)
    assert ended(first).returncode == STOPPED
    steps = [step for step, _ in curves(folder)["train/loss"]]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_lock_dies_with_its_process_though_its_data_workers_live_on(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = begin(folder, EACH_STEP)
    when(lambda: steps_logged(folder) >= 6, process)
    workers = children(process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert any(Path(f"/proc/{pid}").exists() for pid in workers)
    go_on(folder)
    assert_same_ending(whole, folder)


def test_dead_data_worker_is_named_and_nothing_hangs(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = begin(folder, EACH_STEP)
    when(lambda: steps_logged(folder) >= 6, process)
    worker = children(process)[0]
    killed_at = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    done = ended(process)
    assert time.monotonic() - killed_at < WORKER_GRACE / 2  # it does not wait for the others either
    assert done.returncode == 2
    assert str(worker) in done.stderr
    assert "a process that loads data has died" in done.stderr
    assert "data.workers" in done.stderr
    assert "Traceback" not in done.stderr
    go_on(folder)
    assert_same_ending(whole, folder)


@pytest.mark.parametrize("processes", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_gradient_that_is_not_finite_stops_all_ranks_and_names_the_images(tmp_path: Path, processes: int) -> None:
    folder = tmp_path / "run"
    wild = ("optimizer.lr=1e20", "schedule.warmup_epochs=0", EACH_STEP)
    done = ended(begin(folder, *wild, processes=processes))
    assert done.returncode == (1 if processes else 2)
    assert done.stderr.count("is not finite. The last checkpoint stays") == 1
    assert "Traceback (most recent call last)" not in done.stderr or processes  # torchrun's own
    about = json.loads((folder / "not_finite.json").read_text())
    assert f"the gradient of step {about['step']} is not finite" in done.stderr
    assert 2 <= about["step"] <= 4
    assert len(about["images"]) == len(about["indices"]) == 64
    assert about["images"] == [f"train/{index}" for index in about["indices"]]
    order = make_order(stored_config.load(folder / "config.yaml"), 256)
    positions = order.step_positions(about["step"] - 1)
    assert about["indices"] == order.images(0)[positions].tolist()
    if processes:  # they agree on a save at the end of the step after the wish: too late here
        return
    state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    assert state["progress"]["step"] == about["step"] - 1
    assert all(weight.isfinite().all() for weight in state["model"].values())
