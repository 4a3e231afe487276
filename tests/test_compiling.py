"""Compiled training is the same training, but for rounding; what it leaves behind knows nothing of it."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import ended, started
from torch import Tensor

from recipe.checkpoint import load_checkpoint
from recipe.compose import Plan
from recipe.data import dataset as datasets
from recipe.data.order import make_order
from recipe.distributed import Ranks
from recipe.loop import train_one_epoch
from recipe.model import make_model
from recipe.run import Run
from recipe.signals import StopSignal

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
# 52 images: a step of 32 in micro-batches of 8, and a short one of 20 in 5 each.
SMALL = ["data=synthetic", "data.num_classes=10", "data.size=52", "data.workers=0", "model.source=timm",
         "model.name=test_resnet", "batch_size=32", "micro_batch_size=8", "resolution.train_crop=32",
         "resolution.val_resize=36", "resolution.val_crop=32", "epochs=2", "schedule.warmup_epochs=0", "ema.steps=1",
         "sampler.repetitions=1", "optimizer.lr=0.01", "log.images=false"]  # fmt: skip
COMPILED = "runtime.compile=true"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # of the compiler's own


def trained(composed: Plan, folder: Path, epochs: int = 1) -> Run:
    folder.mkdir()
    train_set, val_set = datasets.load(composed.config.data)
    order = make_order(composed.config, len(train_set))
    network = make_model(composed.config, 10)
    run = Run(replace(composed, folder=folder), ALONE, (train_set, val_set), order, network, StopSignal())
    for epoch in range(epochs):
        run.training.meter.start_epoch(epoch, run.training.loader)
        train_one_epoch(run.training, epoch)
    return run


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert list(one) == list(other)
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_training_equals_eager(plan: Callable[..., Plan], tmp_path: Path, mode: str) -> None:
    """In double precision: weights, averages, running statistics, and figures of an evaluation.

    On a CPU, reduce-overhead replays nothing, but keeps its gradients' memory as on a GPU.
    """
    small = ["+recipe=v2", *SMALL, "runtime.precision=fp64"]
    eager = trained(plan(*small), tmp_path / "eager")
    compiled = trained(plan(*small, COMPILED, f"runtime.compile_mode={mode}"), tmp_path / "compiled")
    start = make_model(eager.config, 10).state_dict()
    assert difference(eager.training.network.state_dict(), start) > 1e-3
    assert difference(compiled.training.network.state_dict(), eager.training.network.state_dict()) < 1e-9
    assert compiled.training.ema.model is not None
    assert eager.training.ema.model is not None
    assert difference(compiled.training.ema.model.state_dict(), eager.training.ema.model.state_dict()) < 1e-9
    for weights, found in compiled.validate(0).items():
        assert found.figures() == pytest.approx(eager.validate(0)[weights].figures(), rel=1e-9)
    kept = [parameter.grad is not None for parameter in compiled.training.network.parameters()]
    assert set(kept) == {mode == "reduce-overhead"}
    eager.close()
    compiled.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead", "max-autotune"])
def test_compiled_training_equals_eager_on_a_gpu(plan: Callable[..., Plan], tmp_path: Path, mode: str) -> None:
    """Several micro-batches add up their gradients although each replay writes them to the same place."""
    device = torch.device("cuda", 0)
    states = []
    for name, wanted in (("eager", []), ("compiled", [COMPILED, f"runtime.compile_mode={mode}"])):
        composed = plan("+recipe=v2", *SMALL, "runtime.precision=fp64", *wanted)
        (tmp_path / name).mkdir()
        train_set, val_set = datasets.load(composed.config.data)
        order, network = make_order(composed.config, len(train_set)), make_model(composed.config, 10)
        ranks = replace(ALONE, device=device)
        composed = replace(composed, folder=tmp_path / name)
        run = Run(composed, ranks, (train_set, val_set), order, network, StopSignal())
        for epoch in range(2):
            run.train_epoch(epoch)
        states.append({name: tensor.cpu() for name, tensor in run.training.network.state_dict().items()})
        run.close()
    assert difference(*states) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("before", [True, False])
def test_run_goes_on_compiled_or_not(tmp_path: Path, before: bool) -> None:
    """A checkpoint is the same either way; what differs, and is refused, is the recorded experiment."""
    folder = tmp_path / "run"
    arguments = ["+recipe=v1", *SMALL, f"hydra.run.dir={folder}"]

    def command(compiled: bool, *more: str) -> subprocess.CompletedProcess[str]:
        done = ended(started(tmp_path, *arguments, f"runtime.compile={str(compiled).lower()}", *more), timeout=400)
        assert done.returncode == 0, done.stderr
        return done

    said = command(before).stdout
    assert ("compiled     the first step was done after" in said) == before
    assert ("compile      default: the first step" in said) == before
    state = load_checkpoint(folder / "checkpoints").state
    assert state is not None
    plain = make_model_keys()
    assert list(state["model"]) == plain
    assert 0 <= json.loads((folder / "result.json").read_text())["acc1"] <= 100


def make_model_keys() -> list[str]:
    import timm

    return list(timm.create_model("test_resnet", num_classes=10).state_dict())
