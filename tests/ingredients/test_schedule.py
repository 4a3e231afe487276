"""The learning rate of each step is the published one, and that of torch's own schedulers."""

import math
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction

import pytest
import torch
from timm.scheduler import CosineLRScheduler
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from recipe.config import Config, OptimizerConfig, ScheduleConfig
from recipe.errors import ConfigError
from recipe.ingredients.schedule import DECAYS, Plateau, learning_rate, set_rates
from recipe.plan.compose import Plan

Scheduler = Callable[[torch.optim.Optimizer], LRScheduler]


def rates(config: ScheduleConfig, lr: float, epochs: int) -> list[float]:
    return [learning_rate(config, lr, epochs, epoch) for epoch in range(epochs)]


def rates_of_torch(
    lr: float, epochs: int, decay: Scheduler, warmup: Scheduler | None, warmup_epochs: int
) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler = decay(optimizer)
    if warmup is not None:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
        scheduler = SequentialLR(optimizer, [warmup(optimizer), decay(optimizer)], [warmup_epochs])
    result = []
    for _ in range(epochs):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


def test_registry_holds_the_schema_s_choices() -> None:
    choices = {item.name: item.metadata.get("choices") for item in fields(ScheduleConfig)}
    assert tuple(DECAYS) == choices["name"]


def test_first_epochs_of_r01_are_the_published_ones() -> None:
    config = ScheduleConfig(name="cosine", warmup_epochs=5)
    assert rates(config, 0.5, 90)[:6] == pytest.approx([0.005, 0.104, 0.203, 0.302, 0.401, 0.5], rel=1e-12)


def test_last_epoch_of_v2_is_the_published_one() -> None:
    assert learning_rate(ScheduleConfig(name="cosine", warmup_epochs=5), 0.5, 600, 599) == pytest.approx(
        3.4848e-6, abs=5e-11
    )


def test_baseline_falls_tenfold_every_30_epochs() -> None:
    assert rates(ScheduleConfig(name="step"), 0.1, 90) == pytest.approx([0.1] * 30 + [0.01] * 30 + [0.001] * 30)


@pytest.mark.parametrize("warmup_epochs", [0, 1, 5])
@pytest.mark.parametrize("warmup_method", ["linear", "constant"])
@pytest.mark.parametrize(
    ("config", "decay"),
    [
        (ScheduleConfig(name="cosine"), lambda o, t: CosineAnnealingLR(o, t)),
        (ScheduleConfig(name="cosine", min_lr=0.01), lambda o, t: CosineAnnealingLR(o, t, eta_min=0.01)),
        (ScheduleConfig(name="step", step_size=7, gamma=0.3), lambda o, t: StepLR(o, 7, 0.3)),
        (ScheduleConfig(name="exponential", gamma=0.9), lambda o, t: ExponentialLR(o, 0.9)),
        (ScheduleConfig(name="constant"), lambda o, t: ConstantLR(o, 1.0)),
        (ScheduleConfig(name="linear"), lambda o, t: PolynomialLR(o, t, 1.0)),
        (ScheduleConfig(name="linear", min_lr=0.05), lambda o, t: LinearLR(o, 1.0, 0.1, t)),  # of a peak of 0.5
        (ScheduleConfig(name="polynomial"), lambda o, t: PolynomialLR(o, t, 2.0)),
        (ScheduleConfig(name="polynomial", power=0.5), lambda o, t: PolynomialLR(o, t, 0.5)),
    ],
    ids=[
        *("cosine", "cosine_to_min_lr", "step", "exponential", "constant"),
        *("linear", "linear_to_min_lr", "polynomial", "polynomial_half"),
    ],
)
def test_every_epoch_equals_torch_s_scheduler(
    config: ScheduleConfig,
    decay: Callable[[torch.optim.Optimizer, int], LRScheduler],
    warmup_method: str,
    warmup_epochs: int,
) -> None:
    epochs = 40
    config = ScheduleConfig(**{**vars(config), "warmup_epochs": warmup_epochs, "warmup_method": warmup_method})
    warmups: dict[str, Scheduler] = {
        "linear": lambda o: LinearLR(o, 0.01, total_iters=warmup_epochs),
        "constant": lambda o: ConstantLR(o, 0.01, total_iters=warmup_epochs),
    }
    warmup = warmups[warmup_method] if warmup_epochs else None
    expected = rates_of_torch(0.5, epochs, lambda o: decay(o, epochs - warmup_epochs), warmup, warmup_epochs)
    assert rates(config, 0.5, epochs) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_warmup_starts_at_its_share_of_the_peak() -> None:
    config = ScheduleConfig(name="cosine", warmup_epochs=4, warmup_decay=0.25)
    assert rates(config, 0.8, 10)[:5] == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8])


