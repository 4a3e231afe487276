"""What a config may hold: each value within its range, no two values that contradict each other.

Knows the schema alone, neither torch nor Hydra: a wrong config is refused in well under a second.
"""

import math
from typing import Any

from recipe.config import TORCH_OPTIMIZERS, Config, OptimizerConfig
from recipe.errors import ConfigError
from recipe.guesses import did_you_mean
from recipe.machine.limits import cores, device
from recipe.plan.cross_checks import CONTRADICTIONS, divisors, either
from recipe.schema import MISSING, leaves


def check(config: Config, world_size: int = 1) -> None:
    """Refuse a config that cannot be run by `world_size` processes. Raises ConfigError with one message."""
    for dotted, value, limits in leaves(config):
        _check_value(dotted, value, limits)
    _check_optimizer_name(config.optimizer)
    for contradiction in CONTRADICTIONS:
        contradiction(config)
    cores(), device(config.runtime.device)  # as the environment has them
    _check_world_size(config, world_size)


def _check_value(dotted: str, value: Any, limits: dict[str, Any]) -> None:
    if value == MISSING:
        raise ConfigError(f"{dotted} is not set: give it a value, as in {dotted}=…")
    if isinstance(value, list):
        for item in value:
            _check_value(dotted, item, limits)
        return
    if value == "":
        raise ConfigError(f"{dotted} is empty: give it a value, or leave it out")
    if value is None or isinstance(value, dict):
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{dotted}={value}: must be a finite number")
    if "choices" in limits and value not in limits["choices"]:
        known = list(limits["choices"])
        raise ConfigError(f"{dotted}={value}: must be one of {', '.join(known)}.{did_you_mean(str(value), known)}")
    for name, allowed in (
        ("at_least", lambda limit: value >= limit),
        ("above", lambda limit: value > limit),
        ("at_most", lambda limit: value <= limit),
        ("below", lambda limit: value < limit),
    ):
        if name in limits and not allowed(limits[name]):
            raise ConfigError(f"{dotted}={value}: must be {name.replace('_', ' ')} {limits[name]}")


def _check_optimizer_name(optimizer: OptimizerConfig) -> None:
    """Refuse an unknown one of torch; timm's are looked up in timm, once all else is right (`check_timm`)."""
    if optimizer.source == "torch" and optimizer.name not in TORCH_OPTIMIZERS:
        raise ConfigError(
            f"optimizer.name={optimizer.name}: must be one of {', '.join(TORCH_OPTIMIZERS)}; timm's others with "
            f"optimizer.source=timm.{did_you_mean(optimizer.name, list(TORCH_OPTIMIZERS))}"
        )


def _check_world_size(config: Config, world_size: int) -> None:
    batch, micro = config.batch_size, config.micro_batch_size
    count = batch // micro
    if config.model.sync_batch_norm and world_size != count:
        raise ConfigError(
            f"model.sync_batch_norm needs one process for each of the {count} micro-batches, not {world_size}: "
            f"use {count} processes"
        )
    if config.model.sync_batch_norm and config.runtime.device in ("cpu", "mps"):
        raise ConfigError("model.sync_batch_norm=true needs GPUs: PyTorch cannot synchronise batch norm on a CPU")
    if count % world_size == 0:
        return
    processes = divisors(count)
    mend = f"use {either(processes)} process{'es' if processes != [1] else ''}"
    smaller = [size for size in divisors(batch) if 2 <= size < micro and batch // size % world_size == 0]
    if smaller:
        mend += (
            f", or micro_batch_size={smaller[-1]}: batch-norm batches of {smaller[-1]} instead of {micro}, "
            "another experiment, as the run folder's name will say"
        )
    raise ConfigError(
        f"{world_size} processes cannot share the {count} micro-batch(es) of a step "
        f"(batch_size {batch} / micro_batch_size {micro}): {mend}"
    )
