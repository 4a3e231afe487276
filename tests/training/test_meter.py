"""The training loss that is logged counts each micro-batch once, resumed or not, on any number of ranks."""

from pathlib import Path

import pytest
import torch

from recipe.logs.journal import Journal
from recipe.machine.distributed import Ranks
from recipe.training.meter import TrainMeter

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))


@pytest.mark.parametrize(
    ("rank", "world_size", "own"),
    [(0, 2, 1.0), (1, 2, 2.0), (0, 1, 3.0), (0, 4, 3.0), (1, 4, 0.0)],
)
def test_losses_summed_before_a_stop_are_in_the_next_entry_once(
    tmp_path: Path, rank: int, world_size: int, own: float
) -> None:
    """On as many ranks, each goes on with its own sum, to the last bit; on another number rank 0 takes them all."""
    ranks = Ranks(rank, world_size, rank, world_size, torch.device("cpu"))
    meter = TrainMeter(Journal(tmp_path, ALONE, 0, 0), ranks, steps=10, every=5, last=10)
    meter.load_state_dict({"loss_sums": [1.0, 2.0], "steps_summed": 2})
    assert meter._loss_sum.item() == own
    assert meter._steps_summed == 2
