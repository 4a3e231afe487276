"""A rank that has left the group of processes has none of its threads left, which could crash the interpreter's end."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import torchrun, watch_over

from recipe.config import RuntimeConfig
from recipe.machine import distributed

THREADS = Path("/proc/self/task")


@pytest.mark.skipif(not THREADS.is_dir(), reason="threads are listed on Linux alone")
def test_no_thread_of_the_group_outlives_it(tmp_path: Path) -> None:
    torchrun(2, Path(__file__), tmp_path)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["True False"] * 2


def of_gloo() -> bool:
    return any("gloo" in (thread / "comm").read_text() for thread in THREADS.iterdir())


def train_and_leave() -> None:
    """With parts that hold each other, as those of a training do."""
    ranks = distributed.start(RuntimeConfig(device="cpu"))
    network = ranks.averaging_gradients(torch.nn.Linear(2, 2))
    parts = SimpleNamespace(network=network, agreement=distributed.Agreement(ranks))
    parts.own = parts
    network(torch.ones(1, 2)).sum().backward()
    parts.agreement.reach(True)
    parts.agreement.wait()


if __name__ == "__main__":
    watch_over()
    train_and_leave()
    before = of_gloo()
    rank = torch.distributed.get_rank()
    distributed.stop()
    (Path(sys.argv[1]) / str(rank)).write_text(f"{before} {of_gloo()}")
