"""`recipe bench loader`, `step` and `runtime`: what this machine loads and trains, beside other pipelines."""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe.errors import ConfigError
from recipe.files import write_atomically
from recipe.plan import compose

if TYPE_CHECKING:
    from recipe.commands.bench.loader import LoaderMeasurement
    from recipe.commands.bench.step import StepFigures
    from recipe.config import Config


def add_to(parsers: Any) -> None:
    """The commands' arguments."""
    parser = parsers.add_parser("bench", help="throughput of this machine", description="Throughput of this machine.")
    of = parser.add_subparsers(required=True, metavar="WHAT")
    loader = of.add_parser(
        "loader",
        help="loading images: our pipeline, torchvision's reference and timm's",
        description="Load a folder's images with our pipeline, torchvision's reference and timm's, in turn, and print "
        "how many each loads for a second of one core, what ours spends its time on, and how many cores a training "
        "needs.",
        epilog="Example: recipe bench loader +recipe=v2 data=imagenet data.root=/data/imagenet --rate 2500",
    )
    loader.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as train.py takes them: +recipe=v2 …")
    loader.add_argument("--seconds", type=float, default=120, metavar="N", help="how long to measure (120)")
    loader.add_argument("--images", type=int, default=2048, metavar="N", help="in a round, about (2048)")
    loader.add_argument("--rate", type=float, metavar="N", help="images per second that the training shall take")
    loader.add_argument("--json", action="store_true", help="for machines: one JSON object on stdout")
    loader.set_defaults(run=run_loader)
    step = of.add_parser(
        "step",
        help="training steps: ours, the bare step, timm's and torchvision's reference's way",
        description="Train on images in memory with our loop, the bare step (the limit), timm's way and torchvision's "
        "reference's way, in turn, and print images/s, what a step takes beyond the bare one, memory and what share of "
        "the device's peak that is. With data.root=FOLDER also our loop on photos. Nothing is saved.",
        epilog="Example: recipe bench step +recipe=v2 runtime=fast --crop 176 224 --micro-batch 128 256",
    )
    step.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as train.py takes them: +recipe=v2 …")
    step.add_argument("--crop", type=int, nargs="+", metavar="N", help="training crops in pixels (the recipe's)")
    step.add_argument("--micro-batch", type=int, nargs="+", metavar="N", help="images of a step (the recipe's)")
    step.add_argument("--steps", type=int, default=10, metavar="N", help="in a round (10)")
    step.add_argument("--rounds", type=int, default=20, metavar="N", help="of each way, in turn (20)")
    step.add_argument("--peak-tflops", type=float, metavar="N", help="of the device in this precision; else if known")
    step.add_argument("--out", type=Path, metavar="FILE", help="keep the figures here as JSON, after every round")
    step.add_argument("--json", action="store_true", help="for machines: one JSON object on stdout")
    step.set_defaults(run=run_step)
    runtime = of.add_parser(
        "runtime",
        help="how a recipe trains fastest here: eager, compiled, CUDA graphs, fp32, bf16",
        description="Train on images in memory with all that `runtime` may say, in turn, and print images/s, how they "
        "compare, and what gives the fastest. Precisions are different experiments. Nothing is saved.",
        epilog="Example: recipe bench runtime +recipe=v2 --seconds 60",
    )
    runtime.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as train.py takes them: +recipe=v2 …")
    runtime.add_argument("--seconds", type=float, default=60, metavar="N", help="for each, beside compiling it (60)")
    runtime.add_argument("--json", action="store_true", help="for machines: one JSON object on stdout")
    runtime.set_defaults(run=run_runtime)


