"""Recipes of other sources: each composes to the values that its source has, and says what was published of it.

The tables are typed from the sources (named in the recipes' heads), not from the recipes.
"""

import re
from collections.abc import Callable
from typing import Any

import pytest

from recipe.ingredients.schedule import learning_rate
from recipe.plan.compose import PROJECT, Plan
from recipe.schema import leaves

Composer = Callable[..., Plan]

TIMM = {"model.name": "resnet50", "model.source": "timm", "model.zero_init_residual": True, "resolution.val_crop": 224}
TIMM |= {"resolution.val_resize": 235, "resolution.interpolation": "bicubic", "augment.random_erase": 0}
TIMM |= {"augment.policy": "timm", "augment.timm_policy": "rand-m7-mstd0.5-inc1", "augment.hflip": 0.5}
TIMM |= {"resolution.train_crop": 224, "mix.cutmix_alpha": 1.0, "mix.mixup_alpha": 0.1}
TIMM |= {"schedule.name": "timm_cosine", "schedule.interval": "epoch", "batch_size": 2048}
NO_DECAY = {"optimizer.norm_weight_decay": 0, "optimizer.bias_weight_decay": 0}
RSB = TIMM | NO_DECAY | {"micro_batch_size": 256, "optimizer.source": "torch", "optimizer.name": "lamb"}
RSB |= {"optimizer.eps": 1e-6, "optimizer.betas": [0.9, 0.999], "optimizer.grad_clip": 1.0, "ema.decay": None}
RSB |= {"loss.name": "bce", "loss.sum_classes": False, "loss.target_threshold": None}
RSB |= {"schedule.warmup_epochs": 5, "schedule.min_lr": 1e-6, "schedule.cooldown_epochs": 0}
ADAN = TIMM | {"micro_batch_size": 256, "optimizer.source": "timm", "optimizer.name": "adan", "optimizer.args": {}}
ADAN |= {"optimizer.weight_decay": 0.02, "optimizer.norm_weight_decay": None, "optimizer.bias_weight_decay": None}
ADAN |= {"optimizer.grad_clip": 5.0, "loss.name": "bce", "loss.label_smoothing": 0, "loss.target_threshold": None}
ADAN |= {"schedule.warmup_epochs": 60, "schedule.cooldown_epochs": 10, "sampler.repetitions": 1, "ema.decay": None}
ADAN |= {"model.args": {"drop_path_rate": 0.05}}
LARS = {"epochs": 37, "batch_size": 3264, "micro_batch_size": 408, "optimizer.source": "timm", "optimizer.name": "lars"}
LARS |= {"optimizer.args": {"momentum": 0.9, "trust_coeff": 0.001, "eps": 0}, "optimizer.lr": 10.5, **NO_DECAY}
LARS |= {"optimizer.weight_decay": 5e-5, "schedule.name": "polynomial", "schedule.power": 2, "schedule.min_lr": 1e-4}
LARS |= {"schedule.warmup_epochs": 2, "schedule.interval": "step", "loss.label_smoothing": 0.1}
LARS |= {"augment.scale": [0.05, 1], "augment.policy": "none", "resolution.train_crop": 224, "mix.mixup_alpha": 0}
LARS |= {"resolution.val_resize": 256, "resolution.val_crop": 224, "evaluate.every": 4, "loss.name": "cross_entropy"}
USI = TIMM | NO_DECAY | {"epochs": 310, "batch_size": 1024, "micro_batch_size": 128, "optimizer.name": "adamw"}
USI |= {"optimizer.lr": 2e-3, "optimizer.weight_decay": 0.02, "mix.mixup_alpha": 0.8, "sampler.repetitions": 3}
USI |= {"loss.name": "cross_entropy", "loss.label_smoothing": 0, "schedule.warmup_epochs": 5, "schedule.min_lr": 1e-6}
USI |= {"schedule.cooldown_epochs": 10, "ema.steps": 1}

