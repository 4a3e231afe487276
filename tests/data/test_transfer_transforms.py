"""The augmentation of transfer learning: rotation, sharpness, and crops by way of another size. Real photos."""

import io
import tarfile
from typing import Any

import numpy as np
import pytest
import torch
from photos import PHOTOS, photo
from PIL import Image
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from recipe.config import AugmentConfig, Config, DataConfig, ResolutionConfig
from recipe.data.dataset import load
from recipe.data.micro_batch import Task, load_micro_batches
from recipe.data.transforms import TrainDraw, apply_train, draw_train
from recipe.ingredients.augment import crop_and_resize, resize_shorter_side, resized
from recipe.ingredients.box import Box

COUNT = 8
needs_photos = pytest.mark.skipif(PHOTOS is None, reason="no shared/data/imagenet-photos-200.tar here")
ZOO = AugmentConfig(policy="none", scale=[0.8, 1.0], rotation=15.0)
ZOO_SIZES = ResolutionConfig(train_resize=256, train_crop=224)
SQUARE = AugmentConfig(policy="none", crop="resize_random", hflip=0.0)
ALL = AugmentConfig(policy="ta_wide", rotation=15.0, sharpness=2.0, random_erase=0.5)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """The first real photos, wide ones and tall ones."""
    assert PHOTOS is not None
    with tarfile.open(PHOTOS) as archive:
        files = sorted((m for m in archive if m.name.lower().endswith((".jpg", ".jpeg"))), key=lambda m: m.name)
        found = [Image.open(io.BytesIO(archive.extractfile(m).read())).convert("RGB") for m in files[::17]]  # type: ignore[union-attr]
    wide, tall = ([p for p in found if (p.width > p.height) is side] for side in (True, False))
    assert wide
    assert tall
    return [*wide[: COUNT - 2], *tall[:2]]


def drawn(config: AugmentConfig, sizes: ResolutionConfig, picture: Image.Image, position: int = 0) -> TrainDraw:
    where = 0, 0, position, picture.height, picture.width
    return draw_train(config, sizes.train_crop, *where, sizes.train_resize)


def draws_of(config: AugmentConfig, count: int = 400, crop: int = 176, resize: int | None = None) -> list[TrainDraw]:
    return [draw_train(config, crop, 0, 0, position, 375, 500, resize) for position in range(count)]


def furthest(image: Tensor, oracle: Any) -> int:
    expected = pil_to_tensor(oracle)
    assert image.shape == expected.shape
    assert image.dtype == torch.uint8
    return int((image.int() - expected.int()).abs().max())


@needs_photos
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [-15.0, 0.0, 12.5])
def test_resized_crop_flip_rotation_and_central_crop_equal_pillow_s_within_a_grey_level(
    photos: list[Image.Image], degrees: float, flip: bool
) -> None:
    rotate = T.RandomRotation((degrees, degrees), InterpolationMode.BILINEAR)
    for position, picture in enumerate(photos):
        draw = drawn(ZOO, ZOO_SIZES, picture, position)._replace(flip=flip, augmentations=(("rotation", degrees),))
        expected = F.resized_crop(picture, *draw.crop, [256, 256], InterpolationMode.BILINEAR)
        expected = rotate(F.hflip(expected) if flip else expected)
        assert furthest(apply_train(pil_to_tensor(picture), draw, ZOO_SIZES), F.center_crop(expected, [224, 224])) <= 1


