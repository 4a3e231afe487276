"""`runtime.compile_mode=auto`: how a network is trained fastest on the machine at hand, and why not faster.

Eager, compiled or replayed as CUDA graphs is the same training but for rounding, so one name and one hash hold all.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from recipe.config import RuntimeConfig
from recipe.machine.compilers import PROGRAMS, Compilers

EAGER, COMPILED, GRAPHS = "eager", "default", "reduce-overhead"  # compiled: as runtime.compile_mode calls them
CAUTIOUS = (EAGER, COMPILED, GRAPHS, "max-autotune")  # what each needs, the one before does without
OLDEST = (7, 0)  # of NVIDIA's GPUs, by their capability, for which Triton makes kernels

NO_BF16 = "This one has no instructions for bf16: runtime=default may be faster, another experiment"


class CompileMode(NamedTuple):
    """How a run trains."""

    mode: str  # eager, or as runtime.compile_mode has it
    reason: str

    def applied(self, config: RuntimeConfig) -> RuntimeConfig:
        """The config with this mode in place of `auto`."""
        compiled = self.mode != EAGER
        return replace(config, compile=compiled, compile_mode=self.mode if compiled else COMPILED)


def is_auto(config: RuntimeConfig) -> bool:
    """Whether the machine decides."""
    return config.compile and config.compile_mode == "auto"


def as_asked(config: RuntimeConfig) -> CompileMode:
    """The mode that a config without `auto` asks for."""
    return CompileMode(config.compile_mode, "asked for") if config.compile else CompileMode(EAGER, "asked for")


def chosen(
    config: RuntimeConfig, found: Compilers, synchronised: bool = False, earlier: str | None = None
) -> CompileMode:
    """What `auto` means for a run on this machine.

    Args:
        synchronised: whether batch norm asks the other ranks in each forward pass.
        earlier: the mode that the run began in, which it keeps where it can; None: it begins.
    """
    if earlier is None:
        return _fastest(config, found, synchronised)
    against = why_not(earlier, found, synchronised)
    if against is None:
        return CompileMode(earlier, "as this run began")
    return CompileMode(EAGER, f"this run began with {called(earlier)}, and goes on without: {against}")


def most_cautious(modes: Iterable[CompileMode]) -> CompileMode:
    """The one that all ranks can train in."""
    return min(modes, key=lambda of_rank: CAUTIOUS.index(of_rank.mode))


def describe(mode: CompileMode) -> str:
    """It, in words."""
    return f"{called(mode.mode)}: {mode.reason}"


def _fastest(config: RuntimeConfig, found: Compilers, synchronised: bool) -> CompileMode:
    if found.device == "cpu":
        slow = "" if found.native_bf16 or config.precision != "bf16" else f". {NO_BF16}"
        return CompileMode(EAGER, f"on CPUs compiled networks are no faster{slow}")
    if config.deterministic:
        return CompileMode(EAGER, "runtime.deterministic=true, and compiled kernels may be others in every process")
    against = why_not(GRAPHS, found, synchronised)
    return CompileMode(EAGER, against) if against else CompileMode(GRAPHS, "the fastest on a GPU")


def why_not(mode: str, found: Compilers, synchronised: bool) -> str | None:
    """Why a network cannot be trained in this mode here; None where it can.

    Nothing to say of: several ranks (gradients are averaged outside of what is recorded), policies on the device
    (pixels are made outside of it too), dropout (a replay draws anew), an epoch's short step (each size is recorded by
    itself).
    """
    if mode == EAGER:
        return None
    if found.device == "mps":
        return "compiled networks were never tried on Apple's GPU"
    if found.device == "cpu" and mode != COMPILED:
        return "CUDA graphs need a GPU"
    if found.device == "cuda":
        if found.capability is None:
            return "compiled networks were never tried on AMD's GPUs"
        if found.capability < OLDEST:
            have, need = (".".join(map(str, version)) for version in (found.capability, OLDEST))
            return f"this GPU is too old for Triton (capability {have}, from {need} on)"
        if not found.triton:
            return "the package triton is not there, which makes a GPU's kernels: pip install triton"
    if not found.compiler:
        variable, *programs = PROGRAMS[found.device]
        return f"there is no {' or '.join(programs)} to compile with, and ${variable} names no other"
    if not found.headers:
        return "Python.h is not there, which compiled code includes: install python3-dev (on Fedora python3-devel)"
    if synchronised:
        return "model.sync_batch_norm=true asks the other ranks in the middle of a pass, which was never tried compiled"
    return found.failure()


def called(mode: str) -> str:
    """A mode in words."""
    return {EAGER: "eager", COMPILED: "compiled", GRAPHS: "CUDA graphs"}.get(mode, mode)
