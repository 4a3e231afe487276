"""A run that is asked to stop before its first step is done ends within seconds, and the same command begins again."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from processes import assert_same_ending, children, ended, imports_torch, rank_of, started, when

from recipe.machine.signals import STOPPED

SOON = 5.0  # seconds
RUN = (
    *("+recipe=r00_baseline", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "epochs=1", "data.workers=1"),
    *("log.images=false", "checkpoint.keep_after_training=true", "runtime.compile=true"),
)
NOTHING = "Stopped before its first step: nothing was trained yet. The same command begins again."
Process = subprocess.Popen[str]


@pytest.fixture(autouse=True)
def nothing_compiled_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))


def begun(folder: Path, processes: int = 0) -> Process:
    return started(folder.parent, *RUN, f"hydra.run.dir={folder}", processes=processes)


def below(process: Process, program: str) -> int:
    """How many processes below this one have a word in their command lines."""
    lines = []
    for pid in children(process):
        with suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return sum(program.encode() in line for line in lines)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def asked_to_stop(process: Process, pid: int, number: int = signal.SIGTERM) -> str:
    """Send a signal; what was said on standard error, once the command and all that it had started have ended."""
    everyone, begin = [process.pid, *children(process)], time.monotonic()
    os.kill(pid, number)
    while left := [one for one in everyone if alive(one)]:
        assert time.monotonic() - begin < SOON, left
        time.sleep(0.02)
    return ended(process).stderr


def stop_while_it_compiles(folder: Path, *, processes: int = 0, number: int = signal.SIGTERM) -> str:
    """A run of one process, or all ranks of one of torchrun, once there is a C++ compiler at work for each."""
    process = begun(folder, processes)
    when(lambda: below(process, "cc1plus") >= max(1, processes), process)
    said = asked_to_stop(process, process.pid, number)
    assert processes or process.returncode == STOPPED
    assert said.count(NOTHING) == 1
    assert not (folder / "checkpoints").exists()
    return said


def test_a_run_that_has_begun_to_compile_ends_with_all_that_it_has_started(tmp_path: Path) -> None:
    """While PyTorch is imported, and as it begins to compile."""
    process = begun(tmp_path / "run")
    when(lambda: imports_torch(process), process)
    said = asked_to_stop(process, process.pid)
    assert (process.returncode, said.splitlines()[-1]) == (STOPPED, NOTHING)
    process, log = begun(tmp_path / "run"), tmp_path / "run" / "train.log"
    when(lambda: log.exists() and f"kept for later starts in {tmp_path / 'cache'}" in log.read_text(), process)
    time.sleep(2)
    said = asked_to_stop(process, process.pid)
    assert process.returncode == STOPPED
    assert said.splitlines()[-1] == NOTHING
    assert "Traceback" not in said
    assert (tmp_path / "run" / "config.yaml").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_stopped_while_it_compiled_it_begins_again_and_ends_as_the_whole_one(tmp_path: Path, processes: int) -> None:
    folder, whole = tmp_path / "run", tmp_path / "whole"
    stop_while_it_compiles(folder, processes=processes)
    if not processes:
        stop_while_it_compiles(folder, number=signal.SIGINT)
    for path in (folder, whole):
        done = ended(begun(path, processes), timeout=900)
        assert done.returncode == 0, done.stderr
    assert_same_ending(whole, folder)


@pytest.mark.slow
def test_a_rank_that_is_asked_alone_while_it_compiles_ends_all(tmp_path: Path) -> None:
    process = begun(tmp_path / "run", processes=2)
    when(lambda: below(process, "cc1plus") >= 2, process)
    (rank_1,) = (pid for pid in children(process) if rank_of(pid) == 1)
    assert asked_to_stop(process, rank_1).count(NOTHING) == 1
