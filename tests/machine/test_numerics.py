"""What PyTorch is told before anything is computed: cuDNN's trials, TF32; the same in training and evaluation."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from recipe.config import RuntimeConfig
from recipe.machine.numerics import numerics, set_numerics

PLAIN = RuntimeConfig()


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    yield
    set_numerics(PLAIN)
    torch.backends.cudnn.benchmark = False


def test_tf32_is_pytorchs_own_choice_unless_it_is_given() -> None:
    set_numerics(PLAIN)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (True, False)
    for wanted in (True, False):
        set_numerics(replace(PLAIN, tf32=wanted))
        assert torch.backends.cudnn.allow_tf32 == torch.backends.cuda.matmul.allow_tf32 == wanted
        assert numerics(torch.device("cuda"))["tf32_matrix_products"] == wanted
    set_numerics(PLAIN)
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (True, False)
    assert numerics(torch.device("cpu")) == {}


@pytest.mark.parametrize(("deterministic", "repeat", "tried"), [(0, 1, 1), (0, 0, 0), (1, 1, 0), (1, 0, 0)])
def test_cudnn_tries_where_sizes_repeat_and_digits_may_differ(deterministic: int, repeat: int, tried: int) -> None:
    set_numerics(replace(PLAIN, deterministic=bool(deterministic)), sizes_repeat=bool(repeat))
    assert torch.backends.cudnn.benchmark == bool(tried)
    assert torch.are_deterministic_algorithms_enabled() == bool(deterministic)