def run_loader(arguments: argparse.Namespace) -> None:
    """Measure and print. Raises ConfigError and DataError."""
    for name in ("seconds", "images", "rate"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            raise ConfigError(f"--{name} takes a number above 0, not {value:g}")
    config = compose.plan_of(arguments.overrides).config

    from recipe.commands.bench import loader  # PyTorch, once the overrides are known to be right
    from recipe.data.region import state
    from recipe.machine.limits import cores

    images = loader.image_files(config)
    terminal = sys.stderr.isatty()

    def tell(text: str) -> None:
        if terminal:
            print(f"\r{text}", end="", file=sys.stderr, flush=True)

    with loader.cached(config, images) as ours:
        rounds, stages = loader.pipelines_of(config, ours, arguments.images), loader.stages_of(config, ours)
        measured = loader.measure(rounds, stages, arguments.seconds, tell)
    if terminal:
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
    if arguments.json:
        about = {"machine": _machine(), "cores": cores(), "jpeg": state(), "data": str(images.root)}
        print(json.dumps({**about, **loader.as_json(measured)}, indent=2))
    else:
        print("\n".join(table(config, measured, arguments.rate)))


def run_step(arguments: argparse.Namespace) -> None:
    """Measure and print. Raises ConfigError, DataError and RunError."""
    sizes = [*(arguments.crop or []), *(arguments.micro_batch or [])]
    for name, values in (
        ("crop and --micro-batch", sizes),
        ("steps", [arguments.steps]),
        ("rounds", [arguments.rounds]),
    ):
        if any(value < 2 - (name == "rounds") for value in values):
            raise ConfigError(f"--{name}: {min(values)} is too few")
    plan = compose.plan_of(arguments.overrides)

    import torch  # once the overrides are known to be right

    from recipe.commands.bench import step
    from recipe.commands.bench.runtime import without_auto
    from recipe.machine import distributed  # PyTorch, once the overrides are known to be right
    from recipe.machine.compile_mode import describe

    device = distributed.start(plan.config.runtime).device
    plan, mode = without_auto(plan, device)
    if mode is not None and not arguments.json:
        print(f"runtime.compile_mode=auto: {describe(mode)}", file=sys.stderr)
    peak = arguments.peak_tflops or step.peak_tflops(plan.config, device)
    rows: list[step.StepFigures] = []

    def tell(text: str) -> None:
        if not arguments.json:
            print(text, file=sys.stderr, flush=True)
        if arguments.out is not None:
            found = {**step.about(device, peak), "rows": step.as_json(rows, peak)}
            write_atomically(arguments.out, json.dumps(found, indent=2) + "\n")

    crops = arguments.crop or [plan.config.resolution.train_crop]
    workloads = [(crop, size) for size in arguments.micro_batch or [plan.config.micro_batch_size] for crop in crops]
    for crop, size in workloads:
        with tempfile.TemporaryDirectory() as folder:
            chosen = step.with_workload(plan, step.Workload(crop, size))
            making = step.baselines_of(chosen, device, Path(folder))
            step.measure(making, chosen.config, device, arguments.steps, range(arguments.rounds), rows, tell)
    if arguments.json:
        print(json.dumps({**step.about(device, peak), "rows": step.as_json(rows, peak)}))
    else:
        by = "trying them (benchmark)" if torch.backends.cudnn.benchmark else "its own rules"
        cudnn = f"cuDNN chooses kernels by {by}" if device.type == "cuda" else "no cuDNN"
        print(f"{step.device_name(device)}, {plan.config.model.name}, {plan.config.runtime.precision}; {cudnn}")
        print(f"{arguments.rounds} rounds of {arguments.steps} steps")
        print("\n".join(step_table(rows, peak)))


def run_runtime(arguments: argparse.Namespace) -> None:
    """Measure and print. Raises ConfigError, DataError and RunError."""
    if not arguments.seconds > 0:
        raise ConfigError(f"--seconds takes a number above 0, not {arguments.seconds:g}")
    plan = compose.plan_of(arguments.overrides)

    from recipe.commands.bench import runtime, step  # PyTorch, once the overrides are known to be right
    from recipe.machine import distributed

    device = distributed.start(plan.config.runtime).device

    def tell(text: str) -> None:
        if not arguments.json:
            print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        rows = runtime.measure(plan, device, Path(folder), arguments.seconds, tell)
    config, name = plan.config, step.device_name(device)
    if arguments.json:
        print(json.dumps({"device": name, "rows": runtime.as_json(rows)}))
    else:
        size = f"{config.resolution.train_crop} px x {config.micro_batch_size}"
        print("\n".join([f"{name}, {config.model.name}, {size}", *runtime.table(rows)]))


def step_table(rows: "list[StepFigures]", peak: float | None) -> Iterator[str]:
    """The figures for people, in Markdown."""
    from recipe.commands.bench.step import bare_of

    columns = ["crop, micro-batch", "way", "images/s", "of the limit", "step, ms", "minus bare, ms (quartiles)"]
    columns += ["memory, GB", "TFLOP/s", "of peak", "first, s"]
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for row in rows:
        if row.failed:
            yield f"| {row.crop} px x {row.micro_batch} | {row.name} | left out: {row.failed[:60]} |{' |' * 7}"
        if not row.rates:
            continue
        limit = bare_of(row, rows)
        beyond = row.minus(limit) if limit is not None and limit is not row else None
        cells = [
            f"{row.crop} px x {row.micro_batch}",
            row.name,
            f"{row.images_per_second():,.0f}",
            f"{row.times(limit):.1%}" if limit is not None else "",
            f"{1000 * row.step_seconds():.1f}",
            "{1:+.2f} ({0:+.2f} to {2:+.2f})".format(*beyond) if beyond is not None else "",
            f"{row.peak_bytes / 1e9:.1f}" if row.peak_bytes is not None else "",
            f"{row.tflops():.3g}",
            f"{row.tflops() / peak:.0%}" if peak is not None else "",
            f"{row.first_seconds:.0f}",
        ]
        yield f"| {' | '.join(cells)} |"


def table(config: "Config", measured: "LoaderMeasurement", rate: float | None) -> Iterator[str]:
    """The figures for people: at most 80 columns."""
    from recipe.commands.bench.loader import OURS, REFERENCE, TIMM
    from recipe.data.region import state
    from recipe.machine.limits import cores

    sizes, augment = config.resolution, config.augment
    rounds = len(measured.rows[0].rates)
    yield f"{_machine()}, {cores()} cores; {rounds} rounds in {measured.seconds:.0f} s"
    yield f"train {sizes.train_crop} px, policy {augment.policy}; validate {sizes.val_crop} of {sizes.val_resize} px"
    yield f"JPEG regions: {state()}"
    for during in ("training", "evaluation"):
        yield ""
        yield f"{during + ', images/s of a core':44} {'median':>6} {'quartiles':>14} {'x ref.':>6} {'x timm':>6}"
        for row in measured.rows:
            if row.during == during:
                reference, timm = (measured.row(name, during) for name in (REFERENCE, TIMM))
                low, _, high = statistics.quantiles(row.rates, n=4)
                ratios = [f"{row.times(other):.2f}" if other else "" for other in (reference, timm)]
                quartiles = f"{low:,.0f} to {high:,.0f}"
                yield f"{row.name:44} {row.median():6,.0f} {quartiles:>14} {ratios[0]:>6} {ratios[1]:>6}"
    yield ""
    yield f"cores for {rate or 1000:,.0f} images/s in training{'' if rate else ' (--rate N)'}"
    for row in measured.rows:
        if row.during == "training":
            yield f"{row.name:44} {(rate or 1000) / row.median():6.1f}"
    yield ""
    yield f"{OURS}, policy on the host: ms for an image"
    for name, seconds in measured.stages.items():
        yield f"{name:44} {seconds * 1000:6.2f}"


def _machine() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or os.name
