"""Compiled training is the same training, but for rounding; what it leaves behind knows nothing of it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gpus import needs_gpus, real_gpus
from processes import ended, started
from torch import Tensor, nn
from torch._dynamo.utils import counters

from recipe.data import dataset as datasets
from recipe.data.order import make_order
from recipe.machine.distributed import Ranks
from recipe.machine.signals import StopSignal
from recipe.plan.compose import PROJECT, Plan
from recipe.run.checkpoint import load_tensors, on_host
from recipe.run.progress import restore, state_of
from recipe.run.resume import resume
from recipe.run.trainer import Trainer
from recipe.training.loop import train_one_epoch

# 48 images: a step of 32 in micro-batches of 8, and a short one of 16 in 4 each.
SMALL = ["data=synthetic", "data.num_classes=10", "data.size=48", "data.workers=0", "batch_size=32",
         "micro_batch_size=8", "resolution.train_crop=16", "resolution.val_resize=20", "resolution.val_crop=16",
         "schedule.warmup_epochs=0", "sampler.repetitions=1", "optimizer.lr=0.05", "log.images=false"]  # fmt: skip
COMPILED = "runtime.compile=true"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # of the compiler's own


def tiny_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        return nn.Sequential(body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)).double()


def run_of(plan: Callable[..., Plan], folder: Path, device: torch.device, *more: str) -> Trainer:
    folder.mkdir()
    composed = plan("+recipe=v2", *SMALL, "runtime.precision=fp64", "ema.steps=1", *more)
    train_set, val_set = datasets.load(composed.config.data)
    order = make_order(composed.config, len(train_set))
    ranks = Ranks(0, 1, 0, 1, device)
    return resume(replace(composed, folder=folder), ranks, (train_set, val_set), order, tiny_network(), StopSignal())


def train_epoch(run: Trainer, epoch: int) -> dict[str, Tensor]:
    """The weights, their averages and all statistics after it."""
    run.training.meter.start_epoch(epoch, run.training.loader)
    train_one_epoch(run.training, epoch)
    assert run.training.ema.model is not None
    models = {"raw": run.training.network, "ema": run.training.ema.model}
    states = {f"{which} {name}": t for which, model in models.items() for name, t in model.state_dict().items()}
    return {name: tensor.detach().cpu().clone() for name, tensor in states.items()}


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert list(one) == list(other)
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


@pytest.mark.parametrize("mode", [pytest.param("default", marks=pytest.mark.slow), "reduce-overhead"])
def test_compiled_training_equals_eager(plan: Callable[..., Plan], tmp_path: Path, mode: str) -> None:
    """In double precision: weights, averages, running statistics, figures; and so it does from the other's checkpoint.

    On a CPU reduce-overhead replays nothing, but adds the gradients up as on a GPU.
    """
    if mode != "default" and torch.cuda.is_available() and not real_gpus():
        pytest.skip("PyTorch itself asks a pretended GPU for its graphs")
    compare(plan, tmp_path, torch.device("cpu"), mode)


@needs_gpus()
@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune"])
def test_compiled_training_equals_eager_on_a_gpu(plan: Callable[..., Plan], tmp_path: Path, mode: str) -> None:
    """Several micro-batches add up their gradients although each replay writes them to the same place."""
    compare(plan, tmp_path, torch.device("cuda", 0), mode)


def compare(plan: Callable[..., Plan], folder: Path, device: torch.device, mode: str) -> None:
    eager = run_of(plan, folder / "eager", device)
    compiled = run_of(plan, folder / "compiled", device, COMPILED, f"runtime.compile_mode={mode}")
    assert compiled.training.sums.kept == (mode != "default")  # a replay would overwrite the gradients before it
    first = train_epoch(eager, 0)
    torch.compiler.reset()
    counters.clear()
    weights = {name.removeprefix("raw "): tensor for name, tensor in first.items() if name.startswith("raw ")}
    assert difference(weights, tiny_network().state_dict()) > 1e-3
    assert difference(train_epoch(compiled, 0), first) < 1e-9
    assert counters["stats"]["unique_graphs"] == 2  # micro-batches of 8 and of 4, each as a whole
    expected = eager.validate(0)
    for which, found in compiled.validate(0).items():
        assert found.figures() == pytest.approx(expected[which].figures(), rel=1e-9)
    assert all(p.grad is None for p in compiled.training.parameters)  # none lies where the next replay writes

    states = [on_host(state_of(run.training, run.progress, {}, 0)) for run in (eager, compiled)]
    train_epoch(eager, 1)
    train_epoch(compiled, 1)
    for run, state in zip((compiled, eager), states, strict=True):
        restore(state, run.training)
    second = train_epoch(eager, 1)
    assert difference(second, first) > 1e-3
    assert difference(train_epoch(compiled, 1), second) < 1e-9
    eager.close()
    compiled.close()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_compiled_run_says_so_and_leaves_what_any_run_leaves(tmp_path: Path, processes: int) -> None:
    import timm

    model = ["model.source=timm", "model.name=test_resnet", "resolution.train_crop=32"]
    kept = "checkpoint.keep_after_training=true"
    arguments = ["+recipe=v1", *SMALL, *model, "max_steps=1", COMPILED, kept, f"hydra.run.dir={tmp_path / 'run'}"]
    done = ended(started(tmp_path, *arguments, processes=processes), timeout=500)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("compile      default: the first step") == 1
    assert done.stdout.count("compiled     the first step was done after") == 1
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    state = load_tensors(tmp_path / "run" / "checkpoints" / "last.pt")
    assert list(state["model"]) == list(timm.create_model("test_resnet", num_classes=10).state_dict())
    again = [sys.executable, "-m", "recipe", "evaluate", str(tmp_path / "run")]
    evaluated = subprocess.run(again, cwd=PROJECT, capture_output=True, text=True, timeout=240, check=True)
    assert f"{result['acc1']:.2f}" in evaluated.stdout
