"""`recipe plan`: what the published gains of a ladder would take, as users see it. Its parts: test_plan_parts.py."""

import json
import subprocess
import sys

import pytest
from plans import arguments

from recipe.commands import plan
from recipe.commands.planning import told
from recipe.errors import ConfigError


def _said(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "recipe", "plan", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_mixup_needs_more_seeds_in_the_ladder_than_alone() -> None:
    said = _said("+recipe=glob(r*)")
    assert said.returncode == 0, said.stderr
    line = next(line for line in said.stdout.splitlines() if line.startswith("r06_mixup"))
    assert line.split() == ["r06_mixup", "r05_label_smoothing", "+0.118", "19", "33"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sd", "0"], "--sd 0: must be above 0"),
        (["--price", "nan"], "--price nan: must be above 0"),
        (["--rate", "fast"], "--rate fast: must be images a second"),
        (["--rate", "0"], "--rate 0: must be images a second"),
        (["scale"], "scale: must be an override"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("+", r"\+")):
        plan.run(arguments("+recipe=glob(r*)", *words))


@pytest.mark.slow  # thirteen configs
def test_tables_fit_80_columns_and_json_has_the_same_figures() -> None:
    planned = plan.plan(arguments("+recipe=glob(r*)", "--price", "2", "--devices", "8"))
    narrow, wide = told.text(planned, 80), told.text(planned, 140)
    for text, width in ((narrow, 80), (wide, 140)):
        assert max(map(len, text.splitlines())) <= width
    assert "…" not in narrow  # no name is cut
    figures = json.loads(json.dumps(told.as_json(planned)))
    mixup = next(one for one in figures["gains"] if one["recipe"] == "r06_mixup")
    assert (mixup["seeds_alone"], mixup["seeds_in_ladder"]) == (19, 33)
    assert figures["ladder"]["trainings"] == 11
    assert figures["ladder"]["money_once"] == pytest.approx(2 * figures["ladder"]["device_hours_once"])
    run = next(one for one in figures["runs"] if one["recipe"] == "r03_long_training")
    hours = 600 * (1_281_167 // 1024) * 1024 / 2470 / 3600  # v2's batch, by hand
    assert run["device_hours"] == pytest.approx(hours)
    assert "published by NVIDIA" in run["source"]
    assert figures["devices"][0]["efficiency"] == 1


def test_three_evaluations_of_one_training_are_paid_once_and_said_to_be_correlated() -> None:
    planned = plan.plan(arguments("+recipe=r08_weight_decay_tuning,r09_fixres,r10_ema,r11_inference_resize"))
    hours = {one.name: one.device_hours for one in planned.trainings}
    assert hours["r10_ema"] == hours["r11_inference_resize"] == 0
    assert planned.ladder is not None
    assert planned.ladder.once == pytest.approx(hours["r08_weight_decay_tuning"] + hours["r09_fixres"])  # type: ignore[operator]
    text = told.text(planned, 200)
    assert "≤: r10_ema, r11_inference_resize evaluate one training" in text
    assert "r10_ema and r11_inference_resize evaluate the training of r09_fixres once more; it counts once" in text
    ema = next(one for one in planned.needed if one.name == "r10_ema")
    assert ema.alone is not None
    # Seeds of one training, not of two.
    assert planned.ladder.resolving["r10_ema"] == pytest.approx(ema.alone * hours["r09_fixres"])  # type: ignore[operator]


def test_no_published_gain_is_said_and_costs_stand() -> None:
    text = told.text(plan.plan(arguments("+recipe=v1,v2")), 100)
    assert "No seeds to count" in text
    assert "What one run takes" in text


def test_the_rate_of_an_unknown_network_is_not_guessed() -> None:
    planned = plan.plan(arguments("+recipe=v2", "model=resnet18"))
    assert planned.trainings[0].device_hours is None
    assert planned.ladder is None
    assert planned.spread is None
    assert "images a second of resnet18 are not known here" in told.text(planned, 200)