@pytest.mark.parametrize("name", [name for name in DECAYS if name != "onecycle"])  # which ends with its last change
def test_interval_step_agrees_with_interval_epoch_at_whole_epochs(name: str) -> None:
    by_epoch = ScheduleConfig(name=name, warmup_epochs=5, step_size=4, gamma=0.5)
    by_step = ScheduleConfig(**{**vars(by_epoch), "interval": "step"})
    for epoch in range(30):
        expected = learning_rate(by_epoch, 0.5, 30, epoch, step=3, steps_per_epoch=7)
        assert learning_rate(by_step, 0.5, 30, epoch, step=0, steps_per_epoch=7) == expected


@pytest.mark.parametrize("name", list(DECAYS))
def test_interval_epoch_keeps_the_rate_within_an_epoch(name: str) -> None:
    config = ScheduleConfig(name=name, warmup_epochs=2, step_size=1, gamma=0.5)
    for epoch in range(5):
        assert len({learning_rate(config, 0.5, 5, epoch, step, 9) for step in range(9)}) == 1


def test_interval_step_is_the_same_curve_in_fractional_epochs() -> None:
    config = ScheduleConfig(name="cosine", warmup_epochs=1.5, interval="step")
    for position in range(40):
        now = position / 4
        expected = (
            0.5 * (0.01 + 0.99 * now / 1.5) if now < 1.5 else 0.25 * (1 + math.cos(math.pi * (now - 1.5) / (10 - 1.5)))
        )
        assert learning_rate(config, 0.5, 10, *divmod(position, 4), steps_per_epoch=4) == pytest.approx(expected)


@pytest.mark.parametrize("steps_per_epoch", [3, 7, 10, 49])
@pytest.mark.parametrize("step_size", [Fraction(5, 2), Fraction(5, 3), Fraction(3, 10)])
def test_fractional_step_size_decays_at_its_exact_step(step_size: Fraction, steps_per_epoch: int) -> None:
    config = ScheduleConfig(name="step", step_size=float(step_size), gamma=0.5, interval="step")
    for position in range(12 * steps_per_epoch):
        decays = Fraction(position, steps_per_epoch) // step_size
        rate = learning_rate(config, 1.0, 12, *divmod(position, steps_per_epoch), steps_per_epoch)
        assert rate == 0.5**decays


@pytest.mark.parametrize("pct_start", [0.25, 0.3, 0.6])
@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(5, 7), (1, 40)])
@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_one_cycle_equals_torch_s(kind: str, epochs: int, steps_per_epoch: int, pct_start: float) -> None:
    """Learning rate, and momentum or the first beta, at every step."""
    ours, theirs = (optimizer_of(kind) for _ in range(2))
    scheduler = OneCycleLR(
        theirs, 0.1, total_steps=epochs * steps_per_epoch, pct_start=pct_start, div_factor=20, final_div_factor=1e3
    )
    schedule = ScheduleConfig(
        name="onecycle", interval="step", pct_start=pct_start, div_factor=20, final_div_factor=1e3
    )
    config = Config(epochs=epochs, optimizer=OptimizerConfig(name=kind, lr=0.1), schedule=schedule)
    for position in range(epochs * steps_per_epoch):
        lr = set_rates(ours, config, 1.0, *divmod(position, steps_per_epoch), steps_per_epoch)
        mine, other = ours.param_groups[0], theirs.param_groups[0]
        assert lr == mine["lr"] == pytest.approx(other["lr"], rel=1e-9)
        momentum = "momentum" if kind == "sgd" else "betas"
        assert mine[momentum] == pytest.approx(other[momentum], rel=1e-9)
        theirs.step()
        scheduler.step()


