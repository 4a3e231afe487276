"""`recipe bench runtime`: what it tries, on this machine and on others, and what it says is fastest."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from recipe.commands.bench import runtime
from recipe.commands.bench.runtime import Candidate, RuntimeFigures, candidates
from recipe.config import RuntimeConfig
from recipe.machine.compilers import Compilers
from recipe.plan import compose

H100 = Compilers("cuda", (9, 0), triton=True, compiler=True, headers=True)
CPU = Compilers("cpu", compiler=True, headers=True)
TINY = ["+recipe=v2", "model.source=timm", "model.name=test_resnet", "resolution.train_crop=32", "micro_batch_size=4"]


@pytest.mark.parametrize("found", [H100, CPU])
def test_what_each_is_given_by_is_what_was_tried(found: Compilers) -> None:
    for one in candidates(RuntimeConfig(), found):
        given = compose.plan_of(["+recipe=v2", *one.override.split()]).config.runtime
        if one.override == "runtime=fast":
            assert given.compile_mode == "auto"
            given = replace(given, compile=one.runtime.compile, compile_mode=one.runtime.compile_mode)
        assert given == one.runtime, one.name


def test_a_gpu_tries_graphs_and_fast_is_those() -> None:
    listed = {one.name: one for one in candidates(RuntimeConfig(), H100)}
    assert list(listed)[:4] == ["fp32, eager", "fp32, compiled", "fp32, CUDA graphs", "fp32, eager, not channels_last"]
    assert listed["bf16, CUDA graphs"].override == "runtime=fast"
    assert listed["bf16, CUDA graphs"].runtime.compile_mode == "reduce-overhead"
    assert not any(one.left_out for one in listed.values())
    old = {one.name: one for one in candidates(RuntimeConfig(), replace(H100, capability=(6, 1)))}
    assert "too old" in str(old["bf16, CUDA graphs"].left_out)
    assert old["bf16, eager"].override == "runtime=fast"


def test_the_fastest_is_named_and_ratios_are_medians_over_the_rounds() -> None:
    slow = RuntimeFigures(Candidate("fp32, eager", RuntimeConfig(), "runtime=default"), 1.0, [10, 10, 20])
    fast = RuntimeFigures(Candidate("bf16, eager", RuntimeConfig(), "runtime=fast"), 2.0, [30, 20, 20])
    absent = RuntimeFigures(Candidate("bf16, compiled", RuntimeConfig(), "runtime=x"), failed="no compiler")
    lines = list(runtime.table([slow, absent, fast]))
    assert "| bf16, eager | 20 | 2.00 | 2 | runtime=fast |" in lines
    assert "| bf16, compiled | left out: no compiler | | | |" in lines
    assert lines[-1] == "fastest here: bf16, eager, which is runtime=fast"


def test_this_machine_is_measured_and_what_it_lacks_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no compiler"))
    command = [sys.executable, "-m", "recipe", "bench", "runtime", *TINY, "--seconds", "0.5"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert {name for name, row in rows.items() if row["images_per_second"] is None} == {
        "fp32, compiled",
        "bf16, compiled",
    }
    assert "there is no g++" in rows["bf16, compiled"]["failed"]
    assert all(row["images_per_second"] > 0 for name, row in rows.items() if "compiled" not in name)
    refused = subprocess.run([*command[:-1], "0"], capture_output=True, text=True, timeout=240)
    assert "--seconds takes a number above 0, not 0" in refused.stderr
