"""data=synthetic: images of random pixels, for speed and for trying things out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from recipe.config import DataConfig
from recipe.data.decode import Picture, picture_of
from recipe.data.split import part_fingerprint
from recipe.randomness import generator_at

SIDE = 256  # pixels
MOST_VALIDATION_IMAGES = 50_000  # as many as ImageNet has


@dataclass
class RandomImages:
    """Images of random pixels, the same on every call."""

    split: str
    numbers: np.ndarray  # (images,) int64: which of the split's images
    labels: np.ndarray  # (images,) int64
    classes: list[str]
    fingerprint: str
    root: None = None  # no files

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Its number."""
        return f"{self.split}/{self.numbers[index]}"

    def open(self, index: int) -> Picture:
        """One image."""
        generator = generator_at(0, f"synthetic/{self.split}", int(self.numbers[index]))
        return picture_of(torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator))

    def part(self, mask: np.ndarray, what: str) -> "RandomImages":
        """The images where the mask, (images,) bool, is true. `what` tells the part's fingerprint from others'."""
        fingerprint = part_fingerprint(self.fingerprint, what)
        return replace(self, numbers=self.numbers[mask], labels=self.labels[mask], fingerprint=fingerprint)

    def versions(self) -> Iterator["RandomImages"]:
        """Itself alone."""
        yield self

    def remarks(self) -> Iterator[str]:
        """None."""
        return iter(())

    def notices(self) -> Iterator[str]:
        """None."""
        return iter(())


def open_split(config: DataConfig, split: str) -> RandomImages:
    """data.size images to train on; a quarter as many to validate on and to test on."""
    assert config.num_classes is not None
    sizes = {
        "train": config.size,
        "val": min(max(1, config.size // 4), MOST_VALIDATION_IMAGES),
        "test": max(1, config.size // 4),
    }
    numbers = np.arange(sizes[split], dtype=np.int64)
    classes = [f"class{number}" for number in range(config.num_classes)]
    fingerprint = f"synthetic-{split}-{sizes[split]}-{config.num_classes}"
    return RandomImages(split, numbers, numbers % config.num_classes, classes, fingerprint)
