"""The benchmark of a step's parts, on a CPU at a tiny size: each part that it leaves out is still one of a step's."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipe.plan.compose import PROJECT

TINY = "--modes eager --crop 32 --micro-batch 2 --steps 1 --rounds 1 model.name=resnet18 runtime.precision=fp32"


@pytest.mark.slow
def test_each_part_is_timed_and_both_steps_are_profiled(tmp_path: Path) -> None:
    command = [sys.executable, str(PROJECT / "benchmarks" / "step_parts.py"), *TINY.split(), "runtime.device=cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    times = json.loads((tmp_path / "step_parts.json").read_text())["eager"]
    assert {"bare step", "ours", "without prepare", "without EMA", "without all of these"} < set(times)
    assert all(figures["ms"] >= figures["host_ms"] > 0 for figures in times.values())
    for name, part in (
        ("bare_cpu", "aten::convolution"),
        ("ours_cpu", "aten::convolution"),
        ("python", "train_one_epoch"),
    ):
        assert part in (tmp_path / f"step_parts_eager_{name}.txt").read_text()
