"""Memory for batches that a rank shares with its workers and that is used in turn.

Fresh memory costs a page fault for every 4 KiB, a tenth of all the time that loading an image takes; and what a worker
sends needs no file and no copy: the rank sees the same memory.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor

Batch = TypeVar("Batch", bound=Any)  # a NamedTuple with `images` (n, 3, size, size) uint8 and `labels` (n,)
IN_USE = 2  # batches whose pixels the user may look at: the last one, and the next while it is being asked for
NO_IMAGES = torch.empty(0, dtype=torch.uint8)


def empty_batches(counts: Sequence[int], size: int, memory: Tensor | None = None) -> list[Tensor]:
    """Uninitialised images of some batches, one behind the other: (count, 3, size, size) uint8 each.

    In channels_last: as decoding and resizing leave their pixels, and as networks on a GPU take them.

    Args:
        counts: images of each batch.
        size: of a side, in pixels.
        memory: bytes, (n,) uint8, that they are to lie in; None: in fresh memory.
    """
    bytes_of = [count * size * size * 3 for count in counts]
    memory = torch.empty(sum(bytes_of), dtype=torch.uint8) if memory is None else memory
    parts = memory[: sum(bytes_of)].split(bytes_of)
    return [part.view(-1, size, size, 3).permute(0, 3, 1, 2) for part in parts]


class SharedBatches:
    """Buffers for batches: as many as there are tasks on their way to workers and back, and IN_USE more.

    Task n takes buffer n mod their count. A loader sends task n + count only when it is asked for the batches of task
    n + IN_USE. So batches keep their pixels until the next but one is asked for.
    """

    _known: ClassVar[WeakValueDictionary[int, "SharedBatches"]] = WeakValueDictionary()

    def __init__(self, tasks: int, images: int, size: int) -> None:
        """For `tasks` on their way, each of at most so many images of size x size pixels. Shared with forks."""
        self.count = tasks + IN_USE
        self._bytes = images * size * size * 3
        self._memory = torch.frombuffer(mmap.mmap(-1, self.count * self._bytes), dtype=torch.uint8)
        self.key = max(self._known, default=0) + 1
        self._known[self.key] = self

    def buffer(self, number: int) -> Tensor:
        """The bytes of a buffer, (n,) uint8."""
        return self._memory[number * self._bytes : (number + 1) * self._bytes]

    def send(self, number: int, batches: list[Batch]) -> "Sent[Batch]":
        """Batches without their images, which lie in the buffer of this number."""
        side = batches[0].images.shape[-1]
        return Sent(self.key, number, [batch._replace(images=NO_IMAGES) for batch in batches], side)

    @classmethod
    def received(cls, sent: "Sent[Batch]", copied: bool) -> list[Batch]:
        """The batches with their images, which lie in their buffer; `copied`: in memory of their own."""
        if sent.pinned:
            return sent.batches
        own = cls._known[sent.key]
        images = empty_batches([len(batch.labels) for batch in sent.batches], sent.side, own.buffer(sent.number))
        found = zip(sent.batches, images, strict=True)
        return [batch._replace(images=part.clone() if copied else part) for batch, part in found]


@dataclass
class Sent(Generic[Batch]):
    """What a worker sends: batches without their images, and the number of the buffer where these are."""

    key: int  # of the SharedBatches
    number: int
    batches: list[Batch]
    side: int  # of their images, in pixels: at most what the buffer was made for
    pinned: bool = False  # with their images, after all, in memory that a GPU copies from beside its work

    def pin_memory(self) -> "Sent[Batch]":
        """The same in pinned memory, for PyTorch's thread that does so.

        The buffer is free then: a GPU may copy later than the host goes on.
        """
        pinned = [
            batch._replace(
                **{name: part.pin_memory() for name, part in batch._asdict().items() if torch.is_tensor(part)}
            )
            for batch in SharedBatches.received(self, copied=False)
        ]
        return replace(self, batches=pinned, pinned=True)
