"""GPUs in tests: which are really there, and how a process is made to see none or more."""

import ctypes
import os
import subprocess
import sys
from functools import cache

import pytest

from recipe.plan.compose import PROJECT

COUNT = """
import ctypes
cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
found = cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
print(count.value if found else 0)
"""


@cache
def real_gpus() -> int:
    """GPUs that can compute, by the driver's own word: what PyTorch is made to say does not count.

    Asked in a process of its own, since a process that has begun to use the driver should not be forked.
    """
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, timeout=60)
    return int(done.stdout or 0)


def needs_gpus(count: int = 1) -> pytest.MarkDecorator:
    """Skips a test where there are fewer. Such a test says itself that it runs on them: all others run on the CPU."""
    return pytest.mark.skipif(real_gpus() < count, reason=f"needs {count} GPU{'s' * (count > 1)}")


def pretending(count: int) -> dict[str, str]:
    """The environment of a process in which PyTorch reports so many GPUs and `auto` means what it does for users."""
    folders = [str(PROJECT / "tests" / "pretended"), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(folder for folder in folders if folder)
    return {**os.environ, "PYTHONPATH": path, "PRETENDED_GPUS": str(count), "RECIPE_DEVICE": "auto"}
