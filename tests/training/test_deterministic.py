"""runtime.deterministic: what it must set, and when."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from recipe.config import RuntimeConfig
from recipe.data import dataset as datasets
from recipe.data.order import make_order
from recipe.machine import distributed
from recipe.machine.signals import StopSignal
from recipe.network.model import make_model
from recipe.plan.compose import Plan
from recipe.run.resume import resume

SMALL = ["+recipe=v1", "data=synthetic", "data.num_classes=10", "data.workers=0", "model.source=timm",
         "model.name=test_resnet", "runtime.device=cpu"]  # fmt: skip


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is put back
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.benchmark = before[1]


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.usefixtures("settings")
def test_joining_the_run_sets_the_workspace_of_cublas(wanted: bool) -> None:
    """It is read when cuBLAS starts, and a run joins before anything else."""
    distributed.start(RuntimeConfig(device="cpu", deterministic=wanted))
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG") == (":4096:8" if wanted else None)


@pytest.mark.usefixtures("settings")
def test_the_users_own_workspace_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    distributed.start(RuntimeConfig(device="cpu", deterministic=True))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.usefixtures("settings")
def test_kernels_are_tried_by_the_clock_only_where_that_may_change_digits(
    plan: Callable[..., Plan], tmp_path: Path, wanted: bool
) -> None:
    composed = plan(*SMALL, f"runtime.deterministic={wanted}".lower())
    train_set, val_set = datasets.load(composed.config.data)
    order, network = make_order(composed.config, len(train_set)), make_model(composed.config, 10)
    ranks = distributed.start(composed.config.runtime)
    run = resume(replace(composed, folder=tmp_path), ranks, (train_set, val_set), order, network, StopSignal())
    assert torch.are_deterministic_algorithms_enabled() == wanted
    assert torch.backends.cudnn.benchmark == (not wanted)
    run.close()
