"""The registry of augmentations: a new one is its functions and a line, and leaves all other draws as they were."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
import torch
from photos import photo
from torchvision.transforms import functional as vision
from torchvision.transforms.functional import pil_to_tensor

from recipe.config import AugmentConfig, ResolutionConfig
from recipe.data.transforms import TrainDraw, apply_train, draw_train
from recipe.ingredients.augment import AUGMENTATIONS, Augmentation
from recipe.randomness import Draws
from recipe.schema import key

OTHER_STREAMS = {"crop", "flip", "policy", "erase", "mix", "order", "folds", "val_fraction", "device"}


@dataclass
class WithGrayscale(AugmentConfig):
    """The schema with one more key."""

    grayscale: float = key(0.0, at_least=0, at_most=1)  # probability


def draw_grayscale(config: Any, draws: Draws) -> bool | None:
    return draws.chance(config.grayscale) or None


@pytest.fixture
def with_grayscale(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Augmentation(draw_grayscale, lambda image, drawn, how: vision.rgb_to_grayscale(image, 3))
    monkeypatch.setitem(AUGMENTATIONS, "grayscale", line)


def draws_of(config: AugmentConfig, count: int = 2000) -> list[TrainDraw]:
    return [draw_train(config, 32, 0, 0, position, 40, 50) for position in range(count)]


def test_each_is_a_key_that_is_off_by_default_and_has_a_stream_of_its_own() -> None:
    default = AugmentConfig(policy="none")
    assert set(AUGMENTATIONS) <= {item.name for item in fields(AugmentConfig)}
    assert not set(AUGMENTATIONS) & OTHER_STREAMS
    for augmentation in AUGMENTATIONS.values():
        assert [augmentation.draw(default, Draws(0, "any", 0, place)) for place in range(50)] == [None] * 50
    assert {draw.augmentations for draw in draws_of(default, 50)} == {()}


def test_each_makes_an_image_of_the_same_shape() -> None:
    image = pil_to_tensor(photo(40, 50))
    config = AugmentConfig(policy="none", rotation=20.0, sharpness=2.0)
    for augmentation in AUGMENTATIONS.values():
        drawn = next(filter(None, (augmentation.draw(config, Draws(0, "any", 0, place)) for place in range(50))))
        done = augmentation.do(image, drawn, "bilinear")
        assert (done.shape, done.dtype) == (image.shape, torch.uint8)
        assert not torch.equal(done, image)


@pytest.mark.usefixtures("with_grayscale")
def test_new_one_happens_as_often_as_its_key_says_and_knows_nothing_of_the_others() -> None:
    draws = draws_of(WithGrayscale(policy="none", rotation=20.0, grayscale=0.3))
    grey = np.array(["grayscale" in dict(draw.augmentations) for draw in draws])
    assert grey.mean() == pytest.approx(0.3, abs=0.04)
    angles = [dict(draw.augmentations)["rotation"] for draw in draws]
    others = [[draw.crop.height * draw.crop.width for draw in draws], angles, [draw.flip for draw in draws]]
    assert np.abs(np.corrcoef([grey, *others])[0, 1:]).max() < 0.1


@pytest.mark.usefixtures("with_grayscale")
def test_new_one_is_done_to_the_images_it_was_drawn_for_alone() -> None:
    image, sizes = pil_to_tensor(photo(40, 50)), ResolutionConfig(train_crop=32)
    keys: dict[str, Any] = {"policy": "ta_wide", "rotation": 20.0, "sharpness": 2.0, "random_erase": 0.5}
    before, after = draws_of(WithGrayscale(**keys), 40), draws_of(WithGrayscale(**keys, grayscale=0.5), 40)
    seen = set()
    for one, other in zip(before, after, strict=True):
        assert other == one._replace(augmentations=other.augmentations)
        assert other.augmentations in (one.augmentations, (*one.augmentations, ("grayscale", True)))
        plain, changed = (apply_train(image, draw._replace(operations=[]), sizes) for draw in (one, other))
        drawn = "grayscale" in dict(other.augmentations)
        assert torch.equal(changed, vision.rgb_to_grayscale(plain, 3) if drawn else plain)
        seen.add(drawn)
    assert seen == {True, False}