def test_one_cycle_leaves_momentum_alone_where_asked() -> None:
    optimizer = optimizer_of("sgd")
    schedule = ScheduleConfig(name="onecycle", interval="step", cycle_momentum=False)
    config = Config(epochs=2, optimizer=OptimizerConfig(name="sgd"), schedule=schedule)
    set_rates(optimizer, config, 1.0, 1, 3, 10)
    assert optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    ("patience", "gamma", "threshold", "min_lr"), [(0, 0.5, 1e-4, 0), (1, 0.5, 0.1, 0.01), (3, 0.1, 0, 0)]
)
def test_plateau_equals_torch_s(patience: int, gamma: float, threshold: float, min_lr: float) -> None:
    schedule = ScheduleConfig(name="plateau", patience=patience, gamma=gamma, threshold=threshold, min_lr=min_lr)
    config = Config(epochs=60, optimizer=OptimizerConfig(name="sgd", lr=0.1), schedule=schedule)
    ours, theirs = (optimizer_of("sgd") for _ in range(2))
    reduce = ReduceLROnPlateau(theirs, factor=gamma, patience=patience, threshold=threshold, min_lr=min_lr, eps=0)
    plateau = Plateau(schedule)
    losses = (3 * torch.rand(60, generator=torch.Generator().manual_seed(1)) + torch.linspace(3, 1, 60)).tolist()
    rates = set()
    for epoch, loss in enumerate([math.nan, *losses[1:]]):
        rate = set_rates(ours, config, plateau.factor, epoch, 0, 1)
        assert rate == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9)
        rates.add(rate)
        plateau.update(loss)
        reduce.step(loss)
        restored = Plateau(schedule)
        restored.load_state_dict(plateau.state_dict())  # as a run that stops after every epoch
        plateau = restored
    assert len(rates) > 3


def test_plateau_gives_the_rates_that_the_transfer_experiment_logged() -> None:
    """From 1e-4 to 6.25e-6 in the tenth epoch: four halvings, with torch's ReduceLROnPlateau on the same losses."""
    schedule = ScheduleConfig(name="plateau", patience=1, gamma=0.5)
    config = Config(epochs=10, optimizer=OptimizerConfig(name="adam", lr=1e-4), schedule=schedule)
    ours, theirs = (optimizer_of("adam") for _ in range(2))
    theirs.param_groups[0]["lr"] = 1e-4
    reduce, plateau, logged = ReduceLROnPlateau(theirs, factor=0.5, patience=1), Plateau(schedule), []
    for epoch, loss in enumerate([0.25, 0.26, 0.27, 0.26, 0.28, 0.27, 0.29, 0.27, 0.28, 0.26]):
        logged.append(set_rates(ours, config, plateau.factor, epoch, 0, 1))
        assert logged[-1] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        plateau.update(loss)
        reduce.step(loss)
    assert logged == [1e-4, 1e-4, 1e-4, 5e-5, 5e-5, 2.5e-5, 2.5e-5, 1.25e-5, 1.25e-5, 6.25e-6]


def test_other_schedules_ignore_the_validation_loss() -> None:
    plateau = Plateau(ScheduleConfig(name="cosine", patience=0))
    for _ in range(5):
        plateau.update(1.0)
    assert plateau.factor == 1


def optimizer_of(kind: str) -> torch.optim.Optimizer:
    weight = torch.zeros(1, requires_grad=True)
    if kind == "sgd":
        return torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    return torch.optim.Adam([weight], lr=0.1)


@pytest.mark.parametrize(("warmup", "cooldown", "lowest"), [(5, 0, 1e-6), (60, 10, 1e-4), (0, 10, 0.0)])
def test_timm_s_cosine_is_of_absolute_time_and_cools_down(warmup: int, cooldown: int, lowest: float) -> None:
    """Adan's 100 epochs: after 60 of warm-up the rate falls to where the cosine is, and ends with 10 at min_lr."""
    schedule = ScheduleConfig(
        "timm_cosine", min_lr=lowest, warmup_epochs=warmup, warmup_decay=0.02, cooldown_epochs=cooldown
    )
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.03)
    timm_s = CosineLRScheduler(optimizer, 100, lowest, warmup_t=warmup, warmup_lr_init=0.03 * 0.02)
    expected = [timm_s._get_lr(epoch)[0] for epoch in range(100 + cooldown)]
    assert rates(schedule, 0.03, 100 + cooldown) == pytest.approx(expected, rel=1e-9)
    if warmup == 60:
        assert rates(schedule, 0.03, 110)[60] < 0.4 * rates(schedule, 0.03, 110)[59]


def test_a_cooldown_must_leave_epochs_to_train(plan: Callable[..., Plan]) -> None:
    with pytest.raises(ConfigError, match="cool down for less"):
        plan("+recipe=v1", "schedule.name=timm_cosine", "schedule.warmup_epochs=5", "schedule.cooldown_epochs=85")
