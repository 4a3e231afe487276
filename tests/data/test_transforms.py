"""What is drawn for an image has an address, and what is done to it are Pillow's and torchvision's pixels."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from recipe.config import AugmentConfig, ResolutionConfig
from recipe.data.transforms import TrainDraw, apply_eval, apply_train, draw_train, normalise
from recipe.ingredients import augment
from recipe.ingredients.augment import Box, crop_and_resize

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PLAIN = AugmentConfig(policy="none")
SMALL = ResolutionConfig(train_crop=32)


def photo(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    gradients = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], -1)
    noise = np.random.default_rng(0).normal(0, 25, gradients.shape)
    return Image.fromarray(np.clip(gradients + noise, 0, 255).astype(np.uint8))


def draws_of(config: AugmentConfig, count: int = 300, epoch: int = 0) -> list[TrainDraw]:
    return [draw_train(config, 176, 0, epoch, position, 375, 500) for position in range(count)]


@pytest.mark.parametrize(("interpolation", "grey_levels"), [("bilinear", 1), ("bicubic", 2)])
@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (100, 101), (256, 256), (231, 640)])
@pytest.mark.parametrize(("val_resize", "val_crop"), [(256, 224), (232, 224), (37, 32), (224, 224)])
def test_evaluation_equals_pillow_s_within_a_grey_level_or_two(
    height: int, width: int, val_resize: int, val_crop: int, interpolation: str, grey_levels: int
) -> None:
    picture = photo(height, width)
    oracle = transforms.Compose(
        [transforms.Resize(val_resize, InterpolationMode(interpolation)), transforms.CenterCrop(val_crop)]
    )
    image = apply_eval(pil_to_tensor(picture), val_resize, val_crop, interpolation)
    assert image.dtype == torch.uint8
    assert image.shape == (3, val_crop, val_crop)
    assert (image.int() - pil_to_tensor(oracle(picture)).int()).abs().max() <= grey_levels


@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 333), (100, 101), (231, 640)])
@pytest.mark.parametrize(("val_resize", "val_crop"), [(256, 224), (232, 224), (37, 32)])
def test_evaluation_with_nearest_takes_pillow_s_pixels_but_for_ties(
    height: int, width: int, val_resize: int, val_crop: int
) -> None:
    picture = photo(height, width)
    oracle = transforms.Compose(
        [transforms.Resize(val_resize, InterpolationMode.NEAREST), transforms.CenterCrop(val_crop)]
    )
    image = apply_eval(pil_to_tensor(picture), val_resize, val_crop, "nearest")
    assert (image != pil_to_tensor(oracle(picture))).float().mean() < 0.05  # a row of 32 pixels


@pytest.mark.parametrize(("interpolation", "grey_levels"), [("bilinear", 1), ("bicubic", 2)])
@pytest.mark.parametrize(("height", "width"), [(30, 900), (900, 30), (1, 500), (500, 1), (7, 333), (375, 500)])
@pytest.mark.parametrize(("val_resize", "val_crop"), [(256, 224), (37, 32), (224, 224)])
def test_strip_that_is_not_resized_whole_comes_out_as_if_it_were(
    height: int, width: int, val_resize: int, val_crop: int, interpolation: str, grey_levels: int
) -> None:
    image = pil_to_tensor(photo(height, width))
    whole = apply_eval(image, val_resize, val_crop, interpolation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augment, "LARGEST", 0)
        part = apply_eval(image, val_resize, val_crop, interpolation)
    assert part.shape == whole.shape
    difference = (part.int() - whole.int()).abs()
    assert (difference > grey_levels).float().mean() < 0.001  # Pillow may take rows before columns
    assert difference.max() <= 8


STRIPS = """
import resource
import torch
from recipe.config import AugmentConfig, ResolutionConfig
from recipe.data.transforms import apply_eval, apply_train, draw_train

sizes = ResolutionConfig(train_crop=176)
apply_eval(torch.zeros((3, 300, 300), dtype=torch.uint8), 256, 224, "bilinear")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for shape in ((20_000, 1), (1, 20_000), (1, 5_000_000), (3, 200_000)):
    image = torch.full((3, *shape), 200, dtype=torch.uint8)
    assert (apply_eval(image, 256, 224, "bilinear") == 200).all()
    for crop in ("random_resized", "resize_random"):
        draw = draw_train(AugmentConfig(crop=crop, policy="none"), 176, 0, 0, 0, *shape)
        assert apply_train(image, draw, sizes).unique().tolist() == [200]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_strips_take_little_more_memory_than_their_own_pixels() -> None:
    """Resized whole, 20,000 x 1 pixels are 4 GB at 256 px."""
    done = subprocess.run([sys.executable, "-c", STRIPS], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout) < 150  # MB


@pytest.mark.parametrize("policy", ["ta_wide", "ra", "imagenet"])
def test_turning_a_policy_on_leaves_the_other_draws_unchanged(policy: str) -> None:
    plain, with_policy = (draws_of(AugmentConfig(policy=name, random_erase=0.5)) for name in ("none", policy))
    assert [draw._replace(operations=[]) for draw in with_policy] == plain
    assert any(draw.operations for draw in with_policy)