# Values, first rate of the warm-up, published top-1 and top-5.
RECIPES: dict[str, tuple[dict[str, Any], float, tuple[float, float] | None]] = {
    "rsb_a1": (
        {
            **RSB,
            **{"epochs": 600, "optimizer.lr": 5e-3, "optimizer.weight_decay": 0.01, "loss.label_smoothing": 0.1},
            **{"mix.mixup_alpha": 0.2, "sampler.repetitions": 3, "model.args": {"drop_path_rate": 0.05}},
        },
        1e-4,
        (80.382, 94.598),
    ),
    "rsb_a2": (
        {
            **RSB,
            **{"epochs": 300, "optimizer.lr": 5e-3, "optimizer.weight_decay": 0.02, "loss.label_smoothing": 0},
            **{"sampler.repetitions": 3, "model.args": {"drop_path_rate": 0.05}},
        },
        1e-4,
        (79.828, 94.560),
    ),
    "rsb_a3": (
        {
            **RSB,
            **{"epochs": 100, "optimizer.lr": 8e-3, "optimizer.weight_decay": 0.02, "loss.label_smoothing": 0},
            **{"sampler.repetitions": 1, "model.args": {}, "resolution.train_crop": 160},
            "augment.timm_policy": "rand-m6-mstd0.5-inc1",
        },
        1e-4,
        (78.052, 93.780),
    ),
    "adan_100": ({**ADAN, "epochs": 110, "optimizer.lr": 0.03, "schedule.min_lr": 1e-6}, 1e-9, (78.070, 93.814)),
    "adan_200": ({**ADAN, "epochs": 210, "optimizer.lr": 0.015, "schedule.min_lr": 1e-4}, 1e-9, (79.650, 94.514)),
    "adan_300": ({**ADAN, "epochs": 310, "optimizer.lr": 0.015, "schedule.min_lr": 1e-5}, 1e-6, (80.212, 94.768)),
    "mlperf_lars": (LARS, 0.0, None),
    "usi_300": (USI, 1e-4, None),
}


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipe_has_its_source_s_values(plan: Composer, name: str) -> None:
    expected, first, published = RECIPES[name]
    composed = plan(f"+experiment={name}")
    here = {key: value for key, value, _ in leaves(composed.config)}
    assert {key: here[key] for key in expected} == expected
    schedule, lr = composed.config.schedule, composed.config.optimizer.lr
    assert learning_rate(schedule, lr, composed.config.epochs, 0, 0, 400) == pytest.approx(first, rel=1e-9)
    figures = dict(zip(("acc1", "acc5"), published, strict=True)) if published else {}
    assert composed.rung.published == figures
    assert composed.rung.source


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipe_s_head_says_where_it_is_from_and_what_it_costs(name: str) -> None:
    head = (PROJECT / "conf" / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").split("\ndefaults:")[0]
    for word in ("# Source: ", "# Published: ", f"+experiment={name} ", "# Cost: ", "# Deviates: "):
        assert word in head, word
    epochs, pixels = RECIPES[name][0]["epochs"], RECIPES[name][0]["resolution.train_crop"]
    said = re.search(r"# Cost: ([\d.]+) times v1's images x px²", head)
    assert said is not None
    assert float(said[1]) == pytest.approx(epochs * pixels**2 / (90 * 224**2), rel=2e-3)  # some drop a short last step


def test_adan_s_rate_falls_at_the_end_of_its_warm_up_as_timm_s_did(plan: Composer) -> None:
    """The rates of epochs 59 and 60 of its published runs."""
    for name, before, after in (
        ("adan_100", 0.0295, 0.01037),
        ("adan_200", 0.01475, 0.01193),
        ("adan_300", 0.01475, 0.01357),
    ):
        config = plan(f"+experiment={name}").config
        rates = [learning_rate(config.schedule, config.optimizer.lr, config.epochs, epoch) for epoch in (59, 60)]
        assert rates == pytest.approx([before, after], rel=1e-3)


def test_usi_s_average_is_the_source_s(plan: Composer) -> None:
    """timm's EMA with decay 0.99996 at each step, in the units of ema.decay."""
    config = plan("+experiment=usi_300").config
    assert config.ema.decay is not None
    alpha = (1 - config.ema.decay) * config.batch_size * config.ema.steps / config.epochs
    assert 1 - alpha == pytest.approx(0.99996, abs=1e-12)
