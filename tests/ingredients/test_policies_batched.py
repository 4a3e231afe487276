"""Policies on a batch of tensors make, bit for bit, the pixels that Pillow makes."""

import io
import math
import tarfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from gpus import needs_gpus
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import _get_inverse_affine_matrix, pil_to_tensor, to_pil_image

from recipe.ingredients import policies, policies_batched
from recipe.ingredients.geometry import GEOMETRIC, INTERPOLATIONS, numbers_of
from recipe.ingredients.policies import NARROW, SIGNED, WIDE, Operation, apply_operations, magnitude
from recipe.ingredients.policies_batched import CODES, NAMES, apply_batched, pack
from recipe.randomness import Draws

SIZE = 176
ARCHIVES = [parent / "shared" / "data" / "imagenet-photos-200.tar" for parent in Path(__file__).resolve().parents]
PHOTOS = next((path for path in ARCHIVES if path.exists()), None)
CASES = [(name, "bilinear") for name in NAMES] + [(name, how) for name in GEOMETRIC for how in ("nearest", "bicubic")]
NEEDS_PHOTOS = pytest.mark.skipif(PHOTOS is None, reason="no shared/data/imagenet-photos-200.tar here")


@lru_cache
def photos(size: int) -> Tensor:
    """Six real photos as (6, 3, size, size) uint8."""
    assert PHOTOS is not None
    with tarfile.open(PHOTOS) as archive:
        members = [member for member in archive.getmembers() if member.isfile()][::34]
        contents = [archive.extractfile(member).read() for member in members]  # type: ignore[union-attr]
    pictures = [Image.open(io.BytesIO(content)).convert("RGB").resize((size, size)) for content in contents]
    return torch.stack([pil_to_tensor(picture) for picture in pictures])


