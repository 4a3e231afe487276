"""What the policy's operations cost a core: `python benchmarks/policies.py [POLICY [SECONDS]]`, ta_wide and 60 without.

A batch of 128 images at 176 pixels with the policy's draws, one thread: Pillow's way (to_pil_image, the operations,
pil_to_tensor, as data/transforms.py does) and the batched way (pack, apply_batched) in turn; medians, and their
quartiles in brackets. Where there is a GPU, the batched way on it too.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision.transforms.v2.functional as F
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recipe.ingredients.policies import POLICIES, Operation, apply_operations  # noqa: E402
from recipe.ingredients.policies_batched import apply_batched, pack  # noqa: E402
from recipe.randomness import Draws  # noqa: E402

BATCH, SIZE = 128, 176
Way = Callable[[Tensor, list[list[Operation]]], Tensor]


def by_pillow(images: Tensor, lists: list[list[Operation]]) -> Tensor:
    """One image after the other; those that stay as they are cost nothing."""
    done = []
    for image, operations in zip(images, lists, strict=True):
        if any(name != "Identity" for name, _ in operations):
            image = F.pil_to_tensor(apply_operations(F.to_pil_image(image), operations, "bilinear"))
        done.append(image)
    return torch.stack(done)


def by_batch(images: Tensor, lists: list[list[Operation]]) -> Tensor:
    """All at once."""
    return apply_batched(images, *pack(lists), "bilinear")


def seconds_of(way: Way, images: Tensor, lists: list[list[Operation]]) -> float:
    """Wall time of one call, the GPU's work included."""
    begin = time.perf_counter()
    if way(images, lists).is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    """Check that both give the same pixels, then time them in turn on new draws, print images per second."""
    policy, seconds = (*sys.argv[1:], "ta_wide", "60")[0], float((*sys.argv[2:], "60")[0])
    torch.set_num_threads(1)
    noise = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    images = F.gaussian_blur(noise.to(torch.uint8), [9, 9])
    ways = {"Pillow": (by_pillow, images), "batched": (by_batch, images)}
    if torch.cuda.is_available():
        ways["batched, GPU"] = (by_batch, images.cuda())
    rates: dict[str, list[float]] = {way: [] for way in ways}
    begin, batch = time.monotonic(), 0
    while batch < 3 or time.monotonic() - begin < seconds:
        lists = [POLICIES[policy](Draws(0, "policy", 0, batch * BATCH + place), SIZE) for place in range(BATCH)]
        if batch == 0:  # also warms up
            assert all(torch.equal(way(given, lists).cpu(), by_pillow(images, lists)) for way, given in ways.values())
        for name, (way, given) in ways.items():
            rates[name].append(BATCH / seconds_of(way, given, lists))
        batch += 1
    for name, found in rates.items():
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"{policy}, {name}: {middle:,.0f} images/s ({low:,.0f} to {high:,.0f}; {len(found)} batches)")


if __name__ == "__main__":
    main()
