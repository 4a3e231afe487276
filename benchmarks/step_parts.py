"""What each part of our step costs beyond the bare one: `python benchmarks/step_parts.py [KEY=VALUE …]`, best on a GPU.

v2's recipe in bf16, eager, compiled and in CUDA graphs. The parts are left out one at a time, in turn with the whole
step and the bare one (forward, backward, optimizer): what is then saved is what the part costs, in ms of the device's
and of the host's time (medians). Then profiles of both steps: kernels launched and waits for the device on the console,
tables of operations and of Python's functions beside --out.
Without a GPU it runs too, and says nothing about one; at a tiny size:
python benchmarks/step_parts.py --modes eager --crop 32 --micro-batch 2 --steps 2 --rounds 1 model.name=resnet18
runtime.device=cpu runtime.precision=fp32
"""

import argparse
import contextlib
import cProfile
import gc
import io
import json
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recipe.commands.bench import baselines, step  # noqa: E402
from recipe.files import write_atomically  # noqa: E402
from recipe.machine import distributed  # noqa: E402
from recipe.plan import compose  # noqa: E402
from recipe.training import loop  # noqa: E402

MODES = {
    "eager": {"compile": False},
    "compiled": {"compile": True, "compile_mode": "default"},
    "graphs": {"compile": True, "compile_mode": "reduce-overhead"},
}
LAUNCHES = {"cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx"}
WARM_UP, PROFILED, PYTHON_STEPS = 3, 3, 20  # steps
Take = Callable[[int], int]  # so many optimizer steps; how many images that were
Patch = tuple[object, str, Any]  # an object, its attribute, what stands in for it


def main() -> None:
    """Mode by mode; what was learned is kept in --out at once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--crop", type=int, default=176)
    parser.add_argument("--micro-batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=12, help="in a round")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=520, help="no mode is begun after that")
    parser.add_argument("--out", type=Path, default=Path("step_parts.json"))
    given = parser.parse_intermixed_args()
    begin = time.monotonic()
    plan = compose.plan_of(["+recipe=v2", "runtime=bf16", "optimizer.lr=0.001", *given.overrides])
    device = distributed.start(plan.config.runtime).device
    found: dict[str, Any] = step.about(device, None)
    for mode in given.modes:
        if time.monotonic() - begin > given.seconds:
            print(f"{mode}: no time left", flush=True)
            continue
        runtime = replace(plan.config.runtime, **MODES[mode])
        config = replace(
            plan.config,
            runtime=runtime,
            batch_size=given.micro_batch,
            micro_batch_size=given.micro_batch,
            resolution=replace(plan.config.resolution, train_crop=given.crop),
            sampler=replace(plan.config.sampler, repetitions=1),
        )
        chosen = replace(plan, config=config)
        with tempfile.TemporaryDirectory() as folder, runs_made() as runs:
            bare = baselines.bare(config, device)
            ours = baselines.ours(chosen, device, Path(folder))
            for take in (bare, ours):
                take(WARM_UP)
            found[mode] = by_leaving_out(bare, ours, runs[0], device, given.steps, given.rounds)
            for name, times in found[mode].items():
                print(f"{mode:9} {name:26} {times['ms']:8.2f} ms   host {times['host_ms']:8.2f} ms", flush=True)
            for name, take in (("bare", bare), ("ours", ours)):
                print(f"{mode:9} {name}: {operations(take, device, given.out, f'{mode}_{name}')}", flush=True)
            functions(ours, given.out.with_name(f"{given.out.stem}_{mode}_python.txt"))
        write_atomically(given.out, json.dumps(found, indent=2) + "\n")
        del bare, ours, take
        runs.clear()
        gc.collect()
        torch.compiler.reset()


@contextlib.contextmanager
def runs_made() -> Iterator[list[Any]]:
    """The runs that `baselines.run_of` builds meanwhile: `ours` does not hand out its own."""
    made: list[Any] = []
    real = baselines.run_of

    def kept(*arguments: Any) -> Any:
        made.append(real(*arguments))
        return made[-1]

    with patched([(baselines, "run_of", kept)]):
        yield made


def by_leaving_out(
    bare: Take, ours: Take, run: Any, device: torch.device, steps: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Times of a step in ms by what was left out: {"ms": until the device is done, "host_ms": until it is queued}."""
    variants = parts_of(run)
    times: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        times.setdefault("bare step", []).append(timed(bare, steps, device))
        for name, patches in variants.items():
            with patched(patches):
                ours(2)
                times.setdefault(name, []).append(timed(ours, steps, device))
    return {
        name: {
            "ms": round(statistics.median(whole for whole, _ in each), 3),
            "host_ms": round(statistics.median(host for _, host in each), 3),
        }
        for name, each in times.items()
    }


