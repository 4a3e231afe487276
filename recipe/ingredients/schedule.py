"""Learning-rate schedules: warm-up, then one of several decays.

All but the plateau are closed forms of the epoch: no state to save, and any step of a run can be computed alone.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from recipe.config import Config, ScheduleConfig

if TYPE_CHECKING:
    import torch  # the plan looks at rates without it


class AfterWarmup(NamedTuple):
    """Where a run stands after its warm-up, in epochs."""

    elapsed: float  # since the warm-up
    total: float  # from the warm-up to the end
    tick: float  # between two changes of the learning rate


# Each takes (where the run stands, config, peak learning rate) and returns a learning rate.
Decay = Callable[[AfterWarmup, ScheduleConfig, float], float]


def step_decay(at: AfterWarmup, config: ScheduleConfig, lr: float) -> float:
    """lr·gamma^⌊elapsed/step_size⌋"""
    # The slack absorbs rounding in step / steps_per_epoch, which would delay a decay by a step.
    return lr * config.gamma ** math.floor(at.elapsed / config.step_size + 1e-9)


def cosine_decay(at: AfterWarmup, config: ScheduleConfig, lr: float) -> float:
    """min_lr + (lr − min_lr)·(1 + cos(π·elapsed/total))/2 (Loshchilov and Hutter, 2017, without restarts)"""
    return cosine_between(lr, config.min_lr, at.elapsed / at.total)


def timm_cosine(at: AfterWarmup, config: ScheduleConfig, lr: float) -> float:
    """min_lr + (lr − min_lr)·(1 + cos(π·t/E))/2 at the time t since the run began, E without cooldown_epochs.

    timm's `CosineLRScheduler` without warmup_prefix: after a warm-up of W epochs the rate falls at once to where the
    cosine is at W. In the cooldown, the last epochs of the run, it is min_lr.
    """
    length = at.total + config.warmup_epochs - config.cooldown_epochs
    return cosine_between(lr, config.min_lr, min(1.0, (at.elapsed + config.warmup_epochs) / length))


def exponential_decay(at: AfterWarmup, config: ScheduleConfig, lr: float) -> float:
    """lr·gamma^elapsed, and min_lr where that is more"""
    return max(lr * config.gamma**at.elapsed, config.min_lr)


def one_cycle(at: AfterWarmup, config: ScheduleConfig, lr: float) -> float:
    """Up from lr/div_factor to lr, then down to lr/div_factor/final_div_factor, both cosines (Smith, 2018)."""
    first, last = lr / config.div_factor, lr / config.div_factor / config.final_div_factor
    rising, share = cycle_phase(at, config)
    return cosine_between(first, lr, share) if rising else cosine_between(lr, last, share)


def linear_decay(at: AfterWarmup, config: ScheduleConfig, lr: float) -> float:
    """min_lr + (lr − min_lr)·(1 − elapsed/total)"""
    return config.min_lr + (lr - config.min_lr) * (1 - at.elapsed / at.total)


def polynomial_decay(at: AfterWarmup, config: ScheduleConfig, lr: float) -> float:
    """min_lr + (lr − min_lr)·(1 − elapsed/total)^power (You et al., 2017: power 2)"""
    return config.min_lr + (lr - config.min_lr) * (1 - at.elapsed / at.total) ** config.power


def no_decay(at: AfterWarmup, config: ScheduleConfig, lr: float) -> float:
    """lr: constant, or left to `Plateau`"""
    return lr


DECAYS: dict[str, Decay] = {
    "step": step_decay,
    "cosine": cosine_decay,
    "exponential": exponential_decay,
    "onecycle": one_cycle,
    "plateau": no_decay,
    "constant": no_decay,
    "linear": linear_decay,
    "polynomial": polynomial_decay,
    "timm_cosine": timm_cosine,
}


def cosine_between(first: float, last: float, share: float) -> float:
    """Half a cosine from `first` (share 0) to `last` (share 1)."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def cycle_phase(at: AfterWarmup, config: ScheduleConfig) -> tuple[bool, float]:
    """Whether one-cycle is rising, and the share of this phase behind it. The last tick is the lowest point."""
    top, end = config.pct_start * at.total - at.tick, at.total - at.tick
    if at.elapsed < top:
        return True, at.elapsed / top
    return False, (at.elapsed - top) / (end - top)


