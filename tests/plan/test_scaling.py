"""`scale=…` goes by the units in the schema: a key that says its unit is scaled, with no list to add it to."""

from dataclasses import fields, replace

import pytest

from recipe.config import Config, ScaleConfig, ScheduleConfig
from recipe.plan.scaling import FACTORS, scale
from recipe.schema import leaves

TWICE = ScaleConfig(name="twice", epochs=2, resolution=2, batch_size=2, micro_batch_size=2, evaluate_every=2)
KEYS = {dotted: about for dotted, _, about in leaves(Config())}
EPOCHS = {"schedule.step_size", "resolution.grow_from", "resolution.grow_until"}
PIXELS = {"train_resize", "train_crop", "val_resize", "val_crop", "first_crop", "grow_step", "resize_step"}


def changed(config: Config, literal: frozenset[str] = frozenset()) -> dict[str, float]:
    before, after = ({dotted: value for dotted, value, _ in leaves(c)} for c in (config, scale(config, literal)))
    return {dotted: after[dotted] / value for dotted, value in before.items() if value != after[dotted] and value}


def example() -> Config:
    config = Config(scale=replace(TWICE), schedule=ScheduleConfig("step", warmup_epochs=5.0, min_lr=0.25))
    config.schedule.cooldown_epochs = 10.0
    config.resolution.train_resize = 240
    config.resolution.first_crop = 160
    config.resolution.grow_from = 6.0
    config.schedule.interval = "step"
    return config


def test_every_factor_has_a_unit_and_every_unit_a_key() -> None:
    factors = {item.name for item in fields(ScaleConfig)} - {"name", "model"}
    assert set(FACTORS.values()) == factors
    assert set(FACTORS) <= {about.get("unit") for about in KEYS.values()}


def test_values_are_scaled_by_their_units_and_no_others() -> None:
    of_units = {dotted for dotted, about in KEYS.items() if about.get("unit") in FACTORS}
    assert of_units >= {"epochs", "schedule.step_size", "resolution.val_crop", "optimizer.lr", "micro_batch_size"}
    assert changed(example()) == dict.fromkeys(of_units, 2)
    assert changed(example(), frozenset(of_units)) == {}


@pytest.mark.parametrize(
    ("factor", "scaled"),
    [
        ("epochs", {"epochs", *(f"schedule.{name}_epochs" for name in ("warmup", "cooldown")), *EPOCHS}),
        ("resolution", {f"resolution.{name}" for name in PIXELS}),
        ("batch_size", {"batch_size", "optimizer.lr", "schedule.min_lr"}),
        ("micro_batch_size", {"micro_batch_size"}),
        ("evaluate_every", {"evaluate.every"}),
    ],
)
def test_each_factor_scales_its_own_keys(factor: str, scaled: set[str]) -> None:
    config = example()
    config.scale = replace(ScaleConfig(name="one"), **{factor: 2.0})  # type: ignore[arg-type]
    assert changed(config) == dict.fromkeys(scaled, 2)


def test_whole_numbers_are_rounded_and_not_below_the_least() -> None:
    config = Config(scale=ScaleConfig(name="tiny", epochs=0.001, batch_size=0.3, micro_batch_size=0.001))
    scaled = scale(config, frozenset())
    assert (scaled.epochs, scaled.batch_size, scaled.micro_batch_size) == (1, 77, 2)
    assert scaled.optimizer.lr == config.optimizer.lr * 0.3