@lru_cache
def synthetic(height: int, width: int) -> Tensor:
    """(10, 3, height, width) uint8: gradients, noise, one level, few levels, all levels, one pixel that differs."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    gradients = np.stack([40 + x * 150 / width, y * 200 / height, (x + y) * 255 / (width + height)])
    noise = generator.integers(0, 256, gradients.shape)
    two_levels = np.where(noise < 230, 77, 78)
    one_channel = np.stack([gradients[0], np.full((height, width), 9), noise[2]])
    lonely = np.full_like(noise, 200)
    lonely[:, height // 2, width // 2] = 3
    all_levels = np.resize(np.arange(256), noise.shape)
    constants = [np.full_like(noise, level) for level in (0, 128, 255)]
    images = [gradients, noise, noise // 100 * 100, two_levels, one_channel, lonely, all_levels, *constants]
    return torch.from_numpy(np.stack(images).astype(np.uint8))


def values_of(name: str) -> list[float]:
    """Every magnitude that a policy can draw, both signs."""
    values = {magnitude(name, index, 31, WIDE, SIZE) for index in range(31)}  # TrivialAugmentWide
    values |= {magnitude(name, 9, 31, NARROW, SIZE)}  # RandAugment
    values |= {magnitude(name, index, 10, NARROW, SIZE) for index in range(10)}  # AutoAugment
    return sorted(values | ({-value for value in values} if name in SIGNED else set()))


def pillow(images: Tensor, lists: Sequence[Sequence[Operation]], interpolation: str = "bilinear") -> Tensor:
    pairs = zip(images, lists, strict=True)
    return torch.stack([pil_to_tensor(apply_operations(to_pil_image(i), p, interpolation)) for i, p in pairs])


def batched(images: Tensor, lists: Sequence[Sequence[Operation]], interpolation: str = "bilinear") -> Tensor:
    return apply_batched(images, *pack(lists), interpolation)


def drawn(policy: str, count: int) -> list[list[Operation]]:
    return [policies.POLICIES[policy](Draws(0, "policy", 0, position), SIZE) for position in range(count)]


def assert_equals_pillow(images: Tensor, name: str, values: Sequence[float], interpolation: str) -> None:
    """Every image with every value, in one batch."""
    lists = [[(name, value)] for value in values for _ in images]
    many = images.repeat(len(values), 1, 1, 1)
    differing = (batched(many, lists, interpolation) != pillow(many, lists, interpolation)).flatten(1).sum(1)
    assert not differing.any(), [(lists[place], int(differing[place])) for place in differing.nonzero().flatten()]


@NEEDS_PHOTOS
@pytest.mark.parametrize("size", [50, 64, 176])
@pytest.mark.parametrize("name", NAMES)
def test_pixels_of_real_photos_equal_pillow_s_bit_for_bit(name: str, size: int) -> None:
    assert len(photos(size)) >= 6
    assert_equals_pillow(photos(size), name, values_of(name), "bilinear")


@NEEDS_PHOTOS
@pytest.mark.parametrize(("name", "interpolation"), CASES[len(NAMES) :])
def test_other_interpolations_of_real_photos_equal_pillow_s(name: str, interpolation: str) -> None:
    assert_equals_pillow(photos(64), name, values_of(name), interpolation)
    assert_equals_pillow(photos(176), name, values_of(name)[::20], interpolation)


@pytest.mark.parametrize("shape", [(33, 47), (47, 33), (24, 24)])
@pytest.mark.parametrize(("name", "interpolation"), CASES)
def test_synthetic_pixels_equal_pillow_s(name: str, interpolation: str, shape: tuple[int, int]) -> None:
    every = 1 if interpolation == "bilinear" and shape == (33, 47) else 5
    assert_equals_pillow(synthetic(*shape), name, values_of(name)[::every], interpolation)


@pytest.mark.parametrize(("name", "interpolation"), CASES)
def test_tiny_images_equal_pillow_s(name: str, interpolation: str) -> None:
    for shape in ((1, 1), (1, 7), (2, 2), (5, 2), (3, 3), (2, 4)):
        assert_equals_pillow(synthetic(*shape), name, values_of(name)[::7], interpolation)


@pytest.mark.parametrize("axis", [0, 1])
def test_shears_have_torchvision_s_matrices_to_the_last_bit(axis: int) -> None:
    for value in values_of("ShearX"):
        degrees = [0.0, 0.0]
        degrees[axis] = math.degrees(math.atan(value))
        expected = _get_inverse_affine_matrix([0, 0], 0.0, [0, 0], 1.0, degrees)
        assert numbers_of(("ShearX", "ShearY")[axis], value, 33, 47, "bilinear") == expected


def test_auto_contrast_of_every_range_of_levels_equals_pillow_s() -> None:
    """Where a scale rounded once more would miss a level."""
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    spans = [(low, high) for low in range(0, 254, 4) for high in range(low + 1, 256, 5)]
    images = torch.cat([levels.clamp(low, high) for low, high in spans[: len(spans) // 3 * 3]]).view(-1, 3, 16, 16)
    assert_equals_pillow(images, "AutoContrast", [0.0], "bilinear")


def test_equalize_of_rare_levels_equals_pillow_s() -> None:
    """From too few pixels for a step, through steps of one (whose table passes 255), to steps of several."""
    generator = torch.Generator().manual_seed(0)
    for side in (15, 16, 17, 20, 22, 23, 30, 40):
        images = torch.rand(20, 3, side, side, generator=generator).pow(3).mul(255).to(torch.uint8)
        assert_equals_pillow(images, "Equalize", [0.0], "bilinear")


def test_contrast_of_every_mean_equals_pillow_s() -> None:
    """A mean that ends in a half is rounded up."""
    images = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 2, 2)
    images[:255, :, 0] += 1  # half of the pixels: means of k + 1/2
    assert_equals_pillow(images, "Contrast", [-0.99, -0.3, 0.3], "bilinear")


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize(
    ("name", "values"),
    [("Solarize", [-1.0, 0.0, 0.5, 100.0, 100.5, 101.0, 255.0, 256.0, 1000.0]), ("Posterize", [1, 2, 3, 4, 5, 6, 7, 8]),
     ("Color", [-3.0, -1.0, 0.0, 5.0]), ("TranslateX", [-99.0, -2.9, 2.9, 99.0]), ("ShearY", [-50.0, 50.0]),
     ("Rotate", [-180.0, -90.0, 0.0, 45.0, 90.0, 180.0, 270.0, 360.0, 725.5])],
)  # fmt: skip
def test_magnitudes_that_no_policy_draws_equal_pillow_s(name: str, values: list[float], interpolation: str) -> None:
    for shape in ((16, 16), (33, 33), (20, 31)):
        assert_equals_pillow(synthetic(*shape), name, values, interpolation)


@pytest.mark.parametrize("policy", ["ta_wide", "ra", "imagenet"])
def test_batch_equals_each_image_alone_and_pillow(policy: str) -> None:
    images = synthetic(33, 47).repeat(20, 1, 1, 1)
    lists = drawn(policy, len(images))
    together = batched(images, lists)
    alone = torch.cat([batched(image[None], [operations]) for image, operations in zip(images, lists, strict=True)])
    assert torch.equal(together, alone)
    assert torch.equal(together, pillow(images, lists))


def test_order_of_the_images_does_not_matter() -> None:
    images = synthetic(33, 47).repeat(12, 1, 1, 1)
    lists = drawn("ra", len(images))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    shuffled = batched(images[order], [lists[place] for place in order])
    assert torch.equal(shuffled, batched(images, lists)[order])


def test_number_of_images_computed_at_once_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    images = synthetic(33, 47).repeat(12, 1, 1, 1)
    lists = drawn("ra", len(images))
    expected = batched(images, lists)
    for number in (1, 3 * 33 * 47, 10**7):
        monkeypatch.setattr(policies_batched, "PIXELS_ON_CPU", number)
        assert torch.equal(batched(images, lists), expected)


def test_slots_are_applied_in_order() -> None:
    images = synthetic(40, 40)[:2]
    first, second = ("Rotate", 20.0), ("TranslateX", 10.0)
    forwards, backwards = [[first, second]] * 2, [[second, first]] * 2
    assert torch.equal(batched(images, forwards), pillow(images, forwards))
    assert torch.equal(batched(images, backwards), pillow(images, backwards))
    assert not torch.equal(batched(images, forwards), batched(images, backwards))


@pytest.mark.parametrize("lists", [[[]] * 10, [[("Identity", 0.0)]] * 10])
def test_identity_returns_the_same_pixels(lists: list[list[Operation]]) -> None:
    assert torch.equal(batched(synthetic(33, 47), lists), synthetic(33, 47))


def test_given_images_are_left_as_they_are() -> None:
    images = synthetic(33, 47).clone()
    assert not torch.equal(batched(images, [[("Invert", 0.0)]] * len(images)), images)
    assert torch.equal(images, synthetic(33, 47))


def test_memory_layout_does_not_matter() -> None:
    images = synthetic(33, 47).repeat(5, 1, 1, 1)
    lists = drawn("ra", len(images))
    expected = batched(images, lists)
    assert torch.equal(batched(images.contiguous(memory_format=torch.channels_last), lists), expected)
    assert torch.equal(batched(images.mT.contiguous().mT, lists), expected)


def test_no_images_are_no_error() -> None:
    empty = torch.zeros(0, 3, 8, 8, dtype=torch.uint8)
    codes, magnitudes = torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, 2, dtype=torch.float64)
    assert apply_batched(empty, codes, magnitudes, "bilinear").shape == batched(empty, []).shape == (0, 3, 8, 8)


def test_pack_holds_every_operation_in_its_slot() -> None:
    codes, magnitudes = pack([[("Rotate", 13.5), ("Invert", 0.0)], [], [("ShearX", -0.1)]])
    assert codes.tolist() == [[CODES["Rotate"], CODES["Invert"]], [0, 0], [CODES["ShearX"], 0]]
    assert magnitudes.tolist() == [[13.5, 0.0], [0.0, 0.0], [-0.1, 0.0]]
    assert (codes.dtype, magnitudes.dtype) == (torch.int64, torch.float64)
    assert NAMES[0] == "Identity"


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_nothing_is_asked_back_from_the_device(interpolation: str) -> None:
    """The meta device has no pixels: a value read, or a shape that depends on one, is an error there."""
    images = torch.empty(300, 3, 33, 47, dtype=torch.uint8, device="meta")
    lists = [*drawn("ra", 250), *[[(name, 1.0)] for name in NAMES], *[[]] * 35]
    result = batched(images, lists, interpolation)
    assert (result.shape, result.dtype, result.device.type) == (images.shape, torch.uint8, "meta")


def test_autocast_and_default_dtype_change_nothing() -> None:
    images = synthetic(33, 47).repeat(12, 1, 1, 1)
    lists = drawn("ra", len(images))
    expected = batched(images, lists)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(batched(images, lists), expected)
    for dtype in (torch.bfloat16, torch.float64):
        torch.set_default_dtype(dtype)
        try:
            assert torch.equal(batched(images, lists), expected)
        finally:
            torch.set_default_dtype(torch.float32)


@needs_gpus()
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_gpu_makes_the_same_pixels_without_waiting(interpolation: str) -> None:
    lists = [[(name, value)] for name in NAMES for value in values_of(name)]
    images = synthetic(33, 47).repeat(len(lists) // 10 + 1, 1, 1, 1)[: len(lists)]
    on_gpu = images.cuda()
    torch.use_deterministic_algorithms(True)
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = batched(on_gpu, lists, interpolation)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.use_deterministic_algorithms(False)
    assert torch.equal(result.cpu(), batched(images, lists, interpolation))


@pytest.mark.parametrize("code", [-1, len(NAMES), 1000])
def test_code_out_of_range_is_refused(code: int) -> None:
    codes, magnitudes = pack([[("Rotate", 1.0)]] * 10)
    codes[3, 0] = code
    with pytest.raises(ValueError, match=f"codes must be from 0 to 14.*{code}"):
        apply_batched(synthetic(8, 8), codes, magnitudes, "bilinear")


@pytest.mark.parametrize(
    "images",
    [synthetic(8, 8).float(), synthetic(8, 8).bfloat16(), synthetic(8, 8).short(), synthetic(8, 8)[:, :1],
     synthetic(8, 8)[0], synthetic(8, 8)[:, [0, 1, 2, 2]], synthetic(8, 8)[..., :0]],
)  # fmt: skip
def test_images_of_another_kind_are_refused(images: Tensor) -> None:
    with pytest.raises(ValueError, match="images must be"):
        batched(images, [[]] * len(images))


def test_codes_and_magnitudes_of_another_kind_are_refused() -> None:
    images, (codes, magnitudes) = synthetic(8, 8), pack([[("Rotate", 1.0)]] * 10)
    for wrong in (codes.int(), codes[:9], codes[:, 0], codes.to("meta")):
        with pytest.raises(ValueError, match=r"codes must be .* on the host"):
            apply_batched(images, wrong, magnitudes, "bilinear")
    for wrong in (magnitudes.float(), magnitudes[:9], magnitudes[:, :0], magnitudes.to("meta")):
        with pytest.raises(ValueError, match=r"magnitudes must be .* on the host"):
            apply_batched(images, codes, wrong, "bilinear")


@pytest.mark.parametrize(
    ("operation", "message"),
    [(("Rotate", float("nan")), "finite"), (("Color", float("inf")), "finite"), (("Posterize", 9.0), "1 to 8 bits"),
     (("Posterize", 0.0), "1 to 8 bits"), (("Cutout", 1.0), "unknown operation 'Cutout'")],
)  # fmt: skip
def test_operation_that_means_nothing_is_refused(operation: Operation, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batched(synthetic(8, 8), [[operation]] * 10)


def test_unknown_interpolation_is_refused() -> None:
    with pytest.raises(ValueError, match="interpolation must be one of nearest, bilinear, bicubic, not 'lanczos'"):
        batched(synthetic(8, 8), [[]] * 10, "lanczos")
