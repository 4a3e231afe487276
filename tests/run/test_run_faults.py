"""Damaged checkpoints, a full disk, a second run, dead workers, infinite gradients: named, and no result is changed."""

import json
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch
from durable_runs import EACH_STEP, RUN, begin, go_on, stopped, undisturbed
from processes import assert_same_ending, children, curves, ended, started, steps_logged, when

from recipe import stored_config
from recipe.data.order import make_order
from recipe.machine.signals import STOPPED, WORKER_GRACE


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    return undisturbed(tmp_path_factory.mktemp("whole"), 0)


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
