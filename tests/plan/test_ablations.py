"""Leave-one-out, add-one-in, cross-validation: each option is its ingredient, all of it and nothing else."""

import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from recipe import __main__
from recipe.config import Config, DataConfig
from recipe.data.dataset import load
from recipe.errors import ConfigError
from recipe.logs.console import opening
from recipe.plan import compose, hashes
from recipe.plan.checks import check
from recipe.plan.compose import PROJECT, Plan
from recipe.plan.hydra_errors import explain
from recipe.schema import leaves

Composer = Callable[..., Plan]

RUNGS = sorted(path.stem for path in (PROJECT / "conf" / "recipe").glob("r*.yaml"))
INGREDIENTS = [rung.split("_", 1)[1] for rung in RUNGS[1:]]
OTHERS = {path.stem for path in (PROJECT / "conf" / "with").glob("*.yaml")} - set(INGREDIENTS)
STEPS = list(zip(RUNGS, RUNGS[1:], INGREDIENTS, strict=False))  # (below, above, what is new)
ONLY_THE_EVALUATION = {"ema", "inference_resize"}


def values(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value, _ in leaves(plan.config) if key != "rung"}


def differences(one: Plan, other: Plan) -> dict[str, Any]:
    """The keys that differ, with their values in the second."""
    before, after = values(one), values(other)
    return {key: after[key] for key in after if after[key] != before[key]}


def options(group: str) -> set[str]:
    return {path.stem for path in (PROJECT / "conf" / group).glob("*.yaml")}


def test_every_ingredient_of_the_ladder_can_be_left_out_and_added() -> None:
    assert len(INGREDIENTS) == 12
    assert options("without") == set(INGREDIENTS)
    assert options("with") >= set(INGREDIENTS)  # others' ingredients have no rung to leave them out of


@pytest.mark.parametrize("ingredient", sorted(OTHERS))
def test_an_ingredient_of_other_recipes_can_be_added_to_the_baseline(plan: Composer, ingredient: str) -> None:
    without = plan("+recipe=r00_baseline", "scale=demo")
    added = plan("+recipe=r00_baseline", f"+with={ingredient}", "scale=demo")
    assert differences(without, added)
    assert added.result_hash != without.result_hash
    assert (added.training_hash == without.training_hash) == (ingredient == "flipped_tests")  # of the evaluation alone


@pytest.mark.parametrize(("below", "above", "ingredient"), STEPS, ids=INGREDIENTS)
def test_rung_with_the_next_ingredient_is_the_next_rung(
    plan: Composer, below: str, above: str, ingredient: str
) -> None:
    added = plan(f"+recipe={below}", f"+with={ingredient}")
    next_rung = plan(f"+recipe={above}")
    assert values(added) == values(next_rung)
    assert (added.training_hash, added.result_hash) == (next_rung.training_hash, next_rung.result_hash)


@pytest.mark.parametrize(("below", "above", "ingredient"), STEPS, ids=INGREDIENTS)
def test_rung_without_its_ingredient_is_the_rung_below(plan: Composer, below: str, above: str, ingredient: str) -> None:
    left_out = plan(f"+recipe={above}", f"+without={ingredient}")
    rung_below = plan(f"+recipe={below}")
    assert values(left_out) == values(rung_below)
    assert (left_out.training_hash, left_out.result_hash) == (rung_below.training_hash, rung_below.result_hash)


@pytest.mark.parametrize(("below", "above", "ingredient"), STEPS, ids=INGREDIENTS)
def test_v2_without_an_ingredient_lacks_that_and_nothing_else(
    plan: Composer, below: str, above: str, ingredient: str
) -> None:
    undone = differences(plan(f"+recipe={above}"), plan(f"+recipe={below}"))
    if ingredient == "lr_optimizations":
        undone["schedule.step_size"] = 200  # a third of 600 epochs, as the baseline's 30 of 90
    v2, left_out = plan("+recipe=v2"), plan("+recipe=v2", f"+without={ingredient}")
    assert differences(v2, left_out) == undone
    assert (left_out.training_hash == v2.training_hash) == (ingredient in ONLY_THE_EVALUATION)
    assert left_out.result_hash != v2.result_hash


@pytest.mark.parametrize(("below", "above", "ingredient"), STEPS, ids=INGREDIENTS)
def test_baseline_with_an_ingredient_has_that_and_nothing_else(
    plan: Composer, below: str, above: str, ingredient: str
) -> None:
    own = differences(plan(f"+recipe={below}"), plan(f"+recipe={above}"))
    if ingredient == "long_training":
        own["schedule.step_size"] = 200  # a third of 600 epochs, as the baseline's 30 of 90
    assert differences(plan("+recipe=r00_baseline"), plan("+recipe=r00_baseline", f"+with={ingredient}")) == own


