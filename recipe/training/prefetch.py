"""Micro-batches made ready on the device beside the step before them.

On a GPU this is a stream of its own: while the device computes one micro-batch, it copies the next to its memory,
normalises, augments and mixes it. The host need not look ahead for that. It hands out work faster than the device does
it, and is at the next micro-batch while the device is at the one before.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")


class Prefetcher:
    """Makes micro-batches ready, at most one ahead of the device's step. On a CPU: a plain map, nothing ahead."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        # What the step was given last and before that, each with the moment when the device is through with it.
        self._used: deque[tuple[object, torch.cuda.Event]] = deque()

    def __call__(self, batches: Iterable[Given], prepare: Callable[[Given], Made]) -> Iterator[tuple[Given, Made]]:
        """Micro-batches, each with what `prepare` makes of it.

        The contract: `prepare` draws nothing from the device's generator, which the step before still uses; and the
        caller has queued all its work on one micro-batch when it asks for the next, or for the end.
        """
        for batch in batches:
            if self._stream is None:
                yield batch, prepare(batch)
            else:
                made = self._beside(self._stream, batch, prepare)
                yield batch, made
                self._used.append((made, torch.cuda.current_stream().record_event()))

    def _beside(self, stream: torch.cuda.Stream, batch: Given, prepare: Callable[[Given], Made]) -> Made:
        """What `prepare` makes of a micro-batch, on `stream`.

        It lies in the stream's own memory, which is used again once nothing refers to it: it is referred to until the
        stream waits for the step that used it. (With Tensor.record_stream it would lie there until the host sees that
        the device is through: a host that is far ahead would fill the memory.)
        """
        if len(self._used) == 2:
            stream.wait_event(self._used[0][1])
            self._used.popleft()
        with torch.cuda.stream(stream):
            made = prepare(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return made
