"""What counts as waiting for data."""

import time

import torch
from gpus import needs_gpus

from recipe.data.waits import Waits


def test_on_a_cpu_waits_are_those_of_the_host() -> None:
    waits = Waits(torch.device("cpu"))
    time.sleep(0.05)
    assert waits.seconds == 0
    for _ in range(2):
        with waits.one():
            time.sleep(0.05)
    assert 0.1 <= waits.seconds < 5


@needs_gpus()
def test_on_a_gpu_waits_count_from_when_it_has_nothing_left_to_do() -> None:
    waits = Waits(torch.device("cuda"))
    with waits.one():  # nothing is queued
        time.sleep(0.1)
    torch.cuda.synchronize()
    idle = waits.seconds
    assert 0.09 < idle < 1
    torch.cuda._sleep(2_000_000_000)  # cycles: a second at 2 GHz, queued before the host waits
    with waits.one():
        time.sleep(0.1)
    assert waits.seconds == idle  # the device is not there yet, and is not waited for
    torch.cuda.synchronize()
    assert waits.seconds - idle < 0.05
