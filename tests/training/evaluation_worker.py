"""Evaluations on as many ranks as there are, and what each rank found. test_evaluation.py starts it."""

import sys
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from conftest import plan_of, watch_over
from torch import nn

from recipe import config as c
from recipe.config import Config
from recipe.data.decode import Picture, picture_of
from recipe.machine import distributed
from recipe.machine.distributed import Ranks
from recipe.run import trainer
from recipe.run.run import train
from recipe.training.evaluate import evaluate

BATCH, SIZES = 4, (28, 20)  # of evaluations by hand: images of a rank's forward pass, val_resize and val_crop
ROWS = (1, 2, 0, 3)  # that each rank has in a gathering
GRID = [{"weights": "raw"}, {"val_resize": 64, "val_crop": 56}, {"weights": "ema", "val_crop": 40}]
CONFIG = Config(  # of a run, whose last evaluated epochs are the second and the third
    epochs=3,
    batch_size=16,
    micro_batch_size=4,
    model=c.ModelConfig("shufflenet_v2_x0_5"),
    data=c.DataConfig("synthetic", num_classes=10, size=28, workers=1),  # 7 to validate on
    resolution=c.ResolutionConfig(train_crop=48, val_resize=52, val_crop=48),
    augment=c.AugmentConfig(policy="none"),
    loss=c.LossConfig("cross_entropy"),
    optimizer=c.OptimizerConfig("sgd", lr=0.01),
    schedule=c.ScheduleConfig("constant"),
    ema=c.EmaConfig(decay=1 - 0.5 * 3 / 16 * 28 / 1_281_167, steps=1),  # alpha 0.5
    evaluate=c.EvaluateConfig(every=2, batch_size=BATCH, grid=GRID),
    checkpoint=c.CheckpointConfig(keep_after_training=True),
    runtime=c.RuntimeConfig(device="cpu", precision="fp64"),
    scale=c.ScaleConfig("imagenet"),
)


@dataclass
class Photos:
    """Blocks of colour, neither square nor of one shape; notes what is read."""

    images: int
    num_classes: int = 10
    fingerprint: str = "photos"
    read_here: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(29)
        self.labels: np.ndarray = torch.randint(self.num_classes, (self.images,), generator=generator).numpy()
        self.classes = [str(number) for number in range(self.num_classes)]

    def __len__(self) -> int:
        return self.images

    def name(self, index: int) -> str:
        return str(index)

    def open(self, index: int) -> Picture:
        self.read_here.append(index)
        blocks = torch.randint(256, (3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(index))
        return picture_of(blocks.repeat_interleave(8 + index % 3, 1).repeat_interleave(7, 2))


def networks(num_classes: int = 10, dtype: torch.dtype = torch.float64) -> dict[str, nn.Module]:
    """Two networks with batch-norm statistics of their own, as they stand in training."""
    return {"raw": _network(2, num_classes, dtype), "ema": _network(3, num_classes, dtype)}


def _network(seed: int, num_classes: int, dtype: torch.dtype) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        norm = nn.BatchNorm2d(8)
        norm.running_mean, norm.running_var = torch.randn(8) / 5, torch.rand(8) / 5 + 0.1
        head = nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, num_classes)
        return nn.Sequential(nn.Conv2d(3, 8, 5, stride=2), norm, *head).to(dtype).train()


def found(
    ranks: Ranks, images: int, num_classes: int = 10, precision: str = "fp64", workers: int = 0
) -> dict[str, Any]:
    """Evaluate both networks, of whose statistics rank 0 alone has the right ones: what this rank read and found."""
    config = deepcopy(CONFIG)
    config.data.workers, config.runtime.precision = workers, precision
    photos = Photos(images, num_classes)
    models = networks(num_classes, torch.float64 if precision == "fp64" else torch.float32)
    for model in models.values():
        for buffer in model.buffers():
            buffer.add_(ranks.rank)
    evaluations = evaluate(models, photos, config, ranks, *SIZES)
    return {"read": photos.read_here, **evaluations}


def sizes(world_size: int) -> list[int]:
    """Around a whole number of batches on every rank, and fewer images than ranks."""
    whole = world_size * BATCH
    return sorted({1, max(1, world_size - 1), whole - 1, whole, whole + 1, 2 * whole + 1})


def main(folder: Path) -> None:
    """All evaluations on this rank, in a file of its own; and a whole run, where the ranks divide its micro-batches."""
    ranks = distributed.start(CONFIG.runtime)
    results: dict[str, Any] = {str(images): found(ranks, images) for images in sizes(ranks.world_size)}
    results["three classes"] = found(ranks, 9, num_classes=3)
    results["fp32"] = found(ranks, 9, precision="fp32")
    results["workers"] = found(ranks, 9, workers=2)
    results["rows"] = ranks.gather_rows(torch.full((ROWS[ranks.rank], 2), ranks.rank))
    torch.save(results, folder / f"rank{ranks.rank}.pt")
    lent = mock.patch.multiple(distributed, start=lambda _: ranks, stop=lambda: None)  # they join their group only once
    if CONFIG.batch_size // CONFIG.micro_batch_size % ranks.world_size == 0:
        with lent, mock.patch.object(trainer, "SAVING_SHARE", float("inf")):  # every epoch is saved
            train(plan_of(CONFIG, folder / "run"))
    distributed.stop()


if __name__ == "__main__":
    watch_over()
    main(Path(sys.argv[1]))
