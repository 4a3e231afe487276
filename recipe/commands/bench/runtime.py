"""`recipe bench runtime`: how a recipe trains fastest on this machine: eager, compiled, CUDA graphs; fp32, bf16."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from recipe.commands.bench import baselines, step
from recipe.commands.bench.baselines import Baseline
from recipe.config import RuntimeConfig
from recipe.machine.compile_mode import COMPILED, EAGER, GRAPHS, CompileMode, called, chosen, is_auto, why_not
from recipe.machine.compilers import Compilers, compilers
from recipe.plan.compose import Plan

ROUND_SECONDS, MOST_ROUNDS = 1.0, 20


class Candidate(NamedTuple):
    """One of the things that are tried."""

    name: str
    runtime: RuntimeConfig
    override: str  # what gives it, on train.py's command line
    left_out: str | None = None  # why it cannot be taken here


@dataclass
class RuntimeFigures:
    """What a candidate came to."""

    candidate: Candidate
    first_seconds: float = 0.0  # until two steps are done: compiling, and trying kernels
    rates: list[float] = field(default_factory=list)  # images a second, round by round
    failed: str = ""  # why it could not be taken

    def median(self) -> float:
        """Images a second."""
        return statistics.median(self.rates)

    def times(self, other: "RuntimeFigures") -> float:
        """How many times as fast as another: the median over the rounds."""
        return statistics.median(own / its for own, its in zip(self.rates, other.rates, strict=True))


def without_auto(plan: Plan, device: torch.device) -> tuple[Plan, CompileMode | None]:
    """The plan as a run of it would train here, and what `auto` has chosen; None where it chooses nothing."""
    runtime = plan.config.runtime
    if not is_auto(runtime):
        return plan, None
    mode = chosen(runtime, compilers(device))
    return replace(plan, config=replace(plan.config, runtime=mode.applied(runtime))), mode


def candidates(runtime: RuntimeConfig, found: Compilers) -> list[Candidate]:
    """All that is tried on such a machine, fp32 and eager first; what else the config says of `runtime` stays."""
    modes = [EAGER, COMPILED, *([GRAPHS] if found.device == "cuda" else [])]
    missing = {mode: why_not(mode, found, synchronised=False) for mode in modes}
    fast = chosen(replace(runtime, precision="bf16", compile=True, compile_mode="auto"), found).mode
    listed = []
    for precision in ("fp32", "bf16"):
        option = "runtime=bf16" if precision == "bf16" else "runtime=default"
        for mode in modes:
            values = replace(runtime, precision=precision, channels_last=True, compile=mode != EAGER,
                             compile_mode=COMPILED if mode == EAGER else mode)  # fmt: skip
            override = option if mode == EAGER else f"{option} runtime.compile=true"
            if mode == GRAPHS:
                override = f"{override} runtime.compile_mode={mode}"
            if (precision, mode) == ("bf16", fast):
                override = "runtime=fast"
            listed.append(Candidate(f"{precision}, {called(mode)}", values, override, missing[mode]))
        planes = replace(runtime, precision=precision, channels_last=False, compile=False, compile_mode=COMPILED)
        listed.append(
            Candidate(f"{precision}, eager, not channels_last", planes, f"{option} runtime.channels_last=false")
        )
    return listed


def measure(
    plan: Plan, device: torch.device, folder: Path, seconds: float, tell: Callable[[str], None]
) -> list[RuntimeFigures]:
    """Each candidate's figures, of the loop that trains on micro-batches in memory, one to a step; rounds in turn.

    Args:
        seconds: for each candidate, its compilation aside.
        tell: called with a line after whatever was learned.
    """
    sizes = step.Workload(plan.config.resolution.train_crop, plan.config.micro_batch_size)
    plan = step.with_workload(plan, sizes)
    rows = [RuntimeFigures(candidate) for candidate in candidates(plan.config.runtime, compilers(device))]
    ready: list[tuple[RuntimeFigures, Baseline, int]] = []
    longest = 0.0  # seconds of the slowest one's round
    for number, row in enumerate(rows):
        row.failed = row.candidate.left_out or ""
        if not row.failed:
            begin = time.perf_counter()
            try:
                baseline = _ready(plan, row.candidate, device, folder / str(number))
                row.first_seconds = time.perf_counter() - begin
                rate, _ = step.timed(baseline, 1, device)
            except (ImportError, RuntimeError) as error:  # too little memory; a network that cannot be compiled
                row.failed = (str(error).strip().splitlines() or [type(error).__name__])[0]
            else:
                steps = max(1, round(ROUND_SECONDS * rate / sizes.micro_batch))
                longest = max(longest, steps * sizes.micro_batch / rate)
                ready.append((row, baseline, steps))
        tell(f"{row.candidate.name}: " + (f"left out, {row.failed}" if row.failed else f"{row.first_seconds:.0f} s"))
    for number in range(max(1, min(MOST_ROUNDS, int(seconds / longest))) if ready else 0):
        for row, baseline, steps in ready:
            row.rates.append(step.timed(baseline, steps, device)[0])
        tell(f"round {number + 1}")
    ready.clear()
    gc.collect()
    torch.compiler.reset()  # it would keep the compiled networks
    return rows


def _ready(plan: Plan, candidate: Candidate, device: torch.device, folder: Path) -> Baseline:
    folder.mkdir(parents=True)
    baseline = baselines.ours(replace(plan, config=replace(plan.config, runtime=candidate.runtime)), device, folder)
    baseline(2)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return baseline


def table(rows: list[RuntimeFigures]) -> Iterator[str]:
    """The figures for people, in Markdown, and which is the fastest."""
    measured = [row for row in rows if row.rates]
    first = measured[0] if measured and measured[0] is rows[0] else None
    yield f"| trained in | images/s | x {rows[0].candidate.name} | first, s | given by |"
    yield "|---|---|---|---|---|"
    for row in rows:
        if not row.rates:
            yield f"| {row.candidate.name} | left out: {row.failed[:100]} | | | |"
            continue
        ratio = f"{row.times(first):.2f}" if first is not None else ""
        cells = row.candidate.name, f"{row.median():,.0f}", ratio, f"{row.first_seconds:.0f}", row.candidate.override
        yield f"| {' | '.join(cells)} |"
    if measured:
        fastest = max(measured, key=RuntimeFigures.median)
        yield ""
        yield f"fastest here: {fastest.candidate.name}, which is {fastest.candidate.override}"


def as_json(rows: list[RuntimeFigures]) -> list[dict[str, Any]]:
    """The figures by name; images_per_second is null where a candidate was left out."""
    return [
        {
            "name": row.candidate.name,
            "override": row.candidate.override,
            "images_per_second": row.median() if row.rates else None,
            "rates": row.rates,
            "first_seconds": row.first_seconds,
            "failed": row.failed,
        }
        for row in rows
    ]
