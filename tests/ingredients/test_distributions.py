"""Our draws follow the laws of torchvision's own transforms, v1 and v2.

Samples are seeded. Two fail where equal laws would differ as much with fewer than one in 10,000 seeds, and they are
large enough for a parameter off by a little to fail: crops from 0.09 instead of 0.08 of the image on, say.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from functools import cache
from itertools import combinations
from operator import itemgetter
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision import transforms as v1
from torchvision.transforms import autoaugment, v2

from recipe.config import AugmentConfig, MixConfig
from recipe.data.transforms import draw_train
from recipe.ingredients.augment import draw_crop, draw_erase, erase
from recipe.ingredients.mix import MixDraw, draw_mix
from recipe.ingredients.policies import POLICIES, Operation
from recipe.randomness import Draws

T = TypeVar("T")

LEVEL = 1e-4
TAILS = np.array([0.001, 0.002, 0.005, 0.01, 0.02])  # where a range that is a little too narrow shows
QUANTILES = np.concatenate([TAILS, np.linspace(0.04, 0.96, 24), 1 - TAILS[::-1]])
BOXES = 12_000
FLIPS = 40_000
POLICIES_DRAWN = 25_000
SEEDS = {v1: 1, v2: 2}  # with one seed both would draw the same numbers
CUTMIX = MixConfig(cutmix_alpha=1.0)
BOTH = MixConfig(mixup_alpha=0.2, cutmix_alpha=1.0)

both_families = pytest.mark.parametrize("family", [v1, v2], ids=["v1", "v2"])


@both_families
@pytest.mark.parametrize(("height", "width"), [(375, 500), (900, 200), (64, 64)])
def test_crops_are_distributed_as_torchvision_s(height: int, width: int, family: Any) -> None:
    assert_same_boxes(crops(height, width), torchvision_s_crops(family, height, width), height, width)


@both_families
@pytest.mark.parametrize("options", [{"ratio": [1.0, 1.0]}, {"scale": [0.2, 0.5], "ratio": [0.5, 1.5]}], ids=str)
def test_crops_of_other_ranges_are_distributed_as_torchvision_s(options: dict[str, list[float]], family: Any) -> None:
    assert_same_boxes(crops(400, 400, **options), torchvision_s_crops(family, 400, 400, **options), 400, 400)


@both_families
def test_every_crop_of_a_tiny_image_is_as_likely_as_torchvision_s(family: Any) -> None:
    assert_same_shares(rows(crops(5, 7)), rows(torchvision_s_crops(family, 5, 7)))


@both_families
@pytest.mark.parametrize(("height", "width"), [(1000, 1000), (20, 200)])
def test_erased_boxes_are_distributed_as_torchvision_s(height: int, width: int, family: Any) -> None:
    assert_same_boxes(erasings(height, width), torchvision_s_erasings(family, height, width), height, width)


@both_families
def test_every_erased_box_of_a_tiny_image_is_as_likely_as_torchvision_s(family: Any) -> None:
    assert_same_shares(rows(erasings(5, 9)), rows(torchvision_s_erasings(family, 5, 9)))


@both_families
def test_as_many_images_and_pixels_are_erased_as_torchvision_erases(family: Any) -> None:
    count, image, transform = 50_000, torch.ones(1, 16, 16), family.RandomErasing(0.1)
    boxes = torch.tensor([draw_erase(0.1, Draws(0, "erase", 0, i), 16, 16) for i in range(count)], dtype=torch.int32)
    ours = 1 - erase(image.repeat(count, 1, 1, 1), boxes).mean((1, 2, 3)).numpy()
    theirs = 1 - np.array(sample(lambda: transform(image).mean().item(), count, family))
    assert_same_shares((ours > 0).tolist(), (theirs > 0).tolist())
    assert stats.binomtest((ours > 0).sum(), count, 0.1).pvalue > LEVEL
    assert_same_distribution(ours, theirs)


@both_families
def test_images_are_flipped_as_often_as_torchvision_flips(family: Any) -> None:
    image, transform = torch.tensor([[[0, 1]]]), family.RandomHorizontalFlip()
    theirs = sample(lambda: bool(transform(image)[0, 0, 0]), FLIPS, family)
    config = AugmentConfig(policy="none")
    assert_same_shares((draw_train(config, 16, 0, 0, i, 8, 8).flip for i in range(FLIPS)), theirs)


@both_families
@pytest.mark.parametrize(
    ("policy", "transform"), [("ta_wide", "TrivialAugmentWide"), ("ra", "RandAugment"), ("imagenet", "AutoAugment")]
)
def test_policies_draw_operations_magnitudes_and_signs_as_torchvision_s(
    policy: str, transform: str, family: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [POLICIES[policy](Draws(0, "policy", 0, i), 16) for i in range(POLICIES_DRAWN)]
    theirs = torchvision_s_operations(family, transform, 16, monkeypatch)
    lists = [[tuple((name, round(value, 3)) for name, value in image) for image in drawn] for drawn in (ours, theirs)]
    assert_same_shares(*lists)
    assert_same_shares(*(map(len, drawn) for drawn in lists))
    operations = [[operation for image in drawn for operation in image] for drawn in lists]
    assert_same_shares(*([name for name, _ in drawn] for drawn in operations))
    assert_same_shares(*([(name, abs(value)) for name, value in drawn] for drawn in operations))
    signed = {name for name, value in operations[1] if value < 0}
    negative = [[value < 0 for name, value in drawn if value and name in signed] for drawn in operations]
    assert_same_shares(*negative)
    assert stats.binomtest(sum(negative[0]), len(negative[0]), 0.5).pvalue > LEVEL


def test_mixup_or_cutmix_is_chosen_as_by_torchvision_s_random_choice() -> None:
    choose = v2.RandomChoice([lambda _: "mixup", lambda _: "cutmix"])
    ours = ["mixup" if draw.box is None else "cutmix" for draw in mixes(BOTH, 40_000)]
    assert_same_shares(ours, sample(lambda: choose(None), 40_000, v2))
    assert stats.binomtest(ours.count("cutmix"), 40_000, 0.5).pvalue > LEVEL


@pytest.mark.parametrize(("alpha", "cutmix_alpha"), [(0.2, 1.0), (1.0, 0.0)])
def test_mixup_s_lambda_is_distributed_as_torchvision_s(alpha: float, cutmix_alpha: float) -> None:
    drawn = mixes(MixConfig(mixup_alpha=alpha, cutmix_alpha=cutmix_alpha), 50_000)
    ours = lambdas([draw for draw in drawn if draw.box is None])
    transform = v2.MixUp(alpha=alpha)
    theirs = np.array(sample(lambda: transform.make_params([])["lam"], 30_000, v2))
    limits = 1e-6, 1 - 1e-6  # theirs are float32, where 2 % of Beta(0.2, 0.2) are the number before 1
    assert_same_distribution(ours.clip(*limits), theirs.clip(*limits))
    assert stats.ks_1samp(ours, stats.beta(alpha, alpha).cdf, method="asymp").pvalue > LEVEL


@pytest.mark.parametrize(
    ("height", "width", "config"), [(176, 176, CUTMIX), (48, 100, BOTH)], ids=["alone", "with_mixup"]
)
def test_cutmix_s_lambda_and_box_are_distributed_as_torchvision_s(height: int, width: int, config: MixConfig) -> None:
    ours = [draw for draw in mixes(config, 2 * BOXES, height, width) if draw.box]
    theirs = torchvision_s_cutmix(height, width)
    assert_same_distribution(lambdas(ours), lambdas(theirs))
    assert_same_boxes(boxes_of(ours), boxes_of(theirs), height, width)


def test_cutmix_s_lambda_before_clamping_is_distributed_as_torchvision_s(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [draw_mix(CUTMIX, Centred(0, "mix", 0, step), 1000, 1000) for step in range(30_000)]
    monkeypatch.setattr(torch, "randint", lambda high, size: torch.tensor([high // 2]))
    assert_same_distribution(lambdas(ours), lambdas(torchvision_s_cutmix(1000, 1000, count=30_000)))


def test_every_box_of_cutmix_in_a_tiny_image_is_as_likely_as_torchvision_s() -> None:
    theirs = torchvision_s_cutmix(5, 7)
    assert_same_shares((draw.box for draw in mixes(CUTMIX, BOXES, 5, 7)), (draw.box for draw in theirs))


def test_first_numbers_of_every_image_are_uniform() -> None:
    streams = [Draws(0, "crop", 0, i) for i in range(30_000)]
    numbers = np.array([[draws.uniform() for _ in range(10)] for draws in streams])
    assert stats.ks_1samp(numbers.ravel(), stats.uniform.cdf, method="asymp").pvalue > LEVEL


def test_draws_are_independent_of_each_other_and_of_the_neighbour_s() -> None:
    config = AugmentConfig(policy="ta_wide", random_erase=0.5)
    drawn = [draw_train(config, 16, 0, 0, i, 20, 20) for i in range(10_000)]
    area = [draw.crop.height * draw.crop.width // 80 for draw in drawn]
    flip = [draw.flip for draw in drawn]
    operation = [draw.operations[0][0] for draw in drawn]
    erased = [draw.erase.height > 0 for draw in drawn]
    pairs = list(combinations([area, flip, operation, erased], 2))
    for one, other in pairs + [(kind[1:], kind[:-1]) for kind in (area, flip, operation, erased)]:
        assert stats.chi2_contingency(stats.contingency.crosstab(one, other).count).pvalue > LEVEL


def assert_same_shares(ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> None:
    """Two samples of something discrete, by the chi-square test; values seen less than ten times count as one."""
    counts = Counter(ours), Counter(theirs)
    frequent = [value for value, count in (counts[0] + counts[1]).items() if count >= 10]
    table = np.array([[*(count[value] for value in frequent), 0] for count in counts])
    table[:, -1] = [count.total() for count in counts] - table.sum(1)
    assert stats.chi2_contingency(table[:, table.any(0)], correction=False).pvalue > LEVEL


def assert_same_distribution(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Two samples of numbers: by Kolmogorov and Smirnov's test, and by the chi-square test, which sees the tails."""
    assert stats.ks_2samp(ours, theirs, method="asymp").pvalue > LEVEL
    edges = np.unique(np.quantile(np.concatenate([ours, theirs]), QUANTILES))
    assert_same_shares(*(np.searchsorted(edges, values, side="right").tolist() for values in (ours, theirs)))


