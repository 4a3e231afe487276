"""Every pair of a schedule and one of its keys acts or is refused; a schedule chosen by hand fits the run's length."""

import math
from collections.abc import Callable
from dataclasses import fields

import pytest
import torch

from recipe.config import Config, ScheduleConfig
from recipe.errors import ConfigError
from recipe.ingredients.schedule import DECAYS, Plateau, set_rates
from recipe.plan import compose
from recipe.plan.compose import PROJECT, Plan
from recipe.plan.scaling import fitted_step

Composer = Callable[..., Plan]
BASELINE, V2 = "+recipe=r00_baseline", "+recipe=v2"
OTHER = {  # than what any schedule has by itself
    "step_size": "7",
    "gamma": "0.5",
    "min_lr": "0.04",
    "power": "3",
    "patience": "2",
    "threshold": "0.3",
    "pct_start": "0.4",
    "div_factor": "10",
    "final_div_factor": "100",
    "cycle_momentum": "false",
    "base_momentum": "0.8",
    "max_momentum": "0.97",
    "warmup_epochs": "4",
    "warmup_method": "constant",
    "warmup_decay": "0.2",
    "cooldown_epochs": "3",
    "interval": "",  # the one that the schedule does not have
}
# What a key needs beside it, to act or to be refused for itself.
BESIDE = {name: ["schedule.warmup_epochs=3"] for name in ("warmup_method", "warmup_decay")}
LOSSES = [4.0, 3.9, 3.8, 2.0, 2.0, 1.9, *[1.9] * 84]  # of validation, by epoch


