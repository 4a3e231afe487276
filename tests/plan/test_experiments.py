"""The experiments of conf/experiment: their values against the source's, and what they start from."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from test_other_recipes import RECIPES as OTHER_RECIPES

from recipe.errors import ConfigError
from recipe.ingredients.schedule import cycled_momentum, learning_rate
from recipe.plan import rungs
from recipe.plan.compose import PROJECT, Plan, plan_of
from recipe.plan.hydra_errors import explain
from recipe.schema import leaves

Composer = Callable[..., Plan]
FOLDER = PROJECT / "conf" / "experiment"
SHARED = ("intel", "tiny_imagenet", "zero_init")  # what others build on

INTEL = {
    "data.name": "imagefolder",
    "data.num_classes": 6,
    "epochs": 10,
    "batch_size": 64,
    "micro_batch_size": 64,
    "model.name": "resnet50",
    "optimizer.name": "adam",
    "optimizer.lr": 5e-4,
    "optimizer.weight_decay": 0,
    "schedule.name": "plateau",
    "schedule.gamma": 0.5,
    "schedule.patience": 1,
    "augment.hflip": 0.5,
    "loss.name": "cross_entropy",
}
TINY = {
    "data.num_classes": 200,
    "data.mean": [0, 0, 0],
    "data.std": [1, 1, 1],
    "model.name": "resnet18",
    "model.stem": "imagenet",
    "model.freeze": "none",
    "epochs": 7,
    "batch_size": 100,
    "micro_batch_size": 100,
    "optimizer.name": "sgd",
    "optimizer.lr": 0.001,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 0,
    "schedule.name": "step",
    "schedule.step_size": 7,
    "schedule.gamma": 0.1,
    "loss.name": "cross_entropy",
    "augment.crop": "resize_random",
    "augment.policy": "none",
    "augment.rotation": 0,
    "augment.sharpness": None,
    "augment.random_erase": 0,
    "augment.hflip": 0,
    "resolution.train_crop": 64,
    "resolution.val_resize": 64,
    "resolution.val_crop": 64,
}
SCRATCH = TINY | {
    "data.mean": [0.4802, 0.4481, 0.3975],
    "data.std": [0.2302, 0.2265, 0.2262],
    "model.weights": None,
    "model.stem": "small",
    "epochs": 400,
    "optimizer.lr": 0.2,
    "optimizer.weight_decay": 1e-4,
    "schedule.name": "cosine",
    "schedule.step_size": 30,
    "augment.crop": "random_resized",
    "augment.hflip": 0.5,
}
ZERO = {
    "data.num_classes": 10,
    "data.mean": [0, 0, 0],
    "data.std": [1, 1, 1],
    "model.name": "resnet18",
    "model.head": "concat_pool",
    "model.head_width": 512,
    "model.head_dropout": 0.5,
    "model.weights": None,
    "epochs": 5,
    "batch_size": 64,
    "micro_batch_size": 64,
    "runtime.precision": "fp32",
    "loss.name": "cross_entropy",
    "optimizer.name": "adamw",
    "optimizer.lr": 1e-3,
    "optimizer.betas": [0.95, 0.99],
    "optimizer.eps": 1e-5,
    "optimizer.weight_decay": 0.01,
    "optimizer.norm_weight_decay": 0,
    "optimizer.bias_weight_decay": 0,
    "schedule.name": "onecycle",
    "schedule.interval": "step",
    "augment.crop": "resize_random",
    "augment.hflip": 0,
    "resolution.train_crop": 256,
    "resolution.val_resize": 256,
    "resolution.val_crop": 256,
}
ZOO = {
    "model.name": "resnet50",
    "model.freeze": "backbone",
    "model.frozen_batch_norm": "train",
    "model.head": "mlp",
    "model.head_width": 256,
    "model.head_dropout": 0.4,
    "loss.name": "nll",
    "optimizer.name": "adam",
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 0,
    "model.weights": "IMAGENET1K_V1",
    "batch_size": 32,
    "checkpoint.best_by": "loss",
    "augment.crop": "random_resized",
    "augment.scale": [0.8, 1.0],
    "augment.rotation": 15,
    "augment.hflip": 0.5,
    "resolution.train_resize": 256,
    "resolution.train_crop": 224,
    "resolution.val_resize": 256,
    "resolution.val_crop": 224,
}
FIXRES = {
    "model.freeze": "backbone_but_norms",
    "model.frozen_batch_norm": "train",
    "resolution.train_crop": 224,
    "resolution.val_crop": 224,
    "resolution.val_resize": 232,
    "mix.cutmix_alpha": 0,
    "augment.policy": "none",
}
LARGE = {"resolution.train_crop": 224, "resolution.val_resize": 224, "resolution.interpolation": "bicubic"}
V1, V2 = {"model.weights": "IMAGENET1K_V1"}, {"model.weights": "IMAGENET1K_V2"}
FROZEN, FREE = {"model.freeze": "backbone"}, {"model.freeze": "none"}
TORCHVISION, TIMM = {"model.source": "torchvision"}, {"model.source": "timm"}
FLIPS, STAGE_3 = {"epochs": 15, "augment.hflip": 0.5}, f"{PROJECT}/outputs/tiny_imagenet_3/seed=0/checkpoints/best.pt"
ONE, ZEROED = {"model.zero_init_residual": False}, {"model.zero_init_residual": True}

# Experiment: what was published, and the values that the source names.
EXPERIMENTS: dict[str, tuple[dict[str, float], dict[str, Any]]] = {
    "intel_frozen_v1": ({"acc1": 89.27, "loss": 0.285}, INTEL | V1 | FROZEN),
    "intel_frozen_v2": ({"acc1": 90.87, "loss": 0.262}, INTEL | V2 | FROZEN),
    "intel_finetune_v1": ({"acc1": 91.67, "loss": 0.267}, INTEL | V1 | FREE),
    "intel_finetune_v2": ({"acc1": 93.83, "loss": 0.211}, INTEL | V2 | FREE | {"optimizer.lr": 1e-4}),
    "tiny_imagenet_1": ({"best_acc1": 25.9}, TINY | FLIPS | {"model.weights": None}),
    "tiny_imagenet_2": ({"best_acc1": 56.9}, TINY | FLIPS | V1),
    "tiny_imagenet_3": ({"best_acc1": 73.1}, TINY | V1 | LARGE | {"resolution.val_crop": 224}),
    "tiny_imagenet_4": ({"best_acc1": 54.5}, TINY),
    "tiny_imagenet_5": ({"best_acc1": 72.3}, TINY | {"model.stem": "small_with_bias"}),
    "tiny_imagenet_vanilla": ({"acc1": 61.68}, SCRATCH),
    "tiny_imagenet_mixup": ({"acc1": 63.86}, SCRATCH | {"mix.mixup_alpha": 1.0, "mix.cutmix_alpha": 0.0}),
    "tiny_imagenet_cutmix": ({"acc1": 65.53}, SCRATCH | {"mix.mixup_alpha": 0.0, "mix.cutmix_alpha": 1.0}),
    "zero_init_timm_zero": ({"acc1": 72.69, "loss": 0.848}, ZERO | TIMM | ZEROED),
    "zero_init_timm_one": ({"acc1": 78.75, "loss": 0.682}, ZERO | TIMM | ONE),
    "zero_init_torchvision_one": ({"acc1": 78.17, "loss": 0.674}, ZERO | TORCHVISION | ONE),
    "zero_init_torchvision_zero": ({"acc1": 72.97, "loss": 0.845}, ZERO | TORCHVISION | ZEROED),
    "zoo": ({"best_acc1": 96}, ZOO),
    "fixres_finetune": ({}, V2 | FIXRES),
    "confirm_resnet101": ({"acc1": 81.886, "acc5": 95.780}, {"model.name": "resnet101"}),
    "confirm_resnet152": ({"acc1": 82.284, "acc5": 96.002}, {"model.name": "resnet152"}),
    "confirm_resnext50": ({"acc1": 81.198, "acc5": 95.340}, {"model.name": "resnext50_32x4d"}),
}


def values(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value, _ in leaves(plan.config) if key != "rung"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_has_the_values_of_its_source(name: str) -> None:
    published, expected = EXPERIMENTS[name]
    found = plan_of([f"+experiment={name}", "data.root=."], to_run=False)
    here = values(found)
    assert {key: here[key] for key in expected} == expected
    assert found.rung.published == published
    assert found.name == name


def test_there_are_no_experiments_but_these() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == {*EXPERIMENTS, *SHARED, *OTHER_RECIPES}


def test_files_are_short_and_say_command_cost_and_what_was_published() -> None:
    for path in FOLDER.glob("*.yaml"):
        if path.stem in OTHER_RECIPES:  # which test_other_recipes.py looks at
            continue
        lines = path.read_text().splitlines()
        assert len([line for line in lines if not line.startswith("#")]) <= 12
        if path.stem not in SHARED:
            assert "# Cost: " in path.read_text()
            assert f"+experiment={path.stem} data.root=" in path.read_text()
            assert "Published: " in path.read_text()


def test_documentation_names_each_experiment_with_its_figure() -> None:
    text = (PROJECT / "docs" / "EXPERIMENTS.md").read_text()
    rows = {row[1]: row[2] for row in re.finditer(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE)}
    assert rows.keys() == EXPERIMENTS.keys()
    for name, (published, _) in EXPERIMENTS.items():
        elsewhere = [92.4] if name == "zoo" else []  # on the test images
        assert [float(figure) for figure in re.findall(r"[\d.]+\d", rows[name])] == [*published.values(), *elsewhere]


def test_confirmations_are_the_v2_recipe_on_another_model(plan: Composer) -> None:
    recipe = values(plan("+recipe=v2", "data=imagenet", "data.root=."))
    for name in ("confirm_resnet101", "confirm_resnet152", "confirm_resnext50"):
        here = values(plan(f"+experiment={name}", "data.root=."))
        assert {key for key in here if here[key] != recipe[key]} == {"model.name"}
        assert rungs.chain(name)[-2] == "v2"


def test_one_cycle_has_the_rates_and_momenta_of_the_source(plan: Composer) -> None:
    config = plan("+experiment=zero_init_timm_one", "data.root=.").config
    steps = 148  # of an epoch: 9,469 images, 64 a step, the last one short
    times = [(epoch, step) for epoch in range(5) for step in range(steps)]
    rates = [learning_rate(config.schedule, 1e-3, 5, *at, steps) for at in times]
    momenta = [cycled_momentum(config.schedule, 5, *at, steps) for at in times]
    assert (rates[0], max(rates), rates[-1]) == pytest.approx((1e-3 / 25, 1e-3, 1e-8))
    assert (momenta[0], min(momenta), momenta[-1]) == pytest.approx((0.95, 0.85, 0.95))
    assert rates.index(max(rates)) == 0.25 * 5 * steps - 1 == momenta.index(min(momenta))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_demo_scale_keeps_whole_micro_batches_and_the_model_of_named_weights(name: str) -> None:
    full = plan_of([f"+experiment={name}", "data.root=."], to_run=False).config
    small = plan_of([f"+experiment={name}", "data.root=.", "scale=demo"], to_run=False).config
    micro_batches = max(1, full.batch_size // full.micro_batch_size // 2)  # an eighth of the images in quarters
    assert small.batch_size == micro_batches * small.micro_batch_size
    assert small.micro_batch_size * 4 == full.micro_batch_size
    assert small.scale.batch_size == small.batch_size / full.batch_size  # which the average's steps follow
    assert small.optimizer.lr / small.batch_size == pytest.approx(full.optimizer.lr / full.batch_size)
    assert small.model.name == full.model.name
    assert small.resolution.train_crop < full.resolution.train_crop


def test_scale_replaces_the_model_where_the_command_brings_weights(plan: Composer, tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "own.pth")
    own = ("data.root=.", "scale=demo", f"model.weights={tmp_path / 'own.pth'}")
    assert plan("+experiment=intel_frozen_v2", *own).config.model.name == "resnet18"


def test_stage_without_the_run_that_it_starts_from_is_refused(
    plan: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECIPE_OUTPUTS", str(tmp_path))
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
        plan("+experiment=tiny_imagenet_5", "data.root=.", "seed=4")
    said = explain(caught.value) or ""
    run = tmp_path / "outputs" / "tiny_imagenet_3" / "seed=4"
    assert f"tiny_imagenet_5 starts from the run of tiny_imagenet_3 with seed=4, and {run} is not there" in said
    assert f"python train.py +experiment=tiny_imagenet_3 seed=4 data.root={Path.cwd()}, or" in said
    run.mkdir(parents=True)
    smaller = tmp_path / "multirun_outputs" / "tiny_imagenet_3~scale=demo" / "seed=0"
    smaller.mkdir(parents=True)
    (smaller / "result.json").write_text("{}")
    with pytest.raises((ConfigError, HydraException, OmegaConfBaseException)) as caught:
        plan("+experiment=tiny_imagenet_4", "data.root=.", "seed=4")
    said = explain(caught.value) or ""
    assert f"{run} has not finished" in said
    assert said.endswith(f"(there is model.weights={smaller})")
