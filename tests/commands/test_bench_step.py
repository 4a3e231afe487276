"""`recipe bench step` measures real training steps, ours the loop that trains: on a CPU at tiny sizes."""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_bench import bench, root  # noqa: F401 a fixture
from torch.optim.optimizer import register_optimizer_step_post_hook

from recipe.commands.bench import baselines, command, step
from recipe.commands.bench.command import step_table
from recipe.commands.bench.step import (
    BARE,
    OURS,
    OURS_DEVICE,
    PHOTOS,
    REFERENCE,
    TIMM,
    TIMM_COMPILED,
    TIMM_GRAPHS,
    StepFigures,
    Workload,
)
from recipe.config import ModelConfig
from recipe.data.loader import AHEAD
from recipe.errors import ConfigError
from recipe.plan.compose import Plan
from recipe.run.trainer import Trainer
from recipe.training.loop import train_one_epoch

CPU = torch.device("cpu")
TINY = ["+recipe=v2", "model.source=timm", "model.name=test_resnet", "runtime.device=cpu", "data.workers=0"]
QUICK = ["--steps", "2", "--rounds", "2", "--crop", "32", "--micro-batch", "4"]


def test_every_baseline_is_measured_and_kept(root: Path, tmp_path: Path) -> None:  # noqa: F811
    kept = tmp_path / "kept.json"
    done = bench(
        "step", *TINY, "data=imagefolder", f"data.root={root}", *QUICK, "--json", "--out", str(kept),
        "--peak-tflops", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found == json.loads(kept.read_text())
    assert (found["device"], found["peak_tflops"]) == ("cpu", 2)
    assert (found["torch"], found["cudnn"], found["cudnn_benchmark"]) == (torch.__version__, None, True)
    assert [row["name"] for row in found["rows"]] == [BARE, OURS, TIMM, REFERENCE, OURS_DEVICE, PHOTOS]
    for row in found["rows"]:
        assert (row["crop"], row["micro_batch"], len(row["rates"])) == (32, 4, 2)
        assert min(row["rates"]) <= row["images_per_second"] <= max(row["rates"])
        assert row["step_ms"] == pytest.approx(4000 / row["images_per_second"])
        assert row["tflops"] == pytest.approx(row["flops"] / row["step_ms"] * 1000 / 1e12)
        assert row["share_of_peak"] == pytest.approx(row["tflops"] / 2)
        assert row["first_seconds"] > 0
        assert row["in_turn"] == (row["minus_bare_ms"] is not None) == (row["name"] != PHOTOS)
        assert row["minus_bare_ms"] == sorted(row["minus_bare_ms"] or []) or not row["in_turn"]


def test_baseline_that_cannot_be_taken_here_is_named_and_the_others_go_on(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    composed = step.with_workload(plan("+recipe=v1", *TINY[1:]), Workload(32, 4))
    unknown = replace(composed.config, model=ModelConfig("alexnet"))  # torchvision has it, timm does not
    making = {TIMM: lambda: baselines.timm_style(unknown, CPU), BARE: step.baselines_of(composed, CPU, tmp_path)[BARE]}
    rows: list[StepFigures] = []
    step.measure(making, composed.config, CPU, 1, range(1), rows, lambda _: None)
    assert [(row.name, bool(row.failed), len(row.rates)) for row in rows] == [(TIMM, True, 0), (BARE, False, 1)]
    assert "alexnet" in rows[0].failed
    lines = list(step_table(rows, None))
    assert "| 32 px x 4 | timm's way | left out: " in lines[2]
    assert {line.count("|") for line in lines} == {11}


def test_table_compares_with_the_limit_round_by_round() -> None:
    limit, ours = (
        StepFigures(name, 176, 128, 3e12, 60.0, rates, peak_bytes=10**10)
        for name, rates in ((BARE, [1000.0, 100.0, 2000.0]), (OURS, [800.0, 90.0, 1900.0]))
    )
    unmeasured = StepFigures(TIMM, 176, 128, 3e12, 60.0)
    lines = list(step_table([limit, ours, unmeasured], peak=100.0))
    assert len(lines) == 4
    # 128 images at 800 a second take 0.16 s: 3e12 operations in that time are 18.75 TFLOP/s
    # beyond the bare step's 128, 1,280 and 64 ms: 32, 142.2 and 3.4
    beyond = "+32.00 (+17.68 to +87.11)"
    assert lines[3] == f"| 176 px x 128 | recipe-ladder | 800 | 90.0% | 160.0 | {beyond} | 10.0 | 18.8 | 19% | 60 |"
    assert {line.count("|") for line in lines} == {11}


def test_rounds_that_took_no_turns_are_compared_by_their_medians() -> None:
    limit = StepFigures(BARE, 176, 128, 3e12, 60.0, [1000.0, 100.0, 2000.0])
    photos = StepFigures(PHOTOS, 176, 128, 3e12, 60.0, [500.0, 500.0, 400.0], in_turn=False)
    assert photos.times(limit) == 0.5
    assert photos.minus(limit) is None
    assert "| 500 | 50.0% | 256.0 |  |" in list(step_table([limit, photos], None))[3]


def test_operations_are_those_of_the_papers(plan: Callable[..., Plan]) -> None:
    """ResNet-50 at 224: 4.09 billion multiplications with an addition (torchvision's table); a training pass is three
    times that, but for the first layer's gradient of its input, which nobody needs.
    """
    config = step.with_workload(plan("+recipe=v1"), Workload(224, 8)).config
    assert step.flops_of(config) == pytest.approx(3 * 2 * 4.09e9 - 2 * 0.118e9, rel=0.01)


@pytest.mark.parametrize("policy_on", ["host", "device"])
def test_our_baseline_is_the_loop_that_trains(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy_on: str
) -> None:
    """Its weights are those of train_one_epoch on the same micro-batches; each step counts its images."""
    composed = step.with_workload(plan(*TINY, f"augment.policy_on={policy_on}"), Workload(32, 4))
    (tmp_path / "one").mkdir()
    taken = baselines.run_of(synthetic(composed), CPU, tmp_path / "one")
    steps = [(number, [baselines.micro_batch(taken.config, number % baselines.DIFFERENT, CPU)]) for number in range(5)]
    taken.training.loader.epoch = lambda *_: iter([(n, iter(b)) for n, b in steps])  # type: ignore[method-assign]
    taken.training.meter.start_epoch(0, taken.training.loader)
    train_one_epoch(taken.training, 0)
    (tmp_path / "two").mkdir()
    runs: list[Trainer] = []

    def kept(*given: Any) -> Trainer:
        runs.append(run_of(*given))
        return runs[-1]

    run_of = baselines.run_of
    monkeypatch.setattr(baselines, "run_of", kept)
    baseline = baselines.ours(composed, CPU, tmp_path / "two")
    assert baseline(5) == 5 * 4
    for one, other in zip(taken.training.network.parameters(), runs[0].training.network.parameters(), strict=True):
        assert torch.equal(one, other)
    buffers = dict(runs[0].training.network.named_buffers())
    counts = [int(value) for name, value in buffers.items() if name.endswith("num_batches_tracked")]
    assert counts  # batch norm's statistics were put back after each micro-batch
    assert set(counts) == {0}
    assert len({batch.codes.shape[1] for _, (batch,) in steps}) == 1
    assert steps[0][1][0].codes.shape[1] == (policy_on == "device")


def synthetic(composed: Plan) -> Plan:
    data = replace(
        composed.config.data, name="synthetic", root=None, num_classes=baselines.CLASSES, workers=0, size=2**16
    )
    return replace(composed, config=replace(composed.config, data=data))


def test_every_baseline_updates_every_parameter_at_every_step_and_stays_finite(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    composed = step.with_workload(plan(*TINY, "optimizer.lr=1e30"), Workload(32, 4))
    optimizers: list[torch.optim.Optimizer] = []
    handle = register_optimizer_step_post_hook(lambda optimizer, *_: optimizers.append(optimizer))
    try:
        for name, make in step.baselines_of(composed, CPU, tmp_path).items():
            optimizers.clear()
            baseline = make()
            assert baseline(3) == 12, name
            assert len(optimizers) == 3, name
            parameters = [p for group in optimizers[0].param_groups for p in group["params"]]
            assert sum(p.numel() for p in parameters) > 300_000, name
            assert all(optimizers[0].state[p] for p in parameters), name  # momentum: each had a gradient
            assert all(p.isfinite().all() for p in parameters), name
    finally:
        handle.remove()


def test_kernels_are_chosen_as_in_training_before_anything_has_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bare step is made first."""
    seen = []
    bare = baselines.bare

    def noted(*given: Any) -> Any:
        seen.append(torch.backends.cudnn.benchmark)
        return bare(*given)

    monkeypatch.setattr(baselines, "bare", noted)
    for deterministic in (False, True):
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic)
        overrides = [*TINY, f"runtime.deterministic={deterministic}"]
        given = [*overrides, "--steps", "2", "--rounds", "1", "--crop", "32", "--micro-batch", "2", "--json"]
        parser = argparse.ArgumentParser()
        command.add_to(parser.add_subparsers())
        arguments = parser.parse_args(["bench", "step", *given])
        arguments.run(arguments)
    torch.use_deterministic_algorithms(False)
    assert seen == [True, False]


def test_timms_way_has_each_mode_of_the_device(
    plan: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[str | None] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _, mode=None: modes.append(mode))
    eager = plan(*TINY)
    compiled = replace(eager, config=replace(eager.config, runtime=replace(eager.config.runtime, compile=True)))
    for device, composed, names in (
        ("cpu", eager, [TIMM]),
        ("cpu", compiled, [TIMM, TIMM_COMPILED]),
        ("cuda", eager, [TIMM, TIMM_GRAPHS]),
        ("cuda", compiled, [TIMM, TIMM_COMPILED, TIMM_GRAPHS]),
    ):
        made = step.baselines_of(composed, torch.device(device), tmp_path)
        assert [name for name in made if name.startswith(TIMM)] == names
    for mode in (None, "default", "reduce-overhead"):
        baselines.timm_style(step.with_workload(eager, Workload(32, 4)).config, CPU, mode)
    assert modes == ["default", "reduce-overhead"]


def on_photos(plan: Callable[..., Plan], root: Path, folder: Path, size: int, workers: int) -> baselines.OnPhotos:  # noqa: F811
    overrides = ["data=imagefolder", f"data.root={root}", f"data.workers={workers}"]
    composed = step.with_workload(plan(*TINY[:-1], *overrides), Workload(32, size))
    folder.mkdir()
    return baselines.OnPhotos(composed, CPU, folder)


def test_photos_are_taken_in_whole_micro_batches(plan: Callable[..., Plan], root: Path, tmp_path: Path) -> None:  # noqa: F811
    """Of 40 photos the third step of an epoch has 8."""
    baseline = on_photos(plan, root, tmp_path / "run", 16, 0)
    assert baseline(5) == 5 * 16
    with pytest.raises(ConfigError, match="40 images are fewer than a micro-batch of 64: take --micro-batch 40"):
        on_photos(plan, root, tmp_path / "other", 64, 0)


@pytest.mark.slow
def test_what_was_loaded_ahead_is_gone_before_photos_are_timed_without_pauses(
    plan: Callable[..., Plan],
    root: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    done: list[str] = []

    class Noted(baselines.OnPhotos):
        def __call__(self, steps: int) -> int:
            done.append(f"photos {steps}")
            return super().__call__(steps)

        def discard_loaded(self) -> None:
            first, _ = next(self._steps)
            super().discard_loaded()
            done.append(f"{next(self._steps)[0] - first - 1} discarded")

    def bare(steps: int) -> int:
        done.append(f"bare {steps}")
        return 4 * steps

    overrides = ["data=imagefolder", f"data.root={root}", "data.workers=1"]
    composed = step.with_workload(plan(*TINY[:-1], *overrides), Workload(32, 2))
    (tmp_path / "run").mkdir()
    rows: list[StepFigures] = []
    making: dict[str, Callable[[], baselines.Baseline]] = {
        PHOTOS: lambda: Noted(composed, CPU, tmp_path / "run"),
        BARE: lambda: bare,
    }
    step.measure(making, composed.config, CPU, 2, range(3), rows, lambda _: None)
    assert done[2:] == [*["bare 2"] * 3, f"{AHEAD} discarded", f"photos {step.UNTIMED}", *["photos 2"] * 3]
    assert [(row.name, row.in_turn, len(row.rates)) for row in rows] == [(PHOTOS, False, 3), (BARE, True, 3)]


def test_another_way_begins_each_round(plan: Callable[..., Plan], tmp_path: Path) -> None:
    done = ""

    def way(name: str) -> Callable[[], Callable[[int], int]]:
        def take(steps: int) -> int:
            nonlocal done
            done += name
            return steps

        return lambda: take

    composed = step.with_workload(plan(*TINY), Workload(32, 4))
    step.measure({name: way(name) for name in "abc"}, composed.config, CPU, 1, range(4), [], lambda _: None)
    assert done == "abc" + "abc" + "bca" + "cab" + "abc"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+recipe=v2", "--micro-batch", "1"], "--crop and --micro-batch: 1 is too few"),
        (["+recipe=v2", "--rounds", "0"], "--rounds: 0 is too few"),
        (["+recpie=v2"], "recpie"),
        ([*TINY, "runtime.compile_mode=max-autotune"], "add runtime.compile=true"),
    ],
)
def test_error_is_one_message(arguments: list[str], message: str) -> None:
    done = bench("step", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
