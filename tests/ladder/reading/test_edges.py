"""What is compared differs in what is in question and in nothing else, as recipes of this repository are composed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from synthetic import LADDER, write_run
from synthetic import write_seeds as write

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import SAME, Comparison
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import compared, tables, wording
from recipe.plan.compose import Plan
from recipe.schema import leaves


def write_planned(root: Path, made: Plan, acc1: Sequence[float]) -> None:
    """Run folders of a plan, one for each accuracy, as training would leave them."""
    for seed, figure in enumerate(acc1):
        folder = write_run(root, made.rung.name, seed, figure, differences=made.differences, predictions=False)
        values = {key: value for key, value, about in leaves(made.config) if about["affects"] != "nothing"}
        about = {
            "rung": {**asdict(made.rung), "chain": list(made.chain)},
            "overrides": list(made.overrides),
            "name": made.name,
            "differences": made.differences,
            "config": values | {"seed": seed},
        }
        path = folder / "environment.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | about))
        path = folder / "result.json"
        hashes = {"training_hash": f"{made.training_hash}{seed}", "result_hash": f"{made.result_hash}{seed}"}
        path.write_text(json.dumps(json.loads(path.read_text()) | hashes))


def only(root: Path) -> Comparison:
    (comparison,) = compare(collect([root]))
    return comparison


def parents(comparison: Comparison) -> dict[str, str | None]:
    labels = {row.name: row.label for row in comparison.rows}
    return {row.label: labels[row.parent] if row.parent else None for row in comparison.rows}


def test_override_that_one_rung_has_by_itself_divides_no_ladder(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """The baseline warms up for 0 epochs by itself: only in r01 the override is a difference."""
    for number, rung in enumerate(LADDER[:3]):
        made = plan(f"+recipe={rung}", "schedule.warmup_epochs=0", "scale=demo")
        assert ("schedule.warmup_epochs" in made.differences) == (number > 0)
        write_planned(tmp_path, made, [50 + number, 50.1 + 1.1 * number, 50.3 + number])
    ladder = only(tmp_path)
    assert parents(ladder) == {LADDER[0]: None, LADDER[1]: LADDER[0], LADDER[2]: LADDER[1]}
    assert ladder.common == {"data": "grocery", "scale": "demo", "schedule.warmup_epochs": "0"}
    gain = ladder.rows[1].gain
    assert gain is not None
    assert gain.difference.n == 3
    assert "schedule.warmup_epochs" not in ladder.rows[1].differs
    assert "optimizer.lr" in ladder.rows[1].differs


def test_rungs_with_other_values_of_what_is_overridden_are_not_compared(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """The baseline warms up for 3 epochs here, and the rung above for 0."""
    write_planned(tmp_path, plan(f"+recipe={LADDER[0]}", "schedule.warmup_epochs=3", "scale=demo"), [50, 51])
    write_planned(tmp_path, plan(f"+recipe={LADDER[1]}", "schedule.warmup_epochs=0", "scale=demo"), [52, 53])
    assert [len(comparison.rows) for comparison in compare(collect([tmp_path]))] == [1, 1]


def test_sweep_stays_a_sweep_where_the_rung_below_has_one_of_its_values(tmp_path: Path) -> None:
    """Of r01 with warm-ups of 0, 5 and 10, the first is also a rung over the baseline, which has 0 by itself."""
    write(tmp_path, LADDER[0], 50, config={"schedule.warmup_epochs": 0})
    for epochs in (0, 5, 10):
        write(tmp_path, LADDER[1], 51 + epochs / 10, differences={"schedule.warmup_epochs": epochs})
    ladder, sweep = compare(collect([tmp_path]))
    assert (ladder.shape, [row.label for row in ladder.rows]) == ("ladder", [LADDER[0], LADDER[1]])
    assert ladder.rows[1].name == f"{LADDER[1]}~schedule.warmup_epochs=0"
    assert [row.value for row in sweep.rows] == [0, 5, 10]


def test_grid_is_compared_along_its_sides(tmp_path: Path) -> None:
    """Two values of two keys, none of them the recipe's own: no row differs from what it stands over in both."""
    for alpha in (0.1, 0.4):
        for lr in (0.25, 0.5):
            write(tmp_path, "v2", 50 + alpha + lr, differences={"mix.mixup_alpha": alpha, "optimizer.lr": lr})
    grid = only(tmp_path)
    low = "mix.mixup_alpha=0.1, optimizer.lr=0.25"
    assert parents(grid) == {
        low: None,
        "mix.mixup_alpha=0.1, optimizer.lr=0.5": low,
        "mix.mixup_alpha=0.4, optimizer.lr=0.25": low,
        "mix.mixup_alpha=0.4, optimizer.lr=0.5": "mix.mixup_alpha=0.1, optimizer.lr=0.5",
    }
    assert [len(row.differs) for row in grid.rows[1:]] == [1, 1, 1]
    assert grid.has_totals


