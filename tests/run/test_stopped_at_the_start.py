"""A run that is asked to stop before its first step is done ends within seconds, and the same command begins again."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from durable_runs import begin, go_on, undisturbed
from processes import assert_same_ending, children, ended, rank_of, started, steps_logged, when

from recipe.machine.signals import STOPPED

SOON = 5.0  # seconds
COMPILED = (
    *("+recipe=r00_baseline", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5"),
    *("data=synthetic", "data.size=64", "batch_size=32", "micro_batch_size=16", "epochs=1", "data.workers=1"),
    *("log.images=false", "checkpoint.keep_after_training=true", "runtime.compile=true"),
)
NOTHING = "Stopped before its first step: nothing was trained yet. The same command begins again."


def compiles(process: "subprocess.Popen[str]", ranks: int = 1) -> bool:
    """Whether each of so many ranks has a C++ compiler at work somewhere below it."""
    return sum(_name(pid) == "cc1plus" for pid in children(process)) >= ranks


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stop(process: "subprocess.Popen[str]", asked: int, number: int = signal.SIGTERM) -> str:
    """Ask a process to stop; what the command has said on standard error, once it and all of its own have ended."""
    below = children(process)
    begin = time.monotonic()
    os.kill(asked, number)
    while any(alive(pid) for pid in [process.pid, *below]):
        assert time.monotonic() - begin < SOON + 1  # of torchrun, which looks and ends by itself
        time.sleep(0.02)
    return ended(process).stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_while_it_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    process = started(tmp_path, *COMPILED, f"hydra.run.dir={tmp_path / 'run'}")
    when(lambda: compiles(process), process)
    said = stop(process, process.pid, number)
    assert process.returncode == STOPPED
    assert said.strip().endswith(NOTHING)
    assert said.count("Stopped") == 1
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "checkpoints").exists()
