"""Recipes of ffcv-imagenet, MosaicML and NVIDIA: each composes to the values that its source has, typed from there."""

from collections.abc import Callable
from typing import Any

import pytest

from recipe.ingredients.ema import averaging_rate
from recipe.ingredients.resizing import pixels
from recipe.plan import rungs
from recipe.plan.compose import Plan
from recipe.schema import leaves

Composer = Callable[..., Plan]

# Of ffcv: epochs, start and end of the ramp, top-1 and top-5 of agg.csv, cost beside v1's.
FFCV = {
    "ffcv_16": (16, 11, 13, 73.760, 91.840, 0.100),
    "ffcv_24": (24, 17, 20, 75.564, 92.702, 0.148),
    "ffcv_32": (32, 23, 27, 76.586, 93.472, 0.198),
    "ffcv_40": (40, 29, 34, 77.242, 93.706, 0.246),
    "ffcv_56": (56, 41, 48, 78.020, 94.082, 0.344),
    "ffcv_88": (88, 65, 76, 78.428, 94.260, 0.540),
}
FFCV_VALUES = {
    "batch_size": 4096,
    "micro_batch_size": 512,
    "model.name": "resnet50",
    "model.source": "torchvision",
    "model.zero_init_residual": False,
    "model.init": "source",
    "model.blur_pool": "convolutions",
    "resolution.train_crop": 192,
    "resolution.first_crop": 160,
    "resolution.grow_step": 32,
    "resolution.val_crop": 256,
    "resolution.val_resize": 293,
    "augment.scale": [0.08, 1.0],
    "augment.ratio": [0.75, 4 / 3],
    "augment.hflip": 0.5,
    "augment.policy": "none",
    "mix.mixup_alpha": 0,
    "mix.cutmix_alpha": 0,
    "loss.name": "cross_entropy",
    "loss.label_smoothing": 0.1,
    "optimizer.name": "sgd",
    "optimizer.lr": 1.7,
    "optimizer.momentum": 0.9,
    "optimizer.nesterov": False,
    "optimizer.weight_decay": 1e-4,
    "optimizer.norm_weight_decay": 0,
    "optimizer.norms_by": "name",
    "optimizer.bias_weight_decay": None,
    "schedule.name": "linear",
    "schedule.warmup_epochs": 2,
    "schedule.warmup_method": "linear",
    "schedule.warmup_decay": 1e-4,
    "schedule.min_lr": 0,
    "schedule.interval": "step",
    "ema.decay": None,
    "evaluate.flip": True,
}
MOSAIC_VALUES = {
    "batch_size": 2048,
    "micro_batch_size": 256,
    "model.name": "resnet50",
    "model.zero_init_residual": False,
    "model.init": "mosaic",
    "model.blur_pool": "convolutions_and_max_pool",
    "resolution.train_crop": 176,
    "resolution.val_resize": 232,
    "resolution.val_crop": 224,
    "resolution.resize_from": 0.5,
    "resolution.resize_delay": 0.4,
    "resolution.resize_finetune": 0.2,
    "resolution.resize_step": 4,
    "loss.name": "bce",
    "loss.sum_classes": True,
    "loss.target_threshold": None,
    "optimizer.source": "timm",
    "optimizer.name": "sgdw",
    "optimizer.args": {"momentum": 0.875, "nesterov": False},
    "optimizer.lr": 2.048,
    "optimizer.weight_decay": 5e-4 / 2.048,
    "optimizer.norm_weight_decay": None,
    "optimizer.bias_weight_decay": None,
    "schedule.name": "cosine",
    "schedule.warmup_epochs": 8,
    "schedule.warmup_decay": 0,
    "schedule.min_lr": 0,
    "schedule.interval": "step",
    "ema.steps": 20,
    "mix.cutmix_alpha": 0,
    "augment.policy": "none",
}
NVIDIA_VALUES = {
    "batch_size": 2048,
    "micro_batch_size": 256,
    "model.name": "resnet50",
    "model.init": "kaiming_normal",
    "model.zero_init_residual": False,
    "resolution.train_crop": 224,
    "resolution.val_resize": 256,
    "resolution.val_crop": 224,
    "resolution.interpolation": "bilinear",
    "augment.scale": [0.08, 1.0],
    "augment.policy": "none",
    "loss.name": "cross_entropy",
    "loss.label_smoothing": 0.1,
    "optimizer.name": "sgd",
    "optimizer.lr": 2.048,
    "optimizer.momentum": 0.875,
    "optimizer.nesterov": False,
    "optimizer.weight_decay": 1 / 32768,
    "optimizer.norm_weight_decay": 0,
    "optimizer.norms_by": "name",
    "optimizer.bias_weight_decay": None,
    "schedule.name": "cosine",
    "schedule.warmup_epochs": 8,
    "schedule.warmup_method": "next",
    "schedule.min_lr": 0,
    "schedule.interval": "epoch",
    "ema.decay": None,
}
NVIDIA = "NVIDIA DeepLearningExamples @ 729963dd"
OTHERS: dict[str, tuple[dict[str, Any], float, dict[str, float]]] = {
    "mosaic_mild": (
        MOSAIC_VALUES | {"epochs": 36, "loss.label_smoothing": 0.08, "mix.mixup_alpha": 0},
        0.132,
        {},
    ),
    "mosaic_medium": (
        MOSAIC_VALUES | {"epochs": 135, "loss.label_smoothing": 0.1, "mix.mixup_alpha": 0.2},
        0.493,
        {},
    ),
    "nvidia_90": (NVIDIA_VALUES | {"epochs": 90, "mix.mixup_alpha": 0}, 1.0, {"acc1": 77.12}),
    "nvidia_250": (NVIDIA_VALUES | {"epochs": 250, "mix.mixup_alpha": 0.2}, 2.778, {"acc1": 78.43}),
}
ALL = {
    name: (
        FFCV_VALUES | {"epochs": epochs, "resolution.grow_from": start, "resolution.grow_until": end},
        cost,
        {"acc1": acc1, "acc5": acc5},
    )
    for name, (epochs, start, end, acc1, acc5, cost) in FFCV.items()
} | OTHERS


