"""Signals while a run evaluates: they take effect before the next batch, and the evaluation is repeated."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from durable_runs import begin, go_on
from processes import assert_same_ending, children, ended, metrics, rank_of, steps_logged, when

from recipe.machine.signals import STOPPED

pytestmark = pytest.mark.slow
# One image a batch: an evaluation takes seconds. Epochs 2, 4 and 5 are evaluated, and the end at two more sizes.
EVALUATED = (
    "evaluate.batch_size=1",
    "evaluate.grid=[{weights: raw, val_resize: 16, val_crop: 14}, {weights: ema, val_resize: 20, val_crop: 18}]",
)


@pytest.fixture(scope="module", params=[0, 2])
def processes(request: pytest.FixtureRequest) -> int:
    """Ranks under torchrun; 0: without it."""
    number: int = request.param
    return number


@pytest.fixture(scope="module")
def whole(processes: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to, on as many ranks."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    go_on(folder, *EVALUATED, processes=processes)
    return folder


def second_epoch_trained(run: Path) -> bool:
    return steps_logged(run) >= 8


def last_epoch_evaluated(run: Path) -> bool:
    return steps_logged(run) >= 20 and any("val/acc1" in row and row["step"] == 20 for row in metrics(run))


def waited_for_a_core(pid: int) -> float:
    """Seconds in which a process's main thread could have gone on, and others had the cores: a busy machine's delay."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


@pytest.mark.parametrize(
    ("moment", "where"),
    [(second_epoch_trained, "in the evaluation after epoch 2"), (last_epoch_evaluated, "in the evaluations after")],
)
def test_run_stopped_in_an_evaluation_ends_as_the_whole_one(
    processes: int, whole: Path, tmp_path: Path, moment: Callable[[Path], bool], where: str
) -> None:
    run = tmp_path / "run"
    process = begin(run, *EVALUATED, processes=processes)
    when(lambda: moment(run), process)
    time.sleep(0.3)  # now it evaluates
    rank = next(pid for pid in [process.pid, *children(process)] if not processes or rank_of(pid) == 0)
    asked, waited = time.monotonic(), waited_for_a_core(rank)
    os.killpg(process.pid, signal.SIGTERM)
    when(lambda: f"Stopped {where}" in (run / "train.log").read_text(), process)
    seconds = time.monotonic() - asked - (waited_for_a_core(rank) - waited)
    done = ended(process)
    assert done.returncode == (STOPPED if not processes else 1), done.stderr
    assert seconds < 5
    go_on(run, *EVALUATED, processes=processes)
    assert_same_ending(whole, run)