def test_2x2_is_compared_along_its_sides(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """From torchvision's network started at zero, timm's started at one differs in both."""
    for number, name in enumerate(("torchvision_one", "torchvision_zero", "timm_one", "timm_zero")):
        write_planned(
            tmp_path,
            plan(f"+experiment=zero_init_{name}", f"data.root={tmp_path}"),
            [70 + number, 70.2 + number, 70.5 + number],
        )
    ladder = only(tmp_path)
    assert parents(ladder) == {
        "zero_init_torchvision_one": None,
        "zero_init_torchvision_zero": "zero_init_torchvision_one",
        "zero_init_timm_one": "zero_init_torchvision_one",
        "zero_init_timm_zero": "zero_init_timm_one",
    }
    assert [row.differs for row in ladder.rows[1:]] == [
        ["model.zero_init_residual"],
        ["model.source"],
        ["model.zero_init_residual"],
    ]
    assert compared.which(ladder) == [
        "Compared: each rung with the nearest below it that was run with the same other values; p allows for these 3 "
        "comparisons (Holm).",
        "zero_init_timm_one with zero_init_torchvision_one, from which it differs in model.source: from zero_init_"
        "torchvision_zero it differs in model.source, model.zero_init_residual at once, which is no contrast.",
    ]
    assert compared.which(ladder)[1] in tables.findings(ladder)


def test_alternatives_are_compared_with_what_both_build_on(plan: Callable[..., Plan], tmp_path: Path) -> None:
    for number, name in enumerate(("vanilla", "mixup", "cutmix")):
        write_planned(
            tmp_path, plan(f"+experiment=tiny_imagenet_{name}", f"data.root={tmp_path}"), [70 + number, 70.2 + number]
        )
    vanilla = "tiny_imagenet_vanilla"
    assert list(parents(only(tmp_path)).values()) == [None, vanilla, vanilla]


def test_one_training_under_two_names_is_not_tested(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """v1 is r00_baseline: their gain is 0 by construction, and Holm's correction must not pay for it."""
    for recipe, start in ((LADDER[0], 50.0), ("v1", 50.0), (LADDER[1], 51.0)):
        write_planned(tmp_path, plan(f"+recipe={recipe}", "scale=demo"), [start, start + 0.5, start**2 / 51])
    first, same, rung = only(tmp_path).rows
    assert (same.parent, rung.parent) == (first.name, first.name)
    assert same.gain is not None
    assert rung.gain is not None
    assert same.gain.verdict == SAME
    assert wording.points(same.gain) == 0
    assert rung.gain.adjusted == rung.gain.difference.p  # as a single comparison
    said = compared.which(only(tmp_path))
    assert said[-1] == "One training, evaluated alike, and so not tested: v1 and r00_baseline."


def test_total_of_one_training_under_two_names_is_tested_once(plan: Callable[..., Plan], tmp_path: Path) -> None:
    """With r02's augmentation r01 is r02."""
    for number, recipe in enumerate(LADDER[:3]):
        made = plan(f"+recipe={recipe}", "augment.policy=ta_wide", "scale=demo")
        start = 50.0 + min(number, 1)
        write_planned(tmp_path, made, [start, start + 0.5, start**2 / 51])
    _, rung, same = only(tmp_path).rows
    assert same.gain is not None
    assert same.gain.verdict == SAME
    assert rung.total is not None
    assert rung.total.adjusted == rung.total.difference.p
    assert same.total == rung.total


def test_settings_that_are_one_training_are_said_to_be(plan: Callable[..., Plan], tmp_path: Path) -> None:
    for recipe in (LADDER[0], "v1"):
        write_planned(tmp_path, plan(f"+recipe={recipe}", "scale=demo"), [50.0, 50.5])
    assert wording.headline(only(tmp_path)) == [
        "There is nothing to compare: all settings are one training, evaluated alike."
    ]


def test_data_that_one_recipe_chooses_itself_and_another_is_given(tmp_path: Path) -> None:
    """Both were trained on the same images with the same values: they are compared."""
    own: dict[str, Any] = {
        "name": "mine",
        "parent": "v2",
        "index": None,
        "published": {},
        "chain": [*LADDER, "v2", "mine"],
    }
    write(tmp_path, "v2", 50, differences={"data": "shop"})
    write(tmp_path, "mine", 51, rung=own, overrides=["data=shop"])
    assert parents(only(tmp_path)) == {"v2": None, "mine": "v2"}
    write(tmp_path / "else", "mine", 51, rung=own, config={"data.mean": [0, 0, 0]})
    apart = compare(collect([tmp_path / "else", tmp_path / "v2~data=shop"]))
    assert [len(comparison.rows) for comparison in apart] == [1, 1]


def test_reports_of_folds_speak_of_folds(tmp_path: Path) -> None:
    for recipe, mean in (("v1", 50.0), ("v2", 50.5)):
        for fold in range(3):
            write_run(tmp_path, recipe, 0, mean + fold**2 / (7 + mean - 50), fold=fold, folds=3, predictions=False)
    said = " ".join(tables.findings(only(tmp_path)))
    assert "With 3 shared folds" in said
    assert "seed" not in said
    for fold in range(3):
        write_run(tmp_path, LADDER[5], 1, 50.0, fold=fold, folds=3, predictions=False)
    gain = only(tmp_path).rows[1].gain
    assert gain is not None
    assert gain.verdict.startswith("not compared (no shared fold")


def test_report_of_one_fold_asks_for_more_folds(tmp_path: Path) -> None:
    for recipe in ("v1", "v2"):
        write_run(tmp_path, recipe, 0, 50.0 + len(recipe), fold=1, folds=3)
    one = only(tmp_path)
    assert one.rows[1].gain is not None
    assert one.rows[1].gain.verdict == "unresolved (one fold)"
    assert "Train more folds, as in data.fold=0,1,2,3,4, to learn what each rung is worth." in wording.headline(one)


def test_a_scale_of_ones_own_divides_no_ladder_and_each_length_has_its_own(
    plan: Callable[..., Plan], tmp_path: Path
) -> None:
    """Factors give the rungs different epochs, and a warm-up to some of them only: none of that is an override."""
    for factor in ("0.1", "0.3"):
        for number, rung in enumerate((LADDER[0], LADDER[1], LADDER[3])):
            own = "scale=demo", f"scale.epochs={factor}", "scale.resolution=0.25", "optimizer.weight_decay=0.001"
            write_planned(tmp_path, plan(f"+recipe={rung}", *own), [50 + number, 50.1 + 1.1 * number, 50.3 + number])
    by_scale = {one.common["scale"]: one for one in compare(collect([tmp_path]))}
    assert len(by_scale) == 2
    for factor in ("0.1", "0.3"):
        ladder = by_scale[scale := f"demo (epochs={factor}, resolution=0.25)"]
        assert parents(ladder) == {LADDER[0]: None, LADDER[1]: LADDER[0], LADDER[3]: LADDER[1]}
        assert ladder.common == {"data": "grocery", "scale": scale, "optimizer.weight_decay": "0.001"}