def parts_of(run: Any) -> dict[str, list[Patch]]:
    """What to put in the place of each part of a step, by name."""
    training = run.training
    real_prepare, ready = loop.prepare, []

    def prepared_once(*arguments: Any) -> Any:
        if not ready:
            ready.append(real_prepare(*arguments))
        return ready[0]

    parts: dict[str, list[Patch]] = {
        "without norm of gradients": [(loop, "clip_gradients", _nothing), (training.meter, "watch", _nothing)],
        "without prepare": [(loop, "prepare", prepared_once)],
        "without EMA": [(training.ema, "update", _nothing)],
        "without meter": [(training.meter, "add", _nothing), (training.meter, "step_done", _nothing)],
        "without reseeding": [(loop, "reseed_device", _nothing)],
        "without learning rate": [(loop, "set_rates", lambda *_: 0.001)],
        "without after_step": [(training, "after_step", _nothing)],
    }
    return {"ours": [], **parts, "without all of these": [patch for patches in parts.values() for patch in patches]}


def timed(take: Take, steps: int, device: torch.device) -> tuple[float, float]:
    """A step's time in ms until the device is done, and until the host has queued it."""
    wait(device)
    begin = time.perf_counter()
    take(steps)
    queued = time.perf_counter()
    wait(device)
    return 1000 * (time.perf_counter() - begin) / steps, 1000 * (queued - begin) / steps


def operations(take: Take, device: torch.device, out: Path, name: str) -> str:
    """A step's kernels, copies and waits for the device in words; writes tables of its operations beside `out`."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=kinds) as profiled:
        take(PROFILED)
        wait(device)
    events = profiled.key_averages()
    for where in ("cpu", "cuda")[: len(kinds)]:
        table = events.table(sort_by=f"self_{where}_time_total", row_limit=45, max_name_column_width=60)
        write_atomically(out.with_name(f"{out.stem}_{name}_{where}.txt"), table)
    launches = sum(event.count for event in events if event.key in LAUNCHES) / PROFILED
    copies = sum(event.count for event in events if "emcpy" in event.key) / PROFILED
    waits = {event.key: round(event.count / PROFILED, 1) for event in events if "ynchronize" in event.key}
    return f"{launches:.0f} kernels launched a step, {copies:.0f} copies, waits {waits or 'none'}"


def functions(take: Take, path: Path) -> None:
    """Write the time of Python's functions, by their own and by all that they call."""
    profiler = cProfile.Profile()
    profiler.runcall(take, PYTHON_STEPS)
    text = io.StringIO()
    for order in ("tottime", "cumulative"):
        pstats.Stats(profiler, stream=text).sort_stats(order).print_stats(50)
    write_atomically(path, text.getvalue())


@contextlib.contextmanager
def patched(patches: list[Patch]) -> Iterator[None]:
    """Other attributes meanwhile."""
    with contextlib.ExitStack() as stack:
        for owner, name, value in patches:
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield


def wait(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _nothing(*_: object, **__: object) -> None:
    pass


if __name__ == "__main__":
    main()
