"""Making micro-batches ready beside the step changes nothing that the step sees."""

from collections.abc import Iterator

import torch
from gpus import needs_gpus
from torch import Tensor

from recipe.training.prefetch import Prefetcher


def test_on_a_cpu_nothing_is_taken_or_made_before_it_is_asked_for() -> None:
    happened: list[str] = []

    def batches() -> Iterator[int]:
        for number in range(3):
            happened.append(f"take {number}")
            yield number

    def prepare(number: int) -> int:
        happened.append(f"make {number}")
        return 10 * number

    given = []
    for number, made in Prefetcher(torch.device("cpu"))(batches(), prepare):
        happened.append(f"step {number}")
        given.append((number, made))
    assert given == [(0, 0), (1, 10), (2, 20)]
    assert happened == [f"{what} {number}" for number in range(3) for what in ("take", "make", "step")]


@needs_gpus()
def test_on_a_gpu_every_step_gets_its_own_pixels_however_slow_it_is() -> None:
    """Many steps of other lengths, each slower than what makes its input, in memory that is used again and again."""
    device = torch.device("cuda", 0)
    prefetcher, weight = Prefetcher(device), torch.randn(2048, 2048, device=device)
    pinned = [torch.full((512, 2048), float(number)).pin_memory() for number in range(60)]
    seen: list[Tensor] = []
    for start in range(0, 60, 4):  # an optimizer step has four
        for number, images in prefetcher(
            range(start, start + 4), lambda n: pinned[n].to(device, non_blocking=True) + 1
        ):
            for _ in range(1 + 7 * (number % 3)):
                torch.mm(images, weight)
            seen.append(torch.stack([images.min(), images.max()]))
    assert torch.stack(seen).tolist() == [[number + 1.0] * 2 for number in range(60)]


@needs_gpus()
def test_on_a_gpu_at_most_one_is_made_ahead_of_the_device() -> None:
    """However far the host is ahead, memory for three is all that is taken: two in use, and one being made."""
    device = torch.device("cuda", 0)
    prefetcher, weight = Prefetcher(device), torch.randn(4096, 4096, device=device)
    size = 64 * 2**20
    torch.cuda.synchronize()
    before = torch.cuda.memory_reserved()
    for _, made in prefetcher(range(50), lambda _: torch.ones(size // 4, device=device)):
        torch.mm(weight, weight)
        made.add_(1)
    assert torch.cuda.memory_reserved() - before < 5 * size