@needs_photos
@pytest.mark.parametrize("resize", [224, 256, 300])
def test_shorter_side_and_random_square_equal_pillow_s_within_a_grey_level(
    photos: list[Image.Image], resize: int
) -> None:
    """But for a pixel in 100,000 where the image is hardly made smaller (300), as torch's and Pillow's resizing are."""
    sizes, beyond = ResolutionConfig(train_resize=resize, train_crop=200), 0
    for position, picture in enumerate(photos):
        draw = drawn(SQUARE, sizes, picture, position)
        expected = pil_to_tensor(F.crop(T.Resize(resize)(picture), *draw.window))
        difference = (apply_train(pil_to_tensor(picture), draw, sizes).int() - expected.int()).abs()
        assert difference.max() <= (2 if resize == 300 else 1)
        beyond += int((difference > 1).sum())
    assert beyond < 1e-4 * COUNT * 3 * 200 * 200


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("degrees", [0.0, 20.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_rotation_and_sharpness_of_the_resized_image_equal_torchvision_s(
    interpolation: str, degrees: float, factor: float
) -> None:
    """Exactly: they are done on Pillow's image, as torchvision's classes do."""
    picture, box = photo(75, 97), Box(5, 6, 60, 80)
    sizes = ResolutionConfig(train_crop=48, interpolation=interpolation)
    draw = TrainDraw(box, False, [], Box(), Box(), (("rotation", degrees), ("sharpness", factor)))
    resized_crop = to_pil_image(crop_and_resize(pil_to_tensor(picture), box, 48, interpolation))
    turned = T.RandomRotation((degrees, degrees), InterpolationMode(interpolation))(resized_crop)
    expected = T.RandomAdjustSharpness(factor, p=1.0)(turned)
    assert torch.equal(apply_train(pil_to_tensor(picture), draw, sizes), pil_to_tensor(expected))


def test_corners_that_a_rotation_uncovers_are_black() -> None:
    white = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    draw = TrainDraw(Box(0, 0, 64, 64), False, [], Box(), Box(), (("rotation", 20.0),))
    image = apply_train(white, draw, ResolutionConfig(train_crop=64))
    assert image[:, 0, 0].tolist() == [0, 0, 0]
    assert image[:, 32, 32].tolist() == [255, 255, 255]


def test_policy_sees_the_image_after_the_central_crop() -> None:
    """Its translations are in pixels of the image that is trained on, and a device could do them after a worker."""
    picture, sizes = photo(80, 80), ResolutionConfig(train_resize=64, train_crop=48)
    draw = TrainDraw(Box(0, 0, 80, 80), False, [("TranslateX", 10.0)], Box(), Box(), (("rotation", 5.0),))
    before = apply_train(pil_to_tensor(picture), draw._replace(operations=[]), sizes)
    expected = F.affine(to_pil_image(before), 0, [10, 0], 1, [0, 0])
    assert torch.equal(apply_train(pil_to_tensor(picture), draw, sizes), pil_to_tensor(expected))


def test_square_images_of_the_size_itself_are_not_cropped() -> None:
    """As Tiny-ImageNet's at 64 pixels: rotation and flip alone."""
    picture = photo(64, 64)
    config = AugmentConfig(policy="none", crop="resize_random", hflip=0.5, rotation=20.0)
    for position in range(5):
        draw = drawn(config, ResolutionConfig(train_crop=64), picture, position)
        plain = draw._replace(flip=False, augmentations=())
        assert torch.equal(
            apply_train(pil_to_tensor(picture), plain, ResolutionConfig(train_crop=64)), pil_to_tensor(picture)
        )


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (64, 64), (101, 100), (97, 1201), (333, 499)])
@pytest.mark.parametrize("shorter", [64, 176, 255])
def test_size_that_windows_are_drawn_in_is_the_one_that_the_image_gets(height: int, width: int, shorter: int) -> None:
    image = torch.zeros((3, height, width), dtype=torch.uint8)
    assert tuple(resize_shorter_side(image, shorter, "bilinear").shape[1:]) == resized(height, width, shorter)
    assert resized(height, width, shorter) == T.Resize(shorter)(to_pil_image(image)).size[::-1]


def test_windows_are_everywhere_in_the_resized_image() -> None:
    windows = [draw.window for draw in draws_of(SQUARE, 4000, crop=240, resize=256)]  # of 256 x 341
    assert {window[2:] for window in windows} == {(240, 240)}
    assert {window.top for window in windows} == set(range(17))
    assert {window.left for window in windows} == set(range(341 - 240 + 1))
    counts = np.bincount([window.top for window in windows])
    assert counts.min() > 4000 / 17 / 2


