"""What a machine has for compiled networks: asked once a run, before it is decided how to train."""

import os
import shutil
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

# Programs that PyTorch and Triton look for, and the environment variable that may name another, by device.
PROGRAMS = {"cuda": ("CC", "gcc", "clang"), "cpu": ("CXX", "g++")}


@dataclass(frozen=True)
class Compilers:
    """What there is for compiled code on one device."""

    device: str  # cuda, mps or cpu
    capability: tuple[int, int] | None = None  # of an NVIDIA GPU
    triton: bool = False  # the package, which makes a GPU's kernels
    compiler: bool = False  # of C for what starts a GPU's kernels, of C++ for a CPU's kernels
    headers: bool = False  # Python.h, which what is compiled includes
    native_bf16: bool = True  # instructions for it, in place of several each
    failure: Callable[[], str | None] = lambda: None  # why not even a line compiles; asked last, it takes seconds


def compilers(device: torch.device) -> Compilers:
    """What PyTorch finds on this machine."""
    nvidia = device.type == "cuda" and torch.version.hip is None
    return Compilers(
        device=device.type,
        capability=torch.cuda.get_device_capability(device) if nvidia else None,
        triton=find_spec("triton") is not None,
        compiler=_has_compiler(device.type),
        headers=Path(sysconfig.get_paths()["include"], "Python.h").exists(),
        native_bf16=device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()),
        failure=lambda: failure_of_a_line(device),
    )


def failure_of_a_line(device: torch.device) -> str | None:
    """What PyTorch says where it cannot compile x + 1 for the device; None where it can."""
    try:
        torch.compile(_line, dynamic=False)(torch.ones(8, device=device))
    except Exception as error:  # of PyTorch, Triton, a compiler or the system: whatever it is, eager code needs none
        said = " ".join(str(error).split("Set TORCHDYNAMO_VERBOSE")[0].split())
        return f"{type(error).__name__}: {said[:160]}"
    return None


def _line(x: torch.Tensor) -> torch.Tensor:
    return x + 1


def _has_compiler(device: str) -> bool:
    if device not in PROGRAMS:
        return False
    variable, *programs = PROGRAMS[device]
    given = os.environ.get(variable, "").split()
    return any(shutil.which(name) for name in given[:1] or programs)
