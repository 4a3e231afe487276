"""Learning-rate schedules: warm-up, then step, cosine or exponential decay.

Closed forms of the epoch, so that there is no state to save and any step of a run can be computed alone.
"""

import math
from collections.abc import Callable

from recipe.config import ScheduleConfig

# Each takes (epochs since warm-up, epochs of decay, config, peak learning rate) and returns a learning rate.
Decay = Callable[[float, float, ScheduleConfig, float], float]


def step_decay(elapsed: float, total: float, config: ScheduleConfig, lr: float) -> float:
    """lr·gamma^⌊elapsed/step_size⌋"""
    # The slack absorbs rounding in step / steps_per_epoch, which would delay a decay by a step.
    return lr * config.gamma ** math.floor(elapsed / config.step_size + 1e-9)


def cosine_decay(elapsed: float, total: float, config: ScheduleConfig, lr: float) -> float:
    """min_lr + (lr − min_lr)·(1 + cos(π·elapsed/total))/2 (Loshchilov and Hutter, 2017, without restarts)"""
    return config.min_lr + (lr - config.min_lr) * (1 + math.cos(math.pi * elapsed / total)) / 2


def exponential_decay(elapsed: float, total: float, config: ScheduleConfig, lr: float) -> float:
    """lr·gamma^elapsed"""
    return lr * config.gamma**elapsed


def no_decay(elapsed: float, total: float, config: ScheduleConfig, lr: float) -> float:
    """lr"""
    return lr


DECAYS: dict[str, Decay] = {
    "step": step_decay,
    "cosine": cosine_decay,
    "exponential": exponential_decay,
    "constant": no_decay,
}


def learning_rate(
    config: ScheduleConfig, lr: float, epochs: int, epoch: int, step: int = 0, steps_per_epoch: int = 1
) -> float:
    """The learning rate of one optimizer step.

    Args:
        lr: peak learning rate.
        epochs: length of the run.
        epoch, step: both from 0. With `interval: epoch` the step is ignored: the rate changes between epochs.
    """
    now = epoch + (step / steps_per_epoch if config.interval == "step" else 0.0)
    if now < config.warmup_epochs:
        progress = now / config.warmup_epochs if config.warmup_method == "linear" else 0.0
        return lr * (config.warmup_decay + (1 - config.warmup_decay) * progress)
    return DECAYS[config.name](now - config.warmup_epochs, epochs - config.warmup_epochs, config, lr)