def test_angles_are_uniform_to_either_side() -> None:
    angles = [dict(draw.augmentations)["rotation"] for draw in draws_of(ZOO, 2000)]
    assert -15 <= min(angles) < -14.8
    assert 14.8 < max(angles) < 15
    counts, _ = np.histogram(angles, 6, (-15, 15))
    assert counts.min() > 2000 / 6 * 0.8


def test_half_of_the_images_are_sharpened() -> None:
    sharpened = [dict(draw.augmentations).get("sharpness") for draw in draws_of(ALL, 2000)]
    assert {value for value in sharpened if value is not None} == {2.0}
    assert sum(value is not None for value in sharpened) / 2000 == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize(
    "config", [AugmentConfig(policy="ta_wide", random_erase=0.5, rotation=15.0), ALL], ids=["rotation", "both"]
)
def test_turning_rotation_or_sharpness_on_leaves_the_other_draws_unchanged(config: AugmentConfig) -> None:
    plain, with_both = draws_of(AugmentConfig(policy="ta_wide", random_erase=0.5)), draws_of(config)
    assert [draw._replace(augmentations=()) for draw in with_both] == plain
    rotations = [draw.augmentations[0] for draw in draws_of(ALL)]
    assert rotations == [draw.augmentations[0] for draw in with_both]


def test_angle_sharpness_crop_and_flip_know_nothing_of_each_other() -> None:
    draws = draws_of(ALL, 2000)
    angles = [dict(draw.augmentations)["rotation"] for draw in draws]
    sharpened = [len(draw.augmentations) for draw in draws]
    areas = [draw.crop.height * draw.crop.width for draw in draws]
    together = np.corrcoef([angles, sharpened, areas, [draw.flip for draw in draws]])
    assert np.abs(together - np.eye(4)).max() < 0.1


def test_draws_without_them_are_what_they_were_before_they_came() -> None:
    """Numbers of the version before: runs that were begun with it go on."""
    config = AugmentConfig(policy="ta_wide", random_erase=0.5)
    first, second = (draw_train(config, 176, 7, 3, position, 375, 500) for position in (0, 1))
    assert first == TrainDraw(
        Box(40, 174, 310, 256), True, [("Color", 0.3959999978542328)], Box(30, 102, 112, 38), Box(), ()
    )
    assert second == TrainDraw(
        Box(27, 195, 344, 294), True, [("TranslateY", -18.133333206176758)], Box(27, 66, 45, 58), Box(), ()
    )


@pytest.mark.parametrize(
    ("augment", "sizes"),
    [
        (SQUARE, ResolutionConfig(train_resize=48, train_crop=32)),
        (SQUARE, ResolutionConfig(train_crop=32)),
        (ALL, ResolutionConfig(train_resize=40, train_crop=32)),
    ],
    ids=["square", "square of all", "all"],
)
def test_micro_batches_hold_what_is_drawn_of_the_whole_image(augment: AugmentConfig, sizes: ResolutionConfig) -> None:
    """An image that stands in two places is decoded once, for both of its draws."""
    config = Config(data=DataConfig(name="synthetic", size=40, num_classes=5), augment=augment, resolution=sizes)
    dataset, _ = load(config.data)
    tasks = [Task(1, 0, number, [0 + number, 2 + number], [3, 7], 0.5) for number in range(2)]
    for task, batch in zip(tasks, load_micro_batches(dataset, config, tasks), strict=True):
        for row, (position, index) in enumerate(zip(task.positions, task.indices, strict=True)):
            picture = to_pil_image(dataset.open(index).whole())
            where = config.seed, 1, position, picture.height, picture.width
            draw = draw_train(augment, sizes.train_crop, *where, sizes.train_resize)
            assert torch.equal(batch.images[row], apply_train(dataset.open(index).whole(), draw, sizes))
