"""The rungs: each composes to its parent and the declared difference, and says what was published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from recipe.plan import rungs
from recipe.plan.compose import PROJECT, Plan
from recipe.plan.hydra_errors import explain
from recipe.schema import leaves

Composer = Callable[..., Plan]

# Rung: published top-1 and top-5, and what it changes from the rung below. From torchvision's account of its recipe.
LADDER: dict[str, tuple[float, float, dict[str, Any]]] = {
    "r00_baseline": (76.130, 92.862, {}),
    "r01_lr_optimizations": (
        76.494,
        93.198,
        {
            "batch_size": 1024,
            "micro_batch_size": 128,
            "optimizer.lr": 0.5,
            "schedule.name": "cosine",
            "schedule.warmup_epochs": 5,
        },
    ),
    "r02_trivial_augment": (76.806, 93.272, {"augment.policy": "ta_wide"}),
    "r03_long_training": (78.606, 94.052, {"epochs": 600}),
    "r04_random_erasing": (78.796, 94.094, {"augment.random_erase": 0.1}),
    "r05_label_smoothing": (79.114, 94.374, {"loss.label_smoothing": 0.1}),
    "r06_mixup": (79.232, 94.536, {"mix.mixup_alpha": 0.2}),
    "r07_cutmix": (79.510, 94.642, {"mix.cutmix_alpha": 1.0}),
    "r08_weight_decay_tuning": (
        80.036,
        94.746,
        {"optimizer.weight_decay": 2e-5, "optimizer.norm_weight_decay": 0},
    ),
    "r09_fixres": (80.196, 94.672, {"resolution.train_crop": 176}),
    "r10_ema": (80.450, 94.908, {"ema.decay": 0.99998}),
    "r11_inference_resize": (80.674, 95.166, {"resolution.val_resize": 232}),
    "r12_repeated_augmentation": (80.858, 95.434, {"sampler.repetitions": 4}),
}
RUNGS = list(LADDER)

# The published baseline, written out: torchvision's flags and their defaults.
BASELINE = {
    "epochs": 90,
    "batch_size": 256,
    "micro_batch_size": 32,
    "model.name": "resnet50",
    "model.zero_init_residual": False,
    "resolution.train_crop": 224,
    "resolution.val_resize": 256,
    "resolution.val_crop": 224,
    "resolution.interpolation": "bilinear",
    "augment.policy": "none",
    "augment.random_erase": 0.0,
    "augment.hflip": 0.5,
    "mix.mixup_alpha": 0.0,
    "mix.cutmix_alpha": 0.0,
    "sampler.repetitions": 1,
    "loss.name": "cross_entropy",
    "loss.label_smoothing": 0.0,
    "optimizer.name": "sgd",
    "optimizer.lr": 0.1,
    "optimizer.momentum": 0.9,
    "optimizer.nesterov": False,
    "optimizer.weight_decay": 1e-4,
    "optimizer.norm_weight_decay": None,
    "schedule.name": "step",
    "schedule.step_size": 30,
    "schedule.gamma": 0.1,
    "schedule.warmup_epochs": 0,
    "schedule.warmup_decay": 0.01,
    "schedule.interval": "epoch",
    "ema.decay": None,
    "ema.steps": 32,
}


def values(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value, _ in leaves(plan.config) if key != "rung"}


@pytest.mark.parametrize("rung", RUNGS)
def test_rung_changes_only_what_it_declares(plan: Composer, rung: str) -> None:
    below = values(plan(f"+recipe={RUNGS[max(0, RUNGS.index(rung) - 1)]}"))
    here = values(plan(f"+recipe={rung}"))
    assert {key: here[key] for key in here if here[key] != below[key]} == LADDER[rung][2]


@pytest.mark.parametrize("rung", RUNGS)
def test_rung_says_what_was_published(plan: Composer, rung: str) -> None:
    about = plan(f"+recipe={rung}").rung
    index = RUNGS.index(rung)
    assert (about.name, about.index) == (rung, index)
    assert about.parent == (RUNGS[index - 1] if index else None)
    assert about.published == {"acc1": LADDER[rung][0], "acc5": LADDER[rung][1]}


def test_there_are_no_rungs_but_these() -> None:
    """Beside those of fine-tuning, t00 and so on, and recipes that stand alone."""
    found = {path.stem for path in (PROJECT / "conf" / "recipe").glob("*.yaml")}
    found = {name for name in found if rungs.rung(name).index is not None}
    assert {name for name in found if not name.startswith("t0")} == {*RUNGS, "v1", "v2"}


def test_baseline_is_the_published_one(plan: Composer) -> None:
    here = values(plan("+recipe=r00_baseline"))
    assert {key: here[key] for key in BASELINE} == BASELINE


def test_v1_and_v2_are_the_ends_of_the_ladder(plan: Composer) -> None:
    assert values(plan("+recipe=v1")) == values(plan("+recipe=r00_baseline"))
    assert values(plan("+recipe=v2")) == values(plan("+recipe=r12_repeated_augmentation"))


def test_rung_files_hold_only_their_difference() -> None:
    for rung in RUNGS:
        text = (PROJECT / "conf" / "recipe" / f"{rung}.yaml").read_text()
        assert len(text.splitlines()) <= 12
        assert set(OmegaConf.load(PROJECT / "conf" / "recipe" / f"{rung}.yaml")) - {"defaults", "rung"} <= {
            "epochs",
            "batch_size",
            "micro_batch_size",
            "optimizer",
        }


def test_own_rung_does_not_inherit_published_figures(plan: Composer, tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "r13_mine.yaml").write_text(
        "# @package _global_\ndefaults: [r12_repeated_augmentation, _self_]\noptimizer: {lr: 0.25}\n"
    )
    mine = plan("+recipe=r13_mine", f"hydra.searchpath=[file://{tmp_path}]")
    assert mine.config.optimizer.lr == 0.25
    assert mine.rung.parent == "r12_repeated_augmentation"
    assert mine.rung.published == {}
    assert mine.rung.index is None


def test_recipe_without_its_package_line_is_told_so(plan: Composer, tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text("defaults: [v2, _self_]\nepochs: 3\n")
    with pytest.raises(HydraException) as caught:
        plan("+recipe=mine", f"hydra.searchpath=[file://{tmp_path}]")
    assert "# @package _global_" in (explain(caught.value) or "")


def test_own_recipe_may_choose_its_data(plan: Composer, tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "random.yaml").write_text(
        "# @package _global_\ndefaults: [v1, override /data: synthetic, _self_]\n"
    )
    assert plan("+recipe=random", f"hydra.searchpath=[file://{tmp_path}]").name == "random"


def test_rungs_that_differ_in_evaluation_are_one_training(plan: Composer) -> None:
    hashes = {rung: plan(f"+recipe={rung}").training_hash for rung in RUNGS}
    assert hashes["r09_fixres"] == hashes["r10_ema"] == hashes["r11_inference_resize"]
    assert len(set(hashes.values())) == len(RUNGS) - 2
    results = {plan(f"+recipe={rung}").result_hash for rung in RUNGS}
    assert len(results) == len(RUNGS)


@pytest.mark.parametrize(
    ("choice", "key", "value"),
    [
        ("schedule=step", "schedule.name", "step"),
        ("mix=none", "mix.mixup_alpha", 0.0),
        ("ema=none", "ema.decay", None),
        ("sampler=standard", "sampler.repetitions", 1),
        ("augment=trivial_augment", "augment.random_erase", 0.0),
        ("loss=bce", "loss.label_smoothing", 0.0),
        ("resolution=standard", "resolution.train_crop", 224),
    ],
)
def test_group_choice_on_the_command_line_beats_the_recipe(plan: Composer, choice: str, key: str, value: Any) -> None:
    assert values(plan("+recipe=v2", choice))[key] == value