def after_warmup(config: ScheduleConfig, epochs: int, now: float, steps_per_epoch: int) -> AfterWarmup:
    """Where a run stands at `now`, in epochs from its beginning."""
    tick = 1 / steps_per_epoch if config.interval == "step" else 1.0
    return AfterWarmup(now - config.warmup_epochs, epochs - config.warmup_epochs, tick)


def warming_up(config: ScheduleConfig, lr: float, now: float, steps_per_epoch: int) -> float:
    """lr·(d + (1 − d)·now/W), from d = warmup_decay (0: from nothing at all) in W = warmup_epochs; constant: lr·d.

    next: lr·(now + tick)/W, so that the last of the warm-up has lr (NVIDIA's DeepLearningExamples, by epochs).
    """
    if config.warmup_method == "next":
        tick = after_warmup(config, 0, now, steps_per_epoch).tick
        return lr * min(1.0, (now + tick) / config.warmup_epochs)
    progress = now / config.warmup_epochs if config.warmup_method == "linear" else 0.0
    return lr * (config.warmup_decay + (1 - config.warmup_decay) * progress)


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
        return warming_up(config, lr, now, steps_per_epoch)
    return DECAYS[config.name](after_warmup(config, epochs, now, steps_per_epoch), config, lr)


def rates_of_a_run(config: Config) -> list[float]:
    """Learning rates from the first step to the last, at about 1,000 places, evenly; without what a plateau does."""
    epochs, by_step = config.epochs, config.schedule.interval == "step"
    steps = max(1, 1000 // epochs) if by_step else 1  # of an epoch, looked at
    places = [(epoch, step) for epoch in range(0, epochs, max(1, epochs // 1000)) for step in range(steps)]
    return [learning_rate(config.schedule, config.optimizer.lr, epochs, *place, steps) for place in places]


def set_rates(
    optimizer: "torch.optim.Optimizer", config: Config, factor: float, epoch: int, step: int, steps_per_epoch: int
) -> float:
    """Give the optimizer the learning rate of a step, and one-cycle's momentum. Returns the learning rate.

    A group's `lr_scale` is its share of it (optimizer.parameter_groups).

    Args:
        factor: on the learning rate, from `Plateau`; min_lr is its floor.
    """
    schedule = config.schedule
    lr = learning_rate(schedule, config.optimizer.lr, config.epochs, epoch, step, steps_per_epoch)
    lr = lr if factor == 1 else max(lr * factor, schedule.min_lr)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    if schedule.name == "onecycle" and schedule.cycle_momentum:
        momentum = cycled_momentum(schedule, config.epochs, epoch, step, steps_per_epoch)
        for group in optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum
    return lr


def cycled_momentum(config: ScheduleConfig, epochs: int, epoch: int, step: int, steps_per_epoch: int) -> float:
    """One-cycle's momentum: low where the learning rate is high. Adam's kind takes it as its first beta."""
    now = epoch + (step / steps_per_epoch if config.interval == "step" else 0.0)
    rising, share = cycle_phase(after_warmup(config, epochs, now, steps_per_epoch), config)
    low, high = config.base_momentum, config.max_momentum
    return cosine_between(high, low, share) if rising else cosine_between(low, high, share)


class Plateau:
    """Lower the learning rate where the validation loss stops falling; `factor` stays 1 with other schedules.

    After more than `patience` evaluations in a row without a loss below best·(1 − threshold), factor ← factor·gamma.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        self.factor = 1.0
        self._config = config
        self._best, self._bad = math.inf, 0

    def lowered(self, lr: float, back: int = 0) -> float:
        """A learning rate as it is lowered by now; or was, so many times `back`."""
        factor = self.factor / self._config.gamma**back
        return lr if factor == 1 else max(lr * factor, self._config.min_lr)

    def update(self, loss: float) -> bool:
        """Take in the validation loss of the trained weights. Whether it lowers the learning rate."""
        if self._config.name != "plateau":
            return False
        if loss < self._best * (1 - self._config.threshold):
            self._best, self._bad = loss, 0
        else:
            self._bad += 1
        if self._bad <= self._config.patience:
            return False
        self.factor, self._bad = self.factor * self._config.gamma, 0
        return True

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"factor": self.factor, "best": self._best, "bad": self._bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.factor, self._best, self._bad = state["factor"], state["best"], state["bad"]
