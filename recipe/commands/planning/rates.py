"""Images a second that were published of ResNet-50 or measured here, with their sources, and what loading one costs.

Nothing is in here that has no source. What another network, card or loader does is not known, and not guessed.
"""

import re
from typing import NamedTuple

from recipe.config import Config
from recipe.errors import ConfigError

MODEL = "resnet50"  # what all of PUBLISHED trains
NVIDIA = (
    "published by NVIDIA: DeepLearningExamples, PyTorch/Classification/ConvNets/resnet50v1.5/README.md, "
    "pytorch-21.03 container, mixed precision"
)


class PublishedRate(NamedTuple):
    """How fast ResNet-50 was trained on one device of a kind."""

    images_per_second: float
    pixels: int
    what: str
    source: str


PUBLISHED = {
    "a100": PublishedRate(2470, 224, "one A100 80GB", NVIDIA),
    "v100": PublishedRate(1200, 224, "one V100 16GB", NVIDIA),
    "h100": PublishedRate(
        7262, 176, "one H100 80GB", "measured by us: docs/PERFORMANCE.md, 2026-11-26, +recipe=v2, bf16, CUDA graphs"
    ),
    "h100-mlperf": PublishedRate(
        57102 / 8, 224, "an H100, 8 of them together", "MLPerf's record by NVIDIA, as docs/PERFORMANCE.md has it"
    ),
}
DEFAULT = "a100"
SCALING = (
    "NVIDIA published 6.72 times the images a second of one A100 for 8 of them and 6.93 times for 8 V100, at equal "
    "shares of a batch, where this model says almost 8: slow ranks and input cost something, too."
)

# Milliseconds of one core for an image, training at 176 px with v2's recipe: docs/PERFORMANCE.md, 2026-11-25.
LOADED, LOADED_OF_FOUR_REPEATS, POLICY = 1000 / 470, 1000 / 892, 0.50  # the policy where the host has to do it
LOADER_SOURCE = (
    "measured by us: docs/PERFORMANCE.md, 2026-11-25, ImageNet photos at 176 px, one core of an Intel Xeon "
    "(cores of the H100's machine did a third of it)"
)


class GivenRate(NamedTuple):
    """How fast a device trains, at images of one size."""

    images_per_second: float
    pixels: int
    source: str


def given(text: str) -> GivenRate:
    """The rate that `--rate` names: one of PUBLISHED, or images a second at 224 or other pixels (2500@176).

    Raises ConfigError.
    """
    if text in PUBLISHED:
        of = PUBLISHED[text]
        return GivenRate(of.images_per_second, of.pixels, f"{of.what} at {of.pixels} px, {of.source}")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:@(\d+))?", text)
    if not found or not float(found[1]) > 0 or (found[2] is not None and int(found[2]) < 1):
        known = ", ".join(PUBLISHED)
        raise ConfigError(f"--rate {text}: must be images a second (2500, 2500@176 at 176 pixels) or one of {known}")
    return GivenRate(float(found[1]), int(found[2] or 224), f"as given, at {found[2] or 224} px")


def at(rate: GivenRate, pixels: float) -> float:
    """Images a second at another size, in inverse proportion to the pixels."""
    return rate.images_per_second * (rate.pixels / pixels) ** 2


def loading_milliseconds(config: Config) -> float:
    """Milliseconds of one core for an image, by what was measured of recipes like this one."""
    loaded = LOADED_OF_FOUR_REPEATS if config.sampler.repetitions >= 4 else LOADED
    on_host = config.augment.policy != "none" and config.augment.policy_on == "host"
    return loaded + (POLICY if on_host else 0)
