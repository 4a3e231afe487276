"""Randomness has an address, not a state.

Every random number of a run is a pure function of (seed, stream, where in the training), so that the number of
workers, ranks, a prefetch or a restart change nothing. Streams are separate: switching one ingredient on leaves the
draws of the others as they were, and rungs are compared on the same crops and flips.
"""

import hashlib
import math
import random
import struct

import torch


def seed_at(seed: int, stream: str, *address: int) -> int:
    """A 63-bit seed for one address. blake2b: the same in every process, unlike Python's `hash`."""
    name = "/".join(map(str, (seed, stream, *address)))
    key = name.encode("utf-8", "surrogateescape")  # a folder's name may be part of it
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def generator_at(seed: int, stream: str, *address: int) -> torch.Generator:
    """A CPU generator of its own for one address, for draws of whole tensors."""
    return torch.Generator().manual_seed(seed_at(seed, stream, *address))


EIGHT_NUMBERS = struct.Struct("<8Q")


class Draws:
    """The endless stream of numbers at one address, for draws of single numbers.

    Counter-based (blocks of eight 64-bit numbers from blake2b): no state to seed, about 2 µs for the first block.
    """

    def __init__(self, seed: int, stream: str, *address: int) -> None:
        self._address = (seed, stream, *address)
        self._block = 0
        self._numbers: list[int] = []

    def _next(self) -> int:
        if not self._numbers:
            key = f"{'/'.join(map(str, self._address))}#{self._block}".encode()
            self._numbers = list(EIGHT_NUMBERS.unpack(hashlib.blake2b(key).digest()))
            self._block += 1
        return self._numbers.pop()

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number from [low, high)."""
        return low + (high - low) * ((self._next() >> 11) * 2.0**-53)

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(self.uniform() * n)

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self.uniform() < probability

    def normal(self, mean: float, deviation: float) -> float:
        """A number from the normal distribution (Box and Muller, 1958)."""
        angle, radius = 2 * math.pi * self.uniform(), math.sqrt(-2 * math.log(1 - self.uniform()))
        return mean + math.cos(angle) * radius * deviation

    def beta(self, alpha: float, beta: float) -> float:
        """A number from the Beta(alpha, beta) distribution."""
        return random.Random(self._next()).betavariate(alpha, beta)


def reseed_device(device: torch.device, seed: int, *address: int) -> None:
    """Seed the device's own generator, from which dropout and drop-path draw, for one micro-batch."""
    value = seed_at(seed, "device", *address)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)
    else:
        torch.default_generator.manual_seed(value)
