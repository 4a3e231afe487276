"""Decoding all images of some data sets into a file of shared memory, by worker processes."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from recipe.data.cache.decoded import HEADER_BYTES, LONGEST_GUESS, Image, write_entries, write_pixels
from recipe.data.cache.images import Files
from recipe.data.workers import FromWorkers
from recipe.data.workers import begin as workers_begin
from recipe.errors import DataError
from recipe.machine import limits

TOGETHER = 64  # images that a worker decodes at a time
AHEAD = 4  # such tasks that each worker is given in advance
TELL_SECONDS = 0.5
NO_ROOM = "no room"


class NoRoomError(Exception):
    """There was less room than had been estimated."""


def fill(descriptor: int, files: Files, most: int, alone: bool, shown: bool) -> None:
    """Decode all files into an open file, which is empty, and make it whole.

    Those that cannot be read are left out. Raises NoRoomError.

    Args:
        most: bytes that the pixels may take.
        alone: by this process, without workers.
        shown: whether to show on standard error how far it is.
    """
    workers = 0 if alone else limits.workers()
    count = len(files.where)
    filling = _Filling(descriptor, files, most)
    loader: DataLoader[Any] = DataLoader(
        filling,
        batch_size=None,
        sampler=[range(first, min(first + TOGETHER, count)) for first in range(0, count, TOGETHER)],
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=workers_begin if workers else None,
        generator=torch.Generator(),  # of its own: the global one is not ours to advance
    )
    images: list[Image] = []
    with _progress(count, shown) as tell:
        for number, found in enumerate(FromWorkers(loader), 1):
            if found == NO_ROOM:
                raise NoRoomError
            images += found
            tell(number * TOGETHER)
    write_entries(descriptor, images, count, filling.end())


class _Filling(TorchDataset[Any]):
    """Decodes and writes in a worker; what has been written comes back."""

    def __init__(self, descriptor: int, files: Files, most: int) -> None:
        self._descriptor, self._where, self._most = descriptor, files.where, HEADER_BYTES + most
        self._end = multiprocessing.get_context("fork").Value("q", HEADER_BYTES)  # of the pixels so far

    def end(self) -> int:
        """Where the pixels end."""
        return int(self._end.value)

    def __getitem__(self, numbers: range) -> list[Image] | str:
        found = []
        for number in numbers:
            images, index = self._where[number]
            try:
                picture = images.open(index)
                pixels = picture.whole()
            except DataError:  # said where the image is asked for, in the words of the file
                continue
            if len(picture.guess.encode()) > LONGEST_GUESS:
                continue
            with self._end.get_lock():
                at = self._end.value
                if at + pixels.numel() > self._most:
                    return NO_ROOM
                self._end.value = at + pixels.numel()
            try:
                write_pixels(self._descriptor, pixels, at)
            except OSError:  # others have taken the room meanwhile
                return NO_ROOM
            found.append(Image(number, at, picture.height, picture.width, picture.guess))
        return found


@contextmanager
def _progress(count: int, shown: bool) -> Iterator[Callable[[int], None]]:
    """How many images are done, on one line of a terminal."""
    told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        if shown and time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            print(f"\r{min(done, count):,} of {count:,} images", end="", file=sys.stderr, flush=True)

    try:
        yield tell
    finally:
        if shown:
            print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)
