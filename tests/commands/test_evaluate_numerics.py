"""`recipe evaluate` computes as the run was trained: in the same determinism, with cuDNN's trials only without it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ended, started

RUN = (  # noqa: SIM905
    "+recipe=r00_baseline data=synthetic data.num_classes=3 data.size=24 data.workers=0 model.source=timm "
    "model.name=test_resnet resolution.train_crop=32 resolution.val_resize=32 resolution.val_crop=32 batch_size=8 "
    "micro_batch_size=8 epochs=1 log.images=false"
).split()
TELL = """
import atexit, os, sys, torch
from recipe.__main__ import main
backends = torch.backends
atexit.register(lambda: print("numerics", torch.are_deterministic_algorithms_enabled(), backends.cudnn.benchmark,
                              os.environ.get("CUBLAS_WORKSPACE_CONFIG"), backends.cuda.matmul.allow_tf32))
main()
"""


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["runtime.deterministic=true"], "numerics True False :4096:8 False"),
        pytest.param(["runtime.tf32=true"], "numerics False True None True", marks=pytest.mark.slow),
    ],
)
def test_evaluation_has_the_settings_of_the_training(tmp_path: Path, overrides: list[str], expected: str) -> None:
    folder = tmp_path / "run"
    assert ended(started(tmp_path, *RUN, *overrides, f"hydra.run.dir={folder}")).returncode == 0
    evaluate = [sys.executable, "-c", TELL, "evaluate", str(folder), "weights=raw"]
    env = {name: value for name, value in os.environ.items() if name != "CUBLAS_WORKSPACE_CONFIG"}  # of another test
    done = subprocess.run(evaluate, capture_output=True, text=True, timeout=240, env=env)
    assert expected in done.stdout, done.stdout + done.stderr
