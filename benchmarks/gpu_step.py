"""The GPU tables of docs/PERFORMANCE.md: `python benchmarks/gpu_step.py [KEY=VALUE …]`, on one GPU in under 10 minutes.

v2's recipe in bf16, compiled, at 176 and 224 pixels in micro-batches of 128 and 256: what `recipe bench step` measures,
then what making a micro-batch ready costs beside the step; before all that, whether the policies' pixels are the CPU's.
Whatever was learned is printed and kept in --out at once: a call that is cut off loses only what it was at.
Without a GPU it runs too, and says nothing about one: give it small sizes.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torchvision.transforms.v2.functional as F

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recipe.commands.bench import baselines, step  # noqa: E402
from recipe.commands.bench.command import step_table  # noqa: E402
from recipe.commands.bench.runtime import without_auto  # noqa: E402
from recipe.commands.bench.step import StepFigures, Workload  # noqa: E402
from recipe.files import write_atomically  # noqa: E402
from recipe.ingredients.augment import erase  # noqa: E402
from recipe.ingredients.mix import MixDraw, mix  # noqa: E402
from recipe.ingredients.policies import POLICIES  # noqa: E402
from recipe.ingredients.policies_batched import apply_batched, pack  # noqa: E402
from recipe.machine import distributed  # noqa: E402
from recipe.plan import compose  # noqa: E402
from recipe.plan.compose import Plan  # noqa: E402
from recipe.randomness import Draws  # noqa: E402
from recipe.training.loop import as_input, prepare  # noqa: E402

LEAST_ROUNDS, REPEATS, IMAGES = 20, 20, 64


def main() -> None:
    """Measure workload by workload, the most important first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--crops", type=int, nargs="+", default=[176, 224])
    parser.add_argument("--micro-batches", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--steps", type=int, default=10, help="in a round")
    parser.add_argument("--seconds", type=float, default=520, help="no workload is begun, and no round, after that")
    parser.add_argument("--out", type=Path, default=Path("gpu_step.json"))
    given = parser.parse_args()
    begin = time.monotonic()
    plan = compose.plan_of(["+recipe=v2", "runtime=fast", *given.overrides])
    device = distributed.start(plan.config.runtime).device
    plan, _ = without_auto(plan, device)
    peak = step.peak_tflops(plan.config, device)
    rows: list[StepFigures] = []
    found: dict[str, Any] = step.about(device, peak)

    def tell(text: str) -> None:
        print(f"{time.monotonic() - begin:5.0f} s  {text}", flush=True)
        write_atomically(given.out, json.dumps({**found, "rows": step.as_json(rows, peak)}, indent=2) + "\n")

    found["different_pixels"] = different_pixels(device)
    tell(f"{found['device']}: values of the policies' pixels that are not the CPU's: {found['different_pixels']}")
    workloads = [Workload(crop, size) for size in given.micro_batches for crop in given.crops]
    for number, workload in enumerate(workloads):
        if number and time.monotonic() - begin > given.seconds:
            tell(f"{workload}: no time left")
            continue
        until = begin + given.seconds * (number + 1) / len(workloads)
        chosen = step.with_workload(plan, workload)
        with tempfile.TemporaryDirectory() as folder:
            made = step.baselines_of(chosen, device, Path(folder))
            step.measure(made, chosen.config, device, given.steps, rounds(until), rows, tell)
            found.setdefault("input", []).append({**workload._asdict(), **input_ms(chosen, device, Path(folder))})
        tell(f"making a micro-batch ready, ms of the device's and of the host's: {found['input'][-1]}")
        print("\n".join(step_table(rows, peak)), flush=True)


def rounds(until: float) -> Iterator[int]:
    """At least a few, then as many as there is time for."""
    number = 0
    while number < LEAST_ROUNDS or time.monotonic() < until:
        yield number
        number += 1


def input_ms(plan: Plan, device: torch.device, folder: Path) -> dict[str, tuple[float, float]]:
    """What each part of `prepare` takes alone, with nothing else on the device: until it is done, and for the host."""
    config = replace(plan.config, augment=replace(plan.config.augment, policy_on="device"))
    data = replace(config.data, name="synthetic", root=None, num_classes=baselines.CLASSES, workers=0, size=2**16)
    (folder / "input").mkdir()
    run = baselines.run_of(replace(plan, config=replace(config, data=data)), device, folder / "input")
    batch, t = baselines.micro_batch(run.config, 0, device), run.training
    pixels, labels, boxes = (part.to(device) for part in (batch.images, batch.labels, batch.erase))
    images = as_input(pixels, t.mean, t.std, run.config)
    how, half = run.config.resolution.interpolation, run.config.resolution.train_crop // 2
    parts: dict[str, Callable[[], object]] = {
        "all": lambda: prepare(t, batch, 0),
        "copy": lambda: batch.images.to(device, non_blocking=True),
        "policy": lambda: apply_batched(pixels, batch.codes, batch.magnitudes, how),
        "normalise": lambda: as_input(pixels, t.mean, t.std, run.config),
        "erase": lambda: erase(images, boxes),
        "mixup": lambda: mix(images, labels, baselines.CLASSES, MixDraw(0.7)),
        "cutmix": lambda: mix(images, labels, baselines.CLASSES, MixDraw(0.75, (0, half, 0, half))),
    }
    return {name: _ms(part, device) for name, part in parts.items()}


def _ms(part: Callable[[], object], device: torch.device) -> tuple[float, float]:
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    part()
    wait()
    begin = time.perf_counter()
    for _ in range(REPEATS):
        part()
    queued = time.perf_counter()
    wait()
    return tuple(round(1000 * (end - begin) / REPEATS, 3) for end in (time.perf_counter(), queued))  # type: ignore[return-value]


def different_pixels(device: torch.device) -> dict[str, int]:
    """Of IMAGES images, by policy and interpolation: values that the device makes otherwise than the CPU."""
    noise = torch.randint(0, 256, (IMAGES, 3, 176, 176), generator=torch.Generator().manual_seed(0))
    images = F.gaussian_blur(noise.to(torch.uint8), [9, 9])
    found = {}
    for policy in ("ta_wide", "ra", "imagenet"):
        for how in ("nearest", "bilinear", "bicubic"):
            codes, magnitudes = pack([POLICIES[policy](Draws(0, "policy", 0, place), 176) for place in range(IMAGES)])
            ours = apply_batched(images.to(device), codes, magnitudes, how).cpu()
            found[f"{policy}, {how}"] = int((ours != apply_batched(images, codes, magnitudes, how)).sum())
    return found


if __name__ == "__main__":
    main()
