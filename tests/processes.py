"""Real commands in real processes, and what two runs must have in common."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipe.plan.compose import PROJECT

TIMEOUT = 240  # seconds, for any one command
os.environ.setdefault("RECIPE_DEVICE", "cpu")  # as in conftest.py, for scripts that are no tests
OF_THE_CLOCK = ("train/images_per_second", "train/data_wait", "seconds", "device_seconds")


def started(
    outputs: Path,
    *arguments: str,
    processes: int = 0,
    cwd: Path = PROJECT,
    torchrun: tuple[str, ...] = (),
    in_child: Callable[[], None] | None = None,
) -> subprocess.Popen[str]:
    """train.py with arguments, by torchrun where `processes` is given, in a process group of its own."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", *torchrun]
    return subprocess.Popen(
        [sys.executable, *(launcher if processes else []), str(PROJECT / "train.py"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "RECIPE_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=in_child or hangups_count,
    )


def hangups_count() -> None:
    """The tests themselves may run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def ended(process: subprocess.Popen[str], timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    """What a started command comes to."""
    with process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGTERM)  # torchrun ends its ranks, which have sessions of their own
            process.wait(60)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def when(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is so; fails where the process ends before."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def killed(process: subprocess.Popen[str]) -> None:
    """SIGKILL to all of it."""
    for pid in [process.pid, *children(process)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def imports_torch(process: "subprocess.Popen[str]") -> bool:
    return "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text()


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a process has started, and those that they have."""
    found, new = [], [process.pid]
    while new:
        born = []
        with suppress(FileNotFoundError, ProcessLookupError):  # ended meanwhile
            for file in Path(f"/proc/{new.pop()}/task").glob("*/children"):
                born += [int(pid) for pid in file.read_text().split()]
        found += born
        new += born
    return found


def rank_of(pid: int) -> int | None:
    """A process's rank among those of torchrun; None where it has none or is a data worker of one."""
    environment = dict(line.split("=", 1) for line in _environment(pid) if "=" in line)
    parent = Path(f"/proc/{pid}/stat").read_text().split()[3]
    if "RANK" not in environment or any(line.startswith("RANK=") for line in _environment(int(parent))):
        return None
    return int(environment["RANK"])


def _environment(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def steps_logged(folder: Path) -> int:
    """The last step that metrics.jsonl has, or 0."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    return max((row["step"] for row in whole), default=0)


def without_clock(value: Any) -> Any:
    """The same without what differs between any two runs."""
    if isinstance(value, dict):
        return {key: without_clock(item) for key, item in value.items() if key not in OF_THE_CLOCK}
    return [without_clock(item) for item in value] if isinstance(value, list) else value


def assert_same_ending(one: Path, other: Path) -> None:
    """Weights, all else in the last checkpoint, figures, curves and predictions are equal to the last bit."""
    weights = [(run / "checkpoints" / "model.safetensors").read_bytes() for run in (one, other)]
    assert weights[0] == weights[1]
    for name in ("last.pt", "best.pt", "raw.pt"):  # the first with checkpoint.keep_after_training=true
        there = [(run / "checkpoints" / name).exists() for run in (one, other)]
        assert there[0] == there[1], name
        if not all(there):
            continue
        states = [torch.load(run / "checkpoints" / name, weights_only=True) for run in (one, other)]
        for state in states:
            state.pop("metrics_bytes", None)
            del state["checksum"]
        assert_equal(without_clock(states[0]), without_clock(states[1]))
    rows = [without_clock(metrics(run)) for run in (one, other)]
    assert rows[0] == rows[1]
    results = [without_clock(json.loads((run / "result.json").read_text())) for run in (one, other)]
    assert results[0] == results[1]
    predictions = [np.load(run / "predictions.npz") for run in (one, other)]
    for name in ("index", "label", "logits"):
        assert np.array_equal(predictions[0][name], predictions[1][name])
    assert curves(one) == curves(other)


def assert_equal(one: Any, other: Any, where: str = "") -> None:
    """Nested dicts and lists of tensors and plain values are the same, to the last bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal(a, b, f"{where}/{number}")
    else:
        assert one == other, where


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: (step, value) by name."""
    board = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    board.Reload()
    names = [name for name in board.Tags()["scalars"] if name not in OF_THE_CLOCK]
    return {name: [(event.step, event.value) for event in board.Scalars(name)] for name in sorted(names)}
