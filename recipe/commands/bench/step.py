"""What a training step takes on this device: ours beside the limit and beside what others run, in turn."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from recipe.commands.bench import baselines
from recipe.commands.bench.baselines import Baseline, OnPhotos
from recipe.config import Config
from recipe.network.model import make_model
from recipe.plan.compose import Plan

BARE, OURS, OURS_DEVICE, PHOTOS = "bare step", "recipe-ladder", "recipe-ladder, device policy", "recipe-ladder, photos"
TIMM, TIMM_COMPILED, TIMM_GRAPHS = "timm's way", "timm's way, compiled", "timm's way, CUDA graphs"
REFERENCE = "torchvision's reference's way"
UNTIMED = 5  # steps on photos, after what was loaded ahead is gone
# Dense bf16 and fp16 TFLOP/s, from the makers' data sheets, by a part of the card's name; the first that fits.
PEAKS = {"H200": 989, "H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "A100": 312, "L40S": 362, "L4": 121}


class Workload(NamedTuple):
    """What is trained on."""

    crop: int  # pixels, square
    micro_batch: int  # images


@dataclass
class StepFigures:
    """One baseline's figures for one workload."""

    name: str
    crop: int
    micro_batch: int
    flops: float  # of a step's forward and backward pass
    first_seconds: float  # of the first steps: compiling, and trying kernels
    rates: list[float] = field(default_factory=list)  # images a second, round by round
    peak_bytes: int | None = None  # of the device's memory, weights included; None on a CPU
    in_turn: bool = True  # with the others; False: its rounds followed each other without a pause
    failed: str = ""  # why it could not be taken, here

    def images_per_second(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rates)

    def step_seconds(self) -> float:
        """Duration of a step."""
        return self.micro_batch / self.images_per_second()

    def tflops(self) -> float:
        """10¹² floating-point operations a second."""
        return self.flops / self.step_seconds() / 1e12

    def times(self, other: "StepFigures") -> float:
        """How many times as fast as another: the median over the rounds; where they took no turns, of the medians."""
        if not (self.in_turn and other.in_turn):
            return self.images_per_second() / other.images_per_second()
        return statistics.median(own / its for own, its in zip(self.rates, other.rates, strict=True))

    def minus(self, other: "StepFigures") -> tuple[float, float, float] | None:
        """A step's time less another's in ms: lower quartile, median and upper quartile over the rounds, in turn."""
        if not (self.in_turn and other.in_turn):
            return None
        differences = [
            1000 * self.micro_batch * (1 / own - 1 / its) for own, its in zip(self.rates, other.rates, strict=True)
        ]
        if len(differences) == 1:
            return differences[0], differences[0], differences[0]
        low, median, high = statistics.quantiles(differences, n=4, method="inclusive")
        return low, median, high


def peak_tflops(config: Config, device: torch.device) -> float | None:
    """What the card can do in the config's precision, where that is known."""
    if device.type != "cuda" or config.runtime.precision not in ("bf16", "fp16"):
        return None
    name = torch.cuda.get_device_name(device)
    return next((float(peak) for part, peak in PEAKS.items() if part in name), None)


def device_name(device: torch.device) -> str:
    """The card's name; of a processor only that it is one."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def flops_of(config: Config) -> float:
    """Multiplications and additions of convolutions and matrix products in one image's forward and backward pass."""
    network = deepcopy(make_model(config, baselines.CLASSES)).to("meta")
    size, dtype = config.resolution.train_crop, next(network.parameters()).dtype
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(2, 3, size, size, device="meta", dtype=dtype)).sum().backward()
    return counter.get_total_flops() / 2


def with_workload(plan: Plan, workload: Workload) -> Plan:
    """The plan on a workload: one micro-batch to a step, as on as many GPUs as a step has micro-batches."""
    config = plan.config
    changed = replace(
        config,
        batch_size=workload.micro_batch,
        micro_batch_size=workload.micro_batch,
        resolution=replace(config.resolution, train_crop=workload.crop),
        sampler=replace(config.sampler, repetitions=1),
        optimizer=replace(config.optimizer, lr=baselines.RATE),
    )
    return replace(plan, config=changed)


def about(device: torch.device, peak: float | None) -> dict[str, Any]:
    """What the figures belong to: card, versions, how cuDNN's kernels are chosen, and the card's peak in TFLOP/s."""
    return {
        "device": device_name(device),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "peak_tflops": peak,
    }


def baselines_of(plan: Plan, device: torch.device, folder: Path) -> dict[str, Callable[[], Baseline]]:
    """Functions that make each baseline ready, by name."""
    config, on_gpu = plan.config, device.type == "cuda"
    on_host, on_device = (
        replace(plan, config=replace(config, augment=replace(config.augment, policy_on=where)))
        for where in ("host", "device")
    )
    found = {
        BARE: lambda: baselines.bare(config, device),
        OURS: lambda: baselines.ours(on_host, device, _made(folder / "host")),
        TIMM: lambda: baselines.timm_style(config, device),
        **({TIMM_COMPILED: lambda: baselines.timm_style(config, device, "default")} if config.runtime.compile else {}),
        **({TIMM_GRAPHS: lambda: baselines.timm_style(config, device, "reduce-overhead")} if on_gpu else {}),
        REFERENCE: lambda: baselines.reference_style(config, device),
    }
    if config.augment.policy != "none":
        found[OURS_DEVICE] = lambda: baselines.ours(on_device, device, _made(folder / "device"))
    if config.data.root is not None:
        found[PHOTOS] = lambda: baselines.OnPhotos(plan, device, _made(folder / "photos"))
    return found