@pytest.mark.parametrize("name", ALL)
def test_values_are_those_of_the_source(plan: Composer, name: str) -> None:
    composed = plan(f"+recipe={name}")
    wanted, cost, published = ALL[name]
    found = {key: value for key, value, _ in leaves(composed.config)}
    for key, value in wanted.items():
        assert found[key] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), key
    assert composed.rung.published == published
    config = composed.config
    images = 1_281_167 // config.batch_size * config.batch_size  # the source leaves out the last, short step
    of_v1 = config.epochs * pixels(config) / (90 * 224**2)
    assert of_v1 * (images / 1_281_167 if composed.rung.source != NVIDIA else 1) == pytest.approx(cost, abs=6e-4)


@pytest.mark.parametrize("name", ALL)
def test_the_head_comment_says_source_command_cost_and_what_deviates(name: str) -> None:
    file = rungs.recipe_file(name)
    assert file is not None
    comments = [line[2:] for line in file.read_text("utf-8").splitlines() if line.startswith("# ")]
    said = "\n".join(comments)
    assert f"+recipe={name} " in said
    for word in ("Source: ", "Published: ", "Command: ", "What deviates: "):
        assert f"\n{word}" in said
    assert f"\nCost: {ALL[name][1]:.3f} of v1's" in said
    assert rungs.rung(name).parent is None


@pytest.mark.parametrize("name", ["mosaic_mild", "mosaic_medium"])
def test_averages_of_mosaic_have_a_half_life_of_100_steps(plan: Composer, name: str) -> None:
    config = plan(f"+recipe={name}").config
    assert config.ema.decay is not None
    alpha = averaging_rate(config.ema.decay, 2048, 20, config.epochs, 1_281_167)
    assert alpha == pytest.approx(1 - 2 ** (-20 / 100), rel=1e-6)