@pytest.mark.parametrize("scale", ["small", "demo"])
@pytest.mark.parametrize(
    ("recipe", "group"), [("v2", "without"), pytest.param("r00_baseline", "with", marks=pytest.mark.slow)]
)
def test_every_option_works_at_every_scale(recipe: str, group: str, scale: str) -> None:
    whole = compose.configs([recipe], [f"scale={scale}"])[0]
    runs = [compose.configs([recipe], [f"+{group}={ingredient}", f"scale={scale}"])[0] for ingredient in INGREDIENTS]
    for run in runs:
        check(run)
    assert len({hashes.digest(run, {"weights", "result"}) for run in (*runs, whole)}) == len(INGREDIENTS) + 1


def test_steps_of_the_learning_rate_grow_with_the_run(plan: Composer) -> None:
    long_baseline = ("+recipe=r00_baseline", "+with=long_training")
    assert differences(plan("+recipe=r00_baseline"), plan(*long_baseline)) == {
        "epochs": 600,
        "schedule.step_size": 200,
    }
    for command in (long_baseline, ("+recipe=v2", "+without=lr_optimizations")):
        config = plan(*command, "scale=demo").config
        assert config.schedule.step_size == pytest.approx(config.epochs / 3)
        config = plan(*command, "scale=demo", "schedule.step_size=7").config
        assert config.schedule.step_size == 7


def test_steps_of_the_learning_rate_follow_epochs_of_the_command_line(plan: Composer) -> None:
    config = plan("+recipe=v2", "+without=lr_optimizations", "scale=demo", "epochs=27").config
    assert (config.epochs, config.schedule.step_size) == (27, 9)
    assert compose.configs(["v2"], ["+without=lr_optimizations", "scale=demo", "epochs=27"])[0] == config


@pytest.mark.parametrize("group", ["with", "without"])
@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_option_before_the_recipe_is_the_same_run_or_refused(plan: Composer, group: str, ingredient: str) -> None:
    recipe = "+recipe=v2" if group == "without" else f"+recipe={RUNGS[INGREDIENTS.index(ingredient)]}"
    right = plan(recipe, f"+{group}={ingredient}")
    try:
        other_order = values(plan(f"+{group}={ingredient}", recipe))
    except ConfigError as error:
        message, other_order = str(error), values(right)
    else:
        message = f"+{group}={ingredient} must come after {recipe}"
    assert f"+{group}={ingredient} must come after {recipe}" in message
    assert other_order == values(right)


def test_value_that_the_recipe_takes_back_is_refused_and_named(plan: Composer) -> None:
    with pytest.raises(ConfigError, match=r"must come after \+recipe=v2: .* has epochs=600, not epochs=90"):
        plan("+without=long_training", "+recipe=v2")


@pytest.mark.parametrize(
    ("command", "fragments"),
    [
        (["+recipe=r01_lr_optimizations", "+without=mixup"], ["changes nothing", "r01", "mix.mixup_alpha=0"]),
        (["+recipe=v2", "loss=bce", "+without=label_smoothing"], ["changes nothing"]),
        (["+recipe=v2", "+with=mixup"], ["+with=mixup changes nothing", "mix.mixup_alpha=0.2"]),
        (["+recipe=r01_lr_optimizations", "+with=mixup", "mix.mixup_alpha=0"], ["changes nothing"]),
        (["+recipe=r05_label_smoothing", "+without=[mixup,label_smoothing]"], ["+without=mixup changes nothing"]),
        (["+recipe=v2", "+without=mixup", "mix.mixup_alpha=0.2"], ["+without=mixup stands for mix.mixup_alpha=0,"]),
        (["+recipe=v2", "mix.mixup_alpha=0.2", "+without=mixup"], ["+without=mixup stands for mix.mixup_alpha=0,"]),
        (["+recipe=v2", "+without=long_training", "epochs=100"], ["epochs=90", "epochs=100"]),
        (["+recipe=v2", "+without=mixup", "+with=mixup"], ["+without=mixup", "leave one of the two out"]),
        (["+recipe=v2", "mix=mixup", "+without=mixup"], ["mix=mixup", "v2 +without=mixup"]),
        (["+recipe=v2", "+without=[]"], ["names no ingredient"]),
        (["+recipe=v2", "+without=mixupp"], ["without=mixupp", "weight_decay_tuning", "Did you mean mixup?"]),
        (["+recipe=v2", "+without=mixup", "+without=cutmix"], ["without"]),
        (["+recipe=v2", "+without@mix=mixup"], ["there is no key mix.mix"]),
        (["+without=mixup"], ["which recipe?"]),
        (["+recipe=v2", "data.folds=5"], ["data.folds=5", "data.fold=0"]),
        (["+recipe=v2", "data.fold=0"], ["data.folds=5", "data.fold=0"]),
        (["+recipe=v2", "data.folds=5", "data.fold=5"], ["data.fold=5", "0 to 4"]),
        (["+recipe=v2", "data.folds=1", "data.fold=0"], ["data.folds=1", "at least 2"]),
        (["+recipe=v2", "data.folds=5", "data.fold=-1"], ["data.fold=-1", "at least 0"]),
        (
            ["+recipe=v2", "data=imagefolder", "data.root=/", "data.folds=5", "data.fold=0", "data.val_fraction=0.2"],
            ["data.val_fraction=0.2 and data.folds=5"],
        ),
        (
            ["+recipe=v2", "data=imagefolder", "data.root=/", "data.folds=5", "data.fold=0", "data.val_dir=val"],
            ["data.val_dir=val and data.folds=5"],
        ),
    ],
    ids=lambda words: " ".join(words) if words[0].startswith("+") else "",
)
def test_what_would_be_another_experiment_is_refused(plan: Composer, command: list[str], fragments: list[str]) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 Hydra's or our own
        plan(*command)
    message = explain(caught.value)
    assert message is not None
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def test_added_ingredient_may_have_another_value(plan: Composer) -> None:
    tuned = plan("+recipe=r01_lr_optimizations", "+with=mixup", "mix.mixup_alpha=0.4")
    assert tuned.config.mix.mixup_alpha == 0.4
    assert tuned.name == "r01_lr_optimizations~mix.mixup_alpha=0.4"


