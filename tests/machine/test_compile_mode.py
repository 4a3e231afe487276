"""What runtime.compile_mode=auto chooses, as a dry run for machines that are not at hand; and what this one has."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipe.config import RuntimeConfig
from recipe.machine import compilers
from recipe.machine.compile_mode import CompileMode, as_asked, chosen, describe, is_auto, most_cautious
from recipe.machine.compilers import Compilers

FAST = RuntimeConfig(precision="bf16", compile=True, compile_mode="auto")
H100 = Compilers("cuda", (9, 0), triton=True, compiler=True, headers=True)
CPU = Compilers("cpu", triton=True, compiler=True, headers=True)


def test_a_gpu_with_all_that_is_needed_replays_graphs() -> None:
    found = chosen(FAST, H100)
    assert describe(found) == "CUDA graphs: the fastest on a GPU"
    assert found.applied(FAST) == replace(FAST, compile=True, compile_mode="reduce-overhead")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(H100, capability=(6, 1)), "too old for Triton (capability 6.1, from 7.0 on)"),
        (replace(H100, capability=None), "AMD's GPUs"),
        (replace(H100, triton=False), "pip install triton"),
        (replace(H100, compiler=False), "no gcc or clang to compile with, and $CC names no other"),
        (replace(H100, headers=False), "Python.h is not there"),
        (replace(H100, failure=lambda: "InductorError: a cache that is not writable"), "a cache that is not writable"),
        (Compilers("mps", headers=True), "never tried on Apple's GPU"),
        (CPU, "on CPUs compiled networks are no faster"),
        (replace(CPU, native_bf16=False), "no instructions for bf16: runtime=default may be faster"),
    ],
)
def test_what_a_machine_lacks_is_told_and_eager_does_without(found: Compilers, words: str) -> None:
    mode = chosen(FAST, found)
    assert mode.mode == "eager"
    assert words in describe(mode)
    assert mode.applied(FAST) == RuntimeConfig(precision="bf16")


def test_what_a_run_asks_for_may_leave_no_graphs() -> None:
    assert "every process" in chosen(replace(FAST, deterministic=True), H100).reason
    assert "sync_batch_norm=true" in chosen(FAST, H100, synchronised=True).reason
    assert "bf16" not in chosen(replace(FAST, precision="fp32"), replace(CPU, native_bf16=False)).reason


def test_nothing_is_compiled_to_find_out_what_is_known_already() -> None:
    def asked() -> str:
        raise AssertionError("asked")

    for found in (replace(H100, triton=False, failure=asked), replace(CPU, failure=asked)):
        assert chosen(FAST, found).mode == "eager"
    with pytest.raises(AssertionError, match="asked"):
        chosen(FAST, replace(H100, failure=asked))


@pytest.mark.parametrize("earlier", ["eager", "default", "reduce-overhead"])
def test_a_run_keeps_the_mode_that_it_began_in(earlier: str) -> None:
    assert chosen(FAST, H100, earlier=earlier) == CompileMode(earlier, "as this run began")


def test_a_run_goes_on_eager_where_its_mode_cannot_be_had() -> None:
    on_cpu = chosen(FAST, CPU, earlier="reduce-overhead")
    assert describe(on_cpu) == "eager: this run began with CUDA graphs, and goes on without: CUDA graphs need a GPU"
    assert chosen(FAST, CPU, earlier="default").mode == "default"  # as fast was, up to 0.2
    assert "no g++" in chosen(FAST, replace(CPU, compiler=False), earlier="default").reason


def test_ranks_take_what_all_can() -> None:
    graphs, old = chosen(FAST, H100), chosen(FAST, replace(H100, capability=(6, 1)))
    assert most_cautious([graphs, old, graphs]) == old
    assert most_cautious([graphs, graphs]) == graphs


def test_without_auto_nobody_asks_the_machine() -> None:
    assert [is_auto(config) for config in (FAST, replace(FAST, compile=False), RuntimeConfig())] == [True, False, False]
    for mode in ("default", "reduce-overhead", "max-autotune"):
        asked = replace(FAST, compile_mode=mode)
        assert as_asked(asked).applied(asked) == asked
    assert as_asked(RuntimeConfig()).applied(RuntimeConfig()) == RuntimeConfig()


def test_compilers_are_looked_for_where_pytorch_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    assert not compilers.compilers(cpu).compiler
    program(tmp_path / "g++")
    assert compilers.compilers(cpu).compiler
    monkeypatch.setenv("CXX", "another --fast")
    assert not compilers.compilers(cpu).compiler
    program(tmp_path / "another")
    assert compilers.compilers(cpu).compiler


def program(path: Path) -> None:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)


@pytest.mark.slow
def test_a_compiler_that_does_not_work_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    program(tmp_path / "broken")
    found: Callable[[], str | None] = compilers.compilers(torch.device("cpu")).failure
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, str(tmp_path / "absent")))
    assert "No working C++ compiler" in str(found())
