"""For tests of `recipe plan`: its arguments, as its command line is read, and runs of a ladder of two."""

import argparse
from pathlib import Path

from synthetic import write_run

from recipe.commands import plan


def arguments(*words: str) -> argparse.Namespace:
    """What `recipe plan WORDS` is run with."""
    parser = argparse.ArgumentParser()
    plan.add_to(parser.add_subparsers())
    return parser.parse_args(["plan", *words])


def ladder_of_two(folder: Path, seeds: int = 3) -> Path:
    """A folder with runs of r00 (49, 50, 51 %) and r01 (51.5, 51, 50.5 %), each at 1,000 images a second."""
    model = {"model.name": "resnet50", "model.source": "torchvision", "model.freeze": "none"}
    sizes = {"runtime.precision": "fp32", "resolution.train_crop": 224}
    for recipe, first, step in (("r00_baseline", 49.0, 1.0), ("r01_lr_optimizations", 51.5, -0.5)):
        for seed in range(seeds):
            write_run(folder, recipe, seed, first + step * seed, config=model | sizes, images_seen=3_600_000)
    return folder
