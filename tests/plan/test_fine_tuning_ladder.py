"""The ladder of fine-tuning: each rung is the one below and one ingredient; and it trains from real weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from photos import save_photos
from safetensors.torch import load_file

from recipe.plan.compose import PROJECT, Plan
from recipe.schema import leaves

Composer = Callable[..., Plan]

LADDER: dict[str, dict[str, Any]] = {
    "t00_head": {},
    "t01_all_layers": {"model.freeze": "none", "optimizer.backbone_lr_factor": 0.1},
    "t02_warmup_cosine": {
        "optimizer.lr": 0.002,
        "schedule.name": "cosine",
        "schedule.warmup_epochs": 1,
        "schedule.interval": "step",
    },
    "t03_augmentation": {"augment.policy": "ta_wide", "augment.random_erase": 0.1},
    "t04_label_smoothing": {"loss.label_smoothing": 0.1},
    "t05_mixup_cutmix": {"mix.mixup_alpha": 0.2, "mix.cutmix_alpha": 1.0},
    "t06_ema": {"ema.decay": 0.99998},
}
RUNGS = list(LADDER)
WEIGHTS = ("model=efficientnet_lite0", "model.weights=package:efficientnet-lite0")  # needs no file to compose


def values(plan: Plan) -> dict[str, Any]:
    return {key: value for key, value, _ in leaves(plan.config) if key != "rung"}


@pytest.mark.parametrize("rung", RUNGS)
def test_rung_changes_only_what_it_declares(plan: Composer, rung: str) -> None:
    index = RUNGS.index(rung)
    here, below = (values(plan(f"+recipe={name}", *WEIGHTS)) for name in (rung, RUNGS[max(0, index - 1)]))
    assert {key: here[key] for key in here if here[key] != below[key]} == LADDER[rung]
    about = plan(f"+recipe={rung}", *WEIGHTS).rung
    assert (about.index, about.parent, about.published) == (index, RUNGS[index - 1] if index else None, {})
    assert len((PROJECT / "conf" / "recipe" / f"{rung}.yaml").read_text().splitlines()) <= 12


def test_first_rung_trains_a_head_on_published_weights(plan: Composer) -> None:
    config = plan("+recipe=t00_head").config
    assert (config.model.weights, config.model.freeze) == ("IMAGENET1K_V2", "backbone")  # torchvision's best
    assert (config.optimizer.name, config.schedule.name, config.epochs) == ("adamw", "constant", 10)


def test_head_is_trained_alone_and_then_all_layers_from_the_weights_given(plan: Composer, tmp_path: Path) -> None:
    """Real weights in a file: after t00 the backbone is theirs to the last bit, after t01 it is not."""
    from dataclasses import replace

    from recipe.network.model import make_model
    from recipe.run.run import train  # PyTorch

    for split in ("train", "val"):
        for label, name in enumerate("ab"):
            save_photos(tmp_path / "data" / split / name, label, 8)
    size = (
        "resolution.train_crop=32",
        "resolution.val_resize=32",
        "resolution.val_crop=32",
        "epochs=2",
        "batch_size=8",
    )
    options = ("model.name=shufflenet_v2_x0_5", "data=imagefolder", f"data.root={tmp_path / 'data'}", *size)
    file = tmp_path / "start.pth"
    other = plan("+recipe=v1", *options, "micro_batch_size=4", "seed=5").config
    start = make_model(other, 1000).state_dict()
    torch.save(start, file)
    changed = {}
    for rung in ("t00_head", "t01_all_layers"):
        composed = plan(f"+recipe={rung}", *options, f"model.weights={file}", "micro_batch_size=4", "data.workers=0")
        folder = tmp_path / rung
        train(replace(composed, folder=folder))
        ended = load_file(folder / "checkpoints" / "model.safetensors")
        weights = {name for name in ended if name.endswith("weight") and not name.startswith("fc.")}
        changed[rung] = {name for name in weights if not torch.equal(ended[name], start[name])}
        assert ended["fc.weight"].shape == (2, 1024)
    assert not changed["t00_head"]
    assert changed["t01_all_layers"] == weights