def course(config: Config) -> list[tuple[float, float]]:
    """Learning rate and momentum of three steps an epoch, as a run has them on these losses."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1, momentum=0.9)
    plateau, found = Plateau(config.schedule), []
    for epoch in range(config.epochs):
        for step in range(3):
            set_rates(optimizer, config, plateau.factor, epoch, step, 3)
            found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        plateau.update(LOSSES[epoch])
    return found


def test_every_schedule_has_an_option_and_every_key_another_value() -> None:
    chosen = {path.stem for path in (PROJECT / "conf" / "schedule").glob("*.yaml")}
    assert set(DECAYS) <= chosen
    assert {item.name for item in fields(ScheduleConfig)} == {"name", *OTHER}


@pytest.mark.parametrize("key", OTHER)
@pytest.mark.parametrize("schedule", DECAYS)
def test_every_key_acts_or_is_refused(plan: Composer, schedule: str, key: str) -> None:
    beside = [] if schedule == "onecycle" else BESIDE.get(key, [])
    command = [BASELINE, f"schedule={schedule}", *beside]
    before = plan(*command)
    value = OTHER[key] or ("epoch" if before.config.schedule.interval == "step" else "step")
    try:
        after = plan(*command, f"schedule.{key}={value}")
    except ConfigError as error:
        assert f"schedule.{key}" in str(error)  # noqa: PT017 either this or the other
    else:
        assert course(after.config) != course(before.config)
        assert after.training_hash != before.training_hash


@pytest.mark.parametrize(
    ("command", "fragments"),
    [
        (["schedule=step", "schedule.min_lr=0.01"], ["schedule.min_lr does nothing here", "exponential"]),
        (["schedule=constant", "schedule.interval=step"], ["schedule.interval does nothing here", "same at all steps"]),
        (["schedule=plateau", "schedule.interval=step"], ["schedule.interval does nothing here"]),
        (["schedule.interval=step"], ["schedule.interval does nothing here", "schedule.name=step"]),
        (
            ["schedule=onecycle", "schedule.cycle_momentum=false", "schedule.base_momentum=0.8"],
            ["schedule.base_momentum does nothing here", "schedule.cycle_momentum=false"],
        ),
        (
            ["schedule=onecycle", "optimizer.momentum=0.8"],
            ["optimizer.momentum does nothing here", "schedule.cycle_momentum=true"],
        ),
    ],
)
def test_what_would_do_nothing_is_refused(plan: Composer, command: list[str], fragments: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(BASELINE, *command)
    assert all(fragment in str(caught.value) for fragment in fragments)


def test_what_does_something_after_all_is_taken(plan: Composer) -> None:
    plan(BASELINE, "schedule=constant", "schedule.interval=step", "schedule.warmup_epochs=2")
    plan(BASELINE, "schedule.step_size=2.5", "schedule.interval=step")
    plan(BASELINE, "schedule=onecycle", "schedule.cycle_momentum=false", "optimizer.momentum=0.8")


def test_schedules_chosen_by_hand_take_the_baseline_s_share_of_the_run(plan: Composer) -> None:
    for command, epochs in (([V2], 600), ([V2, "scale=demo"], 40), ([V2, "scale=demo", "epochs=27"], 27)):
        step = plan(*command, "schedule=step").config
        assert step.epochs == epochs
        assert step.schedule.step_size == pytest.approx(epochs / 3)
        exponential = plan(*command, "schedule=exponential").config.schedule
        assert exponential.gamma**epochs == pytest.approx(0.95**90)
        assert compose.configs(["v2"], [*command[1:], "schedule=step"])[0] == step
    assert plan(V2, "schedule=step").name == "v2~schedule.name=step,schedule.step_size=200,schedule.warmup_epochs=0"


def test_the_baseline_s_own_schedule_is_as_it_was(plan: Composer) -> None:
    baseline = plan(BASELINE)
    assert plan(BASELINE, "schedule=step").training_hash == baseline.training_hash
    assert plan(BASELINE, "epochs=60").config.schedule.step_size == 30
    assert plan(BASELINE, "schedule=exponential").config.schedule.gamma == 0.95
    assert plan("+recipe=r01_lr_optimizations", "schedule=step").config.schedule.step_size == 30


def test_what_is_given_by_hand_is_taken_as_it_stands(plan: Composer) -> None:
    assert plan(V2, "schedule=step", "schedule.step_size=30").config.schedule.step_size == 30
    assert plan(V2, "schedule=exponential", "schedule.gamma=0.95").config.schedule.gamma == 0.95


@pytest.mark.parametrize(
    ("command", "fragments"),
    [
        (
            [V2, "schedule.name=step", "optimizer.lr=0.1"],
            ["schedule.step_size=30", "below a thousandth of 0.1 for 79%", "schedule.step_size=200, the baseline's"],
        ),
        ([V2, "schedule.name=exponential"], ["schedule.gamma=0.1", "schedule.gamma=0.992354", "schedule.min_lr"]),
        ([V2, "schedule=polynomial", "schedule.name=polynomial", "epochs=9"], []),
        ([BASELINE, "schedule=onecycle", "schedule.interval=step", "epochs=1"], []),
    ],
)
def test_rate_that_is_gone_for_most_of_the_run_is_refused(
    plan: Composer, command: list[str], fragments: list[str]
) -> None:
    if not fragments:
        plan(*command)
        return
    with pytest.raises(ConfigError) as caught:
        plan(*command)
    assert all(fragment in str(caught.value) for fragment in fragments)


@pytest.mark.parametrize(
    ("command", "step_size"),
    [
        ([BASELINE, "epochs=600"], 200),
        ([BASELINE, "epochs=60", "scale=demo"], 20),  # 2 of 6 epochs at that scale
        (["+experiment=tiny_imagenet_1", "data.root=.", "epochs=60"], 20),  # 7 of 15
    ],
)
def test_own_step_size_is_fitted_to_epochs_that_would_leave_no_rate(
    plan: Composer, command: list[str], step_size: float
) -> None:
    fitted = plan(*command)
    assert fitted.config.schedule.step_size == step_size
    said = fitted_step(fitted.config, fitted.differences, fitted.literal)
    assert said is not None
    assert f"schedule.step_size={step_size}: fitted to epochs={fitted.config.epochs}" in said
    assert f"epochs={fitted.config.epochs}" in fitted.name
    assert f"schedule.step_size={step_size}" in fitted.name  # not that of the same epochs with steps of 30 by hand
    assert compose.configs([fitted.rung.name], command[1:])[0].schedule == fitted.config.schedule
    by_hand = plan(*command, f"schedule.step_size={step_size}")
    assert (by_hand.name, by_hand.training_hash) == (fitted.name, fitted.training_hash)


def test_a_ladder_of_step_and_cosine_takes_one_length(plan: Composer) -> None:
    recipes = ("r00_baseline", "r01_lr_optimizations", "r02_trivial_augment", "v2")
    plans = [plan(f"+recipe={recipe}", "epochs=600") for recipe in recipes]
    assert [made.config.epochs for made in plans] == [600] * 4
    said = [fitted_step(made.config, made.differences, made.literal) for made in plans]
    assert [one is not None for one in said] == [True, False, False, False]


@pytest.mark.parametrize(
    ("command", "name", "training_hash"),
    [
        ([BASELINE, "epochs=240"], "r00_baseline~epochs=240", "6849d2bfa5edfdf9"),
        ([BASELINE, "epochs=600", "schedule.step_size=30"], "r00_baseline~epochs=600", "8229f32602596156"),
        ([V2, "epochs=400", "+without=lr_optimizations"], None, "52ce44b364698e10"),
    ],
)
def test_what_ran_before_is_the_run_that_it_was(
    plan: Composer, command: list[str], name: str | None, training_hash: str
) -> None:
    """Hashes of version 0.2 before it fitted any."""
    made = plan(*command)
    assert name in (None, made.name)
    assert made.training_hash == training_hash


def test_exponential_falls_to_its_minimum_and_stays(plan: Composer) -> None:
    config = plan(BASELINE, "schedule=exponential", "schedule.min_lr=0.04").config
    rates = [rate for rate, _ in course(config)[::3]]
    assert rates == [max(0.1 * 0.95**epoch, 0.04) for epoch in range(90)]
    assert rates.index(0.04) == math.ceil(math.log(0.4) / math.log(0.95))