def measure(
    making: Mapping[str, Callable[[], Baseline]],
    config: Config,
    device: torch.device,
    steps: int,
    rounds: Iterable[int],
    rows: list[StepFigures],
    tell: Callable[[str], None],
) -> None:
    """Append a row for each baseline, and run them in turn; `tell` is called after whatever was learned.

    On photos the rounds follow each other when the others are done, after what was loaded ahead meanwhile is gone:
    while others take their turn, workers would load what is then found to be there at once.
    """
    workload = Workload(config.resolution.train_crop, config.micro_batch_size)
    flops = flops_of(config) * workload.micro_batch
    ready: list[tuple[StepFigures, Baseline, int]] = []
    for name, make in making.items():
        before, begin = _allocated(device), time.perf_counter()
        rows.append(StepFigures(name, *workload, flops, math.nan))
        try:
            baseline = make()
            own = _allocated(device) - before
            baseline(3)
            _wait(device)
        except (ImportError, RuntimeError) as error:  # no timm, no such model there, too little memory, no compiler
            rows[-1].failed = (str(error).strip().splitlines() or [type(error).__name__])[0]
            tell(f"{workload.crop} px x {workload.micro_batch}, {name}: left out, {rows[-1].failed}")
            continue
        rows[-1].first_seconds = time.perf_counter() - begin
        ready.append((rows[-1], baseline, own))
        tell(f"{workload.crop} px x {workload.micro_batch}, {name}: ready after {rows[-1].first_seconds:.1f} s")
    in_turn = [each for each in ready if not isinstance(each[1], OnPhotos)]
    done = 0
    for number in rounds:
        begins = number % max(1, len(in_turn))  # another each time: nobody always follows the same one
        for row, baseline, own in in_turn[begins:] + in_turn[:begins]:
            rate, beside = timed(baseline, steps, device)
            row.rates.append(rate)
            row.peak_bytes = None if beside is None else max(row.peak_bytes or 0, own + beside)
        done += 1
        tell(f"{workload.crop} px x {workload.micro_batch}, round {number + 1}")
    for row, baseline, own in ready:
        if isinstance(baseline, OnPhotos):
            baseline.discard_loaded()
            baseline(UNTIMED)
            row.in_turn = False
            row.rates, beside = timed_rounds(baseline, steps, device, done)
            row.peak_bytes = None if beside is None else own + beside
            tell(f"{workload.crop} px x {workload.micro_batch}, {row.name}: {done} rounds")
    ready.clear()
    in_turn.clear()
    gc.collect()
    torch.compiler.reset()  # it would keep the compiled networks, and compile no more than eight
    if device.type == "cuda":
        torch.cuda.empty_cache()


def timed(baseline: Baseline, steps: int, device: torch.device) -> tuple[float, int | None]:
    """Images a second, by the device's clock where it is a GPU; and the memory it took beside what was taken before."""
    (rate,), beside = timed_rounds(baseline, steps, device, 1)
    return rate, beside


def timed_rounds(baseline: Baseline, steps: int, device: torch.device, rounds: int) -> tuple[list[float], int | None]:
    """As `timed`, of rounds without a pause between them: the rate of each, and the memory of all."""
    if device.type != "cuda":
        rates = []
        for _ in range(rounds):
            begin = time.perf_counter()
            images = baseline(steps)
            rates.append(images / (time.perf_counter() - begin))
        return rates, None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before, taken = torch.cuda.memory_allocated(device), []
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    marks[0].record()
    for mark in marks[1:]:
        taken.append(baseline(steps))
        mark.record()
    torch.cuda.synchronize(device)
    beside = torch.cuda.max_memory_allocated(device) - before
    seconds = [begin.elapsed_time(end) / 1000 for begin, end in pairwise(marks)]
    return [images / each for images, each in zip(taken, seconds, strict=True)], beside


def as_json(rows: list[StepFigures], peak: float | None) -> list[dict[str, Any]]:
    """The figures by name. Rows that no round has measured yet have no median."""
    found = []
    for row in rows:
        figures: dict[str, Any] = asdict(row)
        if row.rates:
            bare = bare_of(row, rows)
            figures |= {
                "images_per_second": row.images_per_second(),
                "step_ms": 1000 * row.step_seconds(),
                "tflops": row.tflops(),
                "share_of_peak": row.tflops() / peak if peak is not None else None,
                "minus_bare_ms": row.minus(bare) if bare is not None else None,
            }
        found.append(figures)
    return found


def bare_of(row: StepFigures, rows: list[StepFigures]) -> StepFigures | None:
    """The bare step on the same workload, where it has been measured."""
    workload = (BARE, row.crop, row.micro_batch)
    return next((each for each in rows if (each.name, each.crop, each.micro_batch) == workload and each.rates), None)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