def assert_same_boxes(ours: np.ndarray, theirs: np.ndarray, height: int, width: int) -> None:
    """Area, logarithm of the ratio and place: each for itself, and in thirds together."""
    features = []
    for top, left, h, w in (ours.T, theirs.T):
        log_ratio = np.log(np.maximum(w, 1) / np.maximum(h, 1))
        place = top / np.maximum(height - h, 1), left / np.maximum(width - w, 1)
        features.append(np.array([h * w / (height * width), log_ratio, *place]))
    for feature, other in zip(*features, strict=True):
        assert_same_distribution(feature, other)
    limits = np.quantile(np.hstack(features), [1 / 3, 2 / 3], axis=1)
    assert_same_shares(*(rows((values > limits[:, :, None]).sum(0).T) for values in features))


def rows(boxes: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(box) for box in boxes.tolist()]


def sample(draw: Callable[[], T], count: int, family: Any) -> list[T]:
    """Draws from torch's global generator, which is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEEDS[family])
        return [draw() for _ in range(count)]


def crops(height: int, width: int, **options: Any) -> np.ndarray:
    config = AugmentConfig(policy="none", **options)
    return np.array([draw_crop(config, Draws(0, "crop", 0, i), height, width) for i in range(BOXES)])


def torchvision_s_crops(family: Any, height: int, width: int, **options: Any) -> np.ndarray:
    image, transform = torch.empty(3, height, width), family.RandomResizedCrop(1, **options)
    box = itemgetter("top", "left", "height", "width")
    if family is v1:
        return np.array(sample(lambda: transform.get_params(image, transform.scale, transform.ratio), BOXES, v1))
    return np.array(sample(lambda: box(transform.make_params([image])), BOXES, v2))


def erasings(height: int, width: int) -> np.ndarray:
    return np.array([draw_erase(1.0, Draws(0, "erase", 0, i), height, width) for i in range(BOXES)])


def torchvision_s_erasings(family: Any, height: int, width: int) -> np.ndarray:
    image, transform = torch.empty(1, height, width), family.RandomErasing()
    if family is v1:
        drawn = sample(lambda: transform.get_params(image, transform.scale, transform.ratio, [0.0])[:4], BOXES, v1)
    else:
        drawn = sample(lambda: itemgetter("i", "j", "h", "w")(transform.make_params([image])), BOXES, v2)
    boxes = np.array(drawn)
    boxes[boxes[:, 2] == height] = 0  # their way to say that no box fits, and nothing is erased
    return boxes


def torchvision_s_operations(
    family: Any, name: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> list[list[Operation]]:
    """What a policy of torchvision has done to each image, told by a spy in place of the doing."""
    transform, image = getattr(family, name)(), torch.zeros(3, size, size, dtype=torch.uint8)
    done: list[Operation] = []

    def spy(image: torch.Tensor, name: str, magnitude: float, **others: object) -> torch.Tensor:
        grey_levels = 255 if family is v2 and name == "Solarize" else 1  # v2 has it as a share of 255
        done.append((name, magnitude * grey_levels))
        return image

    def draw() -> list[Operation]:
        done.clear()
        transform(image)
        return list(done)

    if family is v1:
        monkeypatch.setattr(autoaugment, "_apply_op", spy)
        monkeypatch.setattr(transform, "_augmentation_space", cache(transform._augmentation_space))  # for speed
    else:
        monkeypatch.setattr(transform, "_apply_image_or_video_transform", spy)
    return sample(draw, POLICIES_DRAWN, family)


def mixes(config: MixConfig, count: int, height: int = 48, width: int = 64) -> list[MixDraw]:
    return [draw_mix(config, Draws(0, "mix", 0, step), height, width) for step in range(count)]


def torchvision_s_cutmix(height: int, width: int, count: int = BOXES) -> list[MixDraw]:
    image, transform = torch.empty(1, 3, height, width), v2.CutMix(alpha=1.0)
    drawn = sample(lambda: transform.make_params([image]), count, v2)
    return [MixDraw(params["lam_adjusted"], itemgetter(1, 3, 0, 2)(params["box"])) for params in drawn]


def lambdas(drawn: list[MixDraw]) -> np.ndarray:
    return np.array([draw.lam for draw in drawn])


def boxes_of(drawn: list[MixDraw]) -> np.ndarray:
    y1, y2, x1, x2 = np.array([draw.box for draw in drawn]).T
    return np.stack([y1, x1, y2 - y1, x2 - x1], axis=1)


class Centred(Draws):
    """Puts every box of cutmix into the middle of the image, where nothing is clamped."""

    def below(self, n: int) -> int:
        return n // 2
