"""Operations on arrays make the pixels that Pillow and torchvision make, bit for bit."""

import numpy as np
import pytest
from photos import photo
from PIL import Image

from recipe.ingredients.policies import OPERATIONS, SIGNED, WIDE, apply_operations, magnitude
from recipe.ingredients.policies_on_host import operate

NAMES = (*OPERATIONS, "Invert")


def images() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    return {
        "photo": np.array(photo(32, 32)),
        "no square": np.array(photo(19, 43)),
        "one level": np.full((9, 9, 3), 77, dtype=np.uint8),
        "two levels": random.choice([20, 23], (26, 26, 3)).astype(np.uint8),
        "dark": random.integers(0, 9, (26, 26, 3), dtype=np.uint8),
        "one pixel": np.array([[[1, 200, 255]]], dtype=np.uint8),
        "large": np.array(photo(90, 130)),
    }


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("name", NAMES)
def test_pixels_are_pillow_s(name: str, interpolation: str) -> None:
    bins = range(31) if name not in ("Identity", "AutoContrast", "Equalize", "Invert") else [0]
    for kind, pixels in images().items():
        for place in bins:
            value = magnitude(name, place, 31, WIDE, 32)
            for signed in {value, -value} if name in SIGNED else {value}:
                expected = np.array(apply_operations(Image.fromarray(pixels), [(name, signed)], interpolation))
                found = operate(pixels, [(name, signed)], interpolation)
                assert np.array_equal(found, expected), (kind, signed)


def test_operations_are_done_in_order_and_leave_the_image() -> None:
    pixels = np.array(photo(32, 32))
    before = pixels.copy()
    both = [("Solarize", 100.0), ("TranslateX", -7.0)]
    expected = np.array(apply_operations(Image.fromarray(pixels), both, "bilinear"))
    assert np.array_equal(operate(pixels, both, "bilinear"), expected)
    assert np.array_equal(pixels, before)
