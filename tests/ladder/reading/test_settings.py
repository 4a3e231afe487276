"""Each setting is compared with what it builds on, in the table where it belongs."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from synthetic import LADDER, write_run
from synthetic import write_seeds as write

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.reading.collect import collect
from recipe.plan.compose import Plan
from recipe.schema import leaves


def compared(root: Path) -> list[Comparison]:
    return compare(collect([root]))


def only(root: Path) -> Comparison:
    (comparison,) = compared(root)
    return comparison


def parents(comparison: Comparison) -> dict[str, str | None]:
    labels = {row.name: row.label for row in comparison.rows}
    return {row.label: labels[row.parent] if row.parent else None for row in comparison.rows}


def test_ladder_with_gaps(tmp_path: Path) -> None:
    """The rungs that were trained, each over the nearest below it."""
    for number in (9, 0, 2, 6):
        write(tmp_path, LADDER[number], 50 + number, differences={"scale": "demo"})
    ladder = only(tmp_path)
    assert ladder.shape == "ladder"
    rungs = [LADDER[number] for number in (0, 2, 6, 9)]
    assert parents(ladder) == dict(zip(rungs, [None, *rungs], strict=False))
    assert list(parents(ladder)) == rungs
    assert ladder.common == {"data": "grocery", "scale": "demo"}
    assert [row.published.figures["acc1"] for row in ladder.rows] == [76.130, 76.806, 79.232, 80.196]
    assert {row.published.instead for row in ladder.rows} == {"on ImageNet"}
    assert math.isnan(ladder.rows[1].published_gain)
    assert ladder.correlation == pytest.approx(1.0)


def test_first_and_last_rung_under_their_other_names(tmp_path: Path) -> None:
    for recipe, mean in (("v1", 50), ("v2", 55)):
        write(tmp_path, recipe, mean)
    assert parents(only(tmp_path)) == {"v1": None, "v2": "v1"}
    assert only(tmp_path).correlation is None  # two published figures are in one order or the other
    write(tmp_path, LADDER[3], 52)
    assert parents(only(tmp_path)) == {"v1": None, LADDER[3]: "v1", "v2": LADDER[3]}
    write(tmp_path, LADDER[0], 50)
    assert parents(only(tmp_path)) == {LADDER[0]: None, "v1": LADDER[0], LADDER[3]: LADDER[0], "v2": LADDER[3]}


def test_own_recipe_stands_over_the_one_it_builds_on(tmp_path: Path) -> None:
    chain = [*LADDER, "v2", "mine"]
    own: dict[str, Any] = {"name": "mine", "parent": "v2", "index": None, "published": {}, "chain": chain}
    further = own | {"name": "more", "parent": "mine", "chain": [*chain, "more"]}
    write(tmp_path, "more", 57, rung=further)
    write(tmp_path, "mine", 56, rung=own)
    write(tmp_path, "v2", 55)
    write(tmp_path, LADDER[5], 54)
    assert parents(only(tmp_path)) == {LADDER[5]: None, "v2": LADDER[5], "mine": "v2", "more": "mine"}


def test_recipe_whose_index_contradicts_what_it_builds_on_makes_no_loop(tmp_path: Path) -> None:
    odd = {"name": "odd", "parent": "v2", "index": 3, "published": {}, "chain": [*LADDER, "v2", "odd"]}
    for recipe, rung in (("odd", odd), ("v2", None), (LADDER[7], None)):
        write(tmp_path, recipe, 50, rung=rung)
    assert parents(only(tmp_path)) == {LADDER[7]: None, "v2": LADDER[7], "odd": "v2"}


def test_ingredients_left_out_and_added(tmp_path: Path) -> None:
    scaled = {"scale": "demo"}
    write(tmp_path, "v2", 55, differences=scaled)
    write(tmp_path, "v2", 54, differences=scaled | {"mix.mixup_alpha": 0}, without="mixup")
    write(tmp_path, "v2", 56, differences=scaled | {"ema.decay": None}, without="ema")
    write(tmp_path, LADDER[0], 50, differences=scaled)
    write(tmp_path, LADDER[0], 51, differences=scaled | {"mix.mixup_alpha": 0.2}, with_="mixup")
    ladder, left_out, added = compared(tmp_path)
    assert [ladder.shape, left_out.shape, added.shape] == ["ladder", "leave-one-out", "add-one-in"]
    assert parents(ladder) == {LADDER[0]: None, "v2": LADDER[0]}
    assert parents(left_out) == {"v2": None, "without ema": "v2", "without mixup": "v2"}
    assert parents(added) == {LADDER[0]: None, "with mixup": LADDER[0]}
    write(tmp_path, "v2", 57, differences=scaled | {"mix.mixup_alpha": 0.4})
    assert compared(tmp_path)[1].rows[0].name == "v2~scale=demo"  # and not the one with another value of its own
    assert left_out.rows[2].gain is not None
    assert left_out.rows[2].gain.difference.mean == pytest.approx(-1)
    assert [bool(row.published.figures) for row in left_out.rows] == [True, False, False]


def test_what_is_left_out_is_compared_at_the_same_other_values(tmp_path: Path) -> None:
    long = {"epochs": 20}
    write(tmp_path, "v2", 55)
    write(tmp_path, "v2", 57, differences=long)
    write(tmp_path, "v2", 56, differences=long | {"mix.mixup_alpha": 0}, without="mixup", overrides=["epochs=20"])
    by_shape = {comparison.shape: comparison for comparison in compared(tmp_path)}
    assert [row.mean for row in by_shape["leave-one-out"].rows] == sorted(
        [row.mean for row in by_shape["leave-one-out"].rows], reverse=True
    )
    assert by_shape["leave-one-out"].rows[0].name == "v2~epochs=20"
    assert by_shape["leave-one-out"].common["epochs"] == "20"


def test_two_ingredients_left_out_are_compared_with_the_whole_recipe(tmp_path: Path) -> None:
    """Not with the run that has one of their values by an override, which is another question."""
    scaled = {"scale": "demo"}
    both = scaled | {"mix.cutmix_alpha": 0, "mix.mixup_alpha": 0}
    write(tmp_path, "v2", 54, differences=scaled | {"mix.cutmix_alpha": 0})
    write(tmp_path, "v2", 55, differences=scaled)
    write(tmp_path, "v2", 53, differences=both, without="[mixup,cutmix]")
    left_out = next(comparison for comparison in compared(tmp_path) if comparison.shape == "leave-one-out")
    assert [row.name for row in left_out.rows][:1] == ["v2~scale=demo"]
    assert parents(left_out) == {"v2": None, "without mixup, cutmix": "v2"}


def test_added_ingredient_with_another_value_names_it(tmp_path: Path) -> None:
    stronger = {"mix.mixup_alpha": 0.4}
    write(tmp_path, "r01_lr_optimizations", 50)
    write(tmp_path, "r01_lr_optimizations", 51, differences=stronger, with_="mixup", overrides=["mix.mixup_alpha=0.4"])
    added = only(tmp_path)
    assert added.shape == "add-one-in"
    assert [row.label for row in added.rows] == ["r01_lr_optimizations", "with mixup, mix.mixup_alpha=0.4"]


def test_what_train_py_makes_of_a_command_line_is_understood(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """Overrides, differences and folds as compose.py has them, not as the tests write them."""
    v2, demo = "+recipe=v2", "scale=demo"
    commands = {
        "v2": (v2,),
        "without mixup": (v2, "+without=mixup"),
        "without ema": (v2, "+without=ema"),
        "alpha": (v2, "mix.mixup_alpha=0.4"),
        "v1": ("+recipe=v1",),
        "fold 0": (v2, "data.folds=2", "data.fold=0"),
        "fold 1": (v2, "data.folds=2", "data.fold=1"),
    }
    for name, command in commands.items():
        made = plan(*command, demo)
        write_made(tmp_path / name, made, name if name.startswith("fold") else None)
    ladder, left_out, sweep, folds = compared(tmp_path)
    assert parents(ladder) == {"v1": None, "v2": "v1"}
    assert parents(left_out) == {"v2": None, "without ema": "v2", "without mixup": "v2"}
    assert [row.value for row in sweep.rows] == [0.2, 0.4]
    assert (folds.shape, list(folds.rows[0].runs)) == ("folds", [(0, 0), (0, 1)])


def test_rungs_at_one_length_are_compared_though_only_some_have_steps_that_follow_it(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    for recipe in LADDER[:3]:
        write_made(tmp_path / recipe, plan(f"+recipe={recipe}", "epochs=600"))
    ladder = only(tmp_path)
    assert parents(ladder) == dict(zip(LADDER[:3], [None, *LADDER[:2]], strict=True))
    assert ladder.common["epochs"] == "600"


def write_made(root: Path, made: Plan, data: str | None = None) -> None:
    about = {"rung": {**asdict(made.rung), "chain": list(made.chain)}, "overrides": list(made.overrides)}
    folder = write_run(root, made.rung.name, predictions=False)
    path = folder / "environment.json"
    environment = json.loads(path.read_text()) | about
    if data is not None:
        environment["data"] = {"train": data, "val": data}
    values = {key: value for key, value, about in leaves(made.config) if about["affects"] != "nothing"}
    made_of = {"name": made.name, "differences": made.differences, "config": values}
    path.write_text(json.dumps(environment | made_of))


@pytest.mark.parametrize("with_default", [True, False])
def test_sweep_over_numbers(tmp_path: Path, with_default: bool) -> None:
    for alpha in (10.0, 9.0, 0.1):
        write(tmp_path, "v2", 50 + alpha, differences={"mix.mixup_alpha": alpha, "epochs": 20})
    if with_default:
        write(tmp_path, "v2", 50.2, differences={"epochs": 20}, config={"mix.mixup_alpha": 0.2})
    sweep = only(tmp_path)
    assert (sweep.shape, sweep.varied) == ("sweep", ["mix.mixup_alpha"])
    assert sweep.common == {"data": "grocery", "epochs": "20"}
    expected = [0.2, 0.1, 9.0, 10.0] if with_default else [0.1, 9.0, 10.0]
    assert [row.value for row in sweep.rows] == expected  # the recipe's own first, then by value
    assert {row.parent for row in sweep.rows[1:]} == {sweep.rows[0].name}
    assert sweep.rows[0].label == f"mix.mixup_alpha={expected[0]}"


def test_sweep_over_two_keys(tmp_path: Path) -> None:
    for alpha in (0.1, 0.4):
        for lr in (0.5, 0.25):
            write(tmp_path, "v2", 50 + alpha + lr, differences={"mix.mixup_alpha": alpha, "optimizer.lr": lr})
    sweep = only(tmp_path)
    assert (sweep.shape, sweep.varied) == ("sweep", ["mix.mixup_alpha", "optimizer.lr"])
    assert sweep.rows[0].label == "mix.mixup_alpha=0.1, optimizer.lr=0.25"
    assert [row.value for row in sweep.rows] == [None] * 4
    write(tmp_path, "v2", 50, differences={"optimizer.lr": 0.5}, config={"mix.mixup_alpha": 0.2})
    write(tmp_path, "v2", 50, config={"mix.mixup_alpha": 0.2})
    whole = only(tmp_path)
    assert whole.rows[0].name == "v2"
    assert len(whole.rows) == 6
    assert {row.name: row.parent for row in whole.rows}["v2~mix.mixup_alpha=0.1,optimizer.lr=0.5"] == (
        "v2~optimizer.lr=0.5"  # the nearest
    )


def test_two_sweeps_of_a_rung_are_two_tables_beside_the_ladder(tmp_path: Path) -> None:
    write(tmp_path, "v1", 45)
    write(tmp_path, "v2", 50)
    for alpha in (0.1, 0.4):
        write(tmp_path, "v2", 50, differences={"mix.mixup_alpha": alpha})
    write(tmp_path, "v2", 50, differences={"optimizer.name": "adamw"})
    ladder, *sweeps = compared(tmp_path)
    assert parents(ladder) == {"v1": None, "v2": "v1"}
    assert sorted((sweep.varied, len(sweep.rows)) for sweep in sweeps) == [
        (["mix.mixup_alpha"], 3),
        (["optimizer.name"], 2),
    ]


def test_runs_on_other_data_or_scales_are_not_compared(tmp_path: Path) -> None:
    write(tmp_path / "a", "v1", 50)
    write(tmp_path / "b", "v2", 55, data={"train": "other", "val": "images"})
    write(tmp_path / "c", "v2", 30, differences={"scale": "demo"})
    found = compared(tmp_path)
    assert [[row.label for row in comparison.rows] for comparison in found] == [["v1"], ["v2"], ["v2"]]
    write(tmp_path / "d", "v1", 51, data={"train": "other", "val": "images"})
    first, *_, last = compared(tmp_path)
    assert parents(first) == {"v1": None, "v2": "v1"}
    assert first.rows[0].mean == pytest.approx(51.1 + 10 / 300)
    assert last.rows[0].gain is None