def test_several_ingredients_are_left_out_and_added_at_once(plan: Composer) -> None:
    v2 = plan("+recipe=v2")
    assert differences(v2, plan("+recipe=v2", "+without=[mixup,cutmix]")) == {
        "mix.mixup_alpha": 0,
        "mix.cutmix_alpha": 0,
    }
    everything = plan("+recipe=r00_baseline", f"+with=[{','.join(INGREDIENTS)}]")
    assert everything.result_hash == v2.result_hash
    swapped = plan("+recipe=r07_cutmix", "+without=mixup", "+with=ema")
    assert differences(plan("+recipe=r07_cutmix"), swapped) == {"mix.mixup_alpha": 0, "ema.decay": 0.99998}


def test_folder_is_named_by_values_and_the_command_is_kept(plan: Composer) -> None:
    left_out = plan("+recipe=v2", "+without=mixup")
    assert left_out.name == plan("+recipe=v2", "mix.mixup_alpha=0").name == "v2~mix.mixup_alpha=0"
    assert "+without=mixup" in left_out.overrides
    assert left_out.chain[-1] == "v2"


def test_sweep_over_all_ingredients_is_one_word() -> None:
    compose.register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(PROJECT / "conf"), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        for group in ("without", "with"):
            jobs = list(parser.parse_overrides([f"+{group}=glob(*)"])[0].sweep_string_iterator())
            assert set(jobs) == options(group)


def test_folds_are_part_of_the_experiment(plan: Composer) -> None:
    folds = [plan("+recipe=v1", "data.folds=5", f"data.fold={fold}") for fold in range(5)]
    assert [run.name for run in folds] == [f"v1~data.fold={fold},data.folds=5" for fold in range(5)]
    assert len({run.training_hash for run in (*folds, plan("+recipe=v1"))}) == 6


def test_opening_lines_say_which_fold(tmp_path: Path) -> None:
    data = DataConfig(name="synthetic", size=20, num_classes=2, folds=5, fold=0)
    train_set, val_set = load(data)
    run: Any = SimpleNamespace(
        config=Config(data=data),
        plan=SimpleNamespace(name="v1"),
        order=None,
        at_its_beginning=True,
        ranks=None,
        training=SimpleNamespace(network=torch.nn.Linear(1, 1), ema=SimpleNamespace(model=None)),
        folder=tmp_path,
        train_set=train_set,
        val_set=val_set,
    )
    _, _, _, images, fold = islice(opening(run), 5)
    assert images.split() == ["data", "synthetic:", "16", "training,", "4", "validation", "images"]
    assert fold.strip() == "fold 1 of 5 (data.fold=0)"
    run.config = Config(data=DataConfig(name="synthetic", num_classes=2))
    assert "data.fold" not in " ".join(islice(opening(run), 5))


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["v2", "+without=mixup"], ["+without=mixup", "mix.mixup_alpha 0.2 → 0"]),
        (
            ["r00_baseline", "+with=[long_training,mixup]", "mix.mixup_alpha=0.4", "scale=demo"],
            [
                "+with=[long_training,mixup]",
                "epochs 90 → 600 here 6 → 40",
                "mix.mixup_alpha 0 → 0.4",
                "schedule.step_size 30 → 200 here 2 → 13.3333333333",
            ],
        ),
    ],
)
def test_explain_says_what_is_left_out_and_added(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], lines: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", "explain", *arguments])
    __main__.main()
    *_, section, total = capsys.readouterr().out.split("\n\n")
    assert [" ".join(line.split()) for line in section.splitlines()] == lines
    assert f"{'40' if 'scale=demo' in arguments else '600'} epochs" in total