def test_turning_erasing_on_leaves_the_other_draws_unchanged() -> None:
    plain, erased = draws_of(AugmentConfig(policy="ta_wide")), draws_of(AugmentConfig(policy="ta_wide", random_erase=1))
    assert [draw._replace(erase=Box()) for draw in erased] == plain
    assert all(draw.erase == Box() for draw in plain)
    assert all(draw.erase != Box() for draw in erased)


def test_turning_the_flip_off_leaves_the_other_draws_unchanged() -> None:
    flipped, plain = (draws_of(AugmentConfig(policy="ta_wide", hflip=share, random_erase=0.5)) for share in (0.5, 0))
    assert [draw._replace(flip=False) for draw in flipped] == plain


def test_erased_boxes_lie_in_the_cropped_image() -> None:
    boxes = [draw.erase for draw in draws_of(AugmentConfig(policy="none", random_erase=1))]
    assert max(box.top + box.height for box in boxes) <= 176
    assert max(box.left + box.width for box in boxes) <= 176


def test_epochs_draw_anew() -> None:
    assert draws_of(PLAIN, epoch=0) == draws_of(PLAIN, epoch=0)
    repeated = sum(one == other for one, other in zip(draws_of(PLAIN), draws_of(PLAIN, epoch=1), strict=True))
    assert repeated == 0


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_flips_have_their_probability(probability: float) -> None:
    share = np.mean([draw.flip for draw in draws_of(AugmentConfig(policy="none", hflip=probability), 2000)])
    assert share == pytest.approx(probability, abs=0.04 if probability == 0.5 else 0)


@pytest.mark.parametrize("flip", [False, True])
def test_training_crops_then_flips_then_applies_the_policy(flip: bool) -> None:
    picture = photo(60, 80)
    draw = TrainDraw(Box(5, 6, 40, 50), flip, [("TranslateX", 9.0), ("Solarize", 100.0)], Box(1, 1, 5, 5))
    expected = to_pil_image(crop_and_resize(pil_to_tensor(picture), draw.crop, 32, "bilinear"))
    if flip:
        expected = transforms.functional.hflip(expected)
    expected = transforms.functional.affine(expected, 0, [9, 0], 1, [0, 0], InterpolationMode.BILINEAR)
    expected = transforms.functional.solarize(expected, 100)
    image = apply_train(pil_to_tensor(picture), draw, SMALL)
    assert image.dtype == torch.uint8
    assert torch.equal(image, pil_to_tensor(expected))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
def test_training_crops_and_turns_with_the_configured_interpolation(interpolation: str) -> None:
    picture, mode = photo(60, 80), InterpolationMode(interpolation)
    draw = TrainDraw(Box(5, 6, 40, 50), False, [("Rotate", 20.0)], Box())
    cropped = crop_and_resize(pil_to_tensor(picture), draw.crop, 32, interpolation)
    image = apply_train(pil_to_tensor(picture), draw, ResolutionConfig(train_crop=32, interpolation=interpolation))
    assert torch.equal(image, pil_to_tensor(_apply_op(to_pil_image(cropped), "Rotate", 20.0, mode, None)))


def test_identity_leaves_the_crop_as_it_is() -> None:
    image = pil_to_tensor(photo(60, 80))
    draw = TrainDraw(Box(5, 6, 40, 50), False, [("Identity", 0.0)], Box())
    assert torch.equal(apply_train(image, draw, SMALL), crop_and_resize(image, draw.crop, 32, "bilinear"))


def test_grey_images_of_shared_channels_are_transformed_like_copies() -> None:
    grey = pil_to_tensor(photo(60, 80))[:1].expand(3, -1, -1)
    for draw in draws_of(AugmentConfig(policy="ta_wide"), 20):
        draw = draw._replace(crop=Box(5, 6, 40, 50))
        assert torch.equal(apply_train(grey, draw, SMALL), apply_train(grey.contiguous(), draw, SMALL))


def test_normalisation_equals_torchvision_s_exactly() -> None:
    pictures = [photo(40, 50), photo(40, 50).rotate(90, expand=False)]
    oracle = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    images = torch.stack([pil_to_tensor(picture) for picture in pictures])
    before = images.clone()
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    assert torch.equal(
        normalise(images, mean, std, torch.float32), torch.stack([oracle(picture) for picture in pictures])
    )
    assert torch.equal(images, before)


def test_normalisation_gives_the_dtype_asked_for() -> None:
    mean, std = torch.tensor(MEAN)[:, None, None].double(), torch.tensor(STD)[:, None, None].double()
    images = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    normalised = normalise(images, mean, std, torch.float64)
    assert normalised.dtype == torch.float64
    assert normalised[0, :, 0, 0].tolist() == pytest.approx(
        [(1 - m) / s for m, s in zip(MEAN, STD, strict=True)], rel=1e-6
    )
