"""data.cache=memory: where the images come from that a run takes from memory. See docs/DATA.md.

Only what a file holds is kept, before anything random is done to it: the pixels of a crop are those of the whole image
either way, so no bit of a training changes. An image that cannot be read is read from its file each time, as without.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from recipe.config import DataConfig
from recipe.data.cache import room as rooms
from recipe.data.cache.decoded import DecodedImages, header_of
from recipe.data.cache.filling import NoRoomError, fill
from recipe.data.cache.images import CachedImages, Files, files_of
from recipe.data.dataset import Dataset
from recipe.data.loader import SETTLING
from recipe.errors import DataError
from recipe.files import size_text
from recipe.machine import shared_files
from recipe.machine.distributed import Ranks
from recipe.machine.shared_files import SharedFile
from recipe.output import count, say


@contextmanager
def in_memory(config: DataConfig, sets: Sequence[Dataset], ranks: Ranks) -> Iterator[Sequence[Dataset]]:
    """The data sets; with data.cache=memory their images are in memory. Every rank calls it.

    One of the runs of this machine that want these images decodes them, the others wait. Raises DataError where
    there is not enough memory.
    """
    if config.cache is None:
        yield sets
        return
    opened: _Opened | None = None
    try:
        for turn in (True, False):  # a machine's first rank decodes, and says so; then the others find it done
            problem = ""
            try:
                if (ranks.local_rank == 0) == turn:
                    opened = _open(config, sets, ranks)
            except DataError as error:
                problem = str(error)
            if problem := next(filter(None, ranks.every(problem)), ""):
                raise DataError(problem)
        assert opened is not None
        yield opened.sets
    finally:
        if opened is not None:
            opened.file.release()


class _Opened(NamedTuple):
    file: SharedFile
    sets: list[Dataset]


def _open(config: DataConfig, sets: Sequence[Dataset], ranks: Ranks) -> _Opened:
    """The file as used by this process, and what it holds. It is made first where it is not there. Raises DataError."""
    folder, files = shared_files.folder(), files_of(config, sets)
    path = folder / f"{files.key}{shared_files.SUFFIX}"
    shared_files.remove_unused(folder, but=path)
    tells = ranks.local_rank == 0
    images, seconds = f"{len(files.where):,} images", 0.0
    free = rooms.room_in(folder).free

    def make(descriptor: int) -> None:
        nonlocal seconds, free
        begin = time.monotonic()
        size, room = rooms.estimate(files), rooms.room_in(folder)
        if size.bytes() > room.most:
            shared_files.remove_unused(folder, even_a_sweep_s=True)
            room = rooms.room_in(folder)
        free = room.free
        if size.bytes() > room.most:
            raise rooms.refusal(size, room, folder, config.root)
        if tells:
            what = f"about {size_text(size.bytes())} of {size_text(free)} free"
            say(f"data.cache=memory: decoding {images}, {what}")
        if ranks.world_size > 1:
            time.sleep(SETTLING)
        try:
            fill(descriptor, files, room.most, alone=config.workers == 0, shown=tells and sys.stderr.isatty())
        except NoRoomError as error:
            raise rooms.refusal(size, rooms.room_in(folder), folder, config.root) from error
        seconds = time.monotonic() - begin

    def waits() -> None:
        if tells:
            say(f"data.cache=memory: another process decodes these {images}: waiting for it")

    file = shared_files.used(path, lambda descriptor: header_of(descriptor) is not None, make, waits)
    decoded = DecodedImages(file.descriptor)
    said = _said(decoded, files, free, seconds)
    pairs = zip(sets, files.numbers, strict=True)
    return _Opened(file, [CachedImages(own, decoded, numbers, said) for own, numbers in pairs])


def _said(decoded: DecodedImages, files: Files, free: int, seconds: float) -> str:
    """What is told at the start of a run."""
    how = f"decoded in {seconds:.0f} s" if seconds else "decoded by another process"
    missing = len(files.where) - len(decoded)
    left_out = f"; {count(missing, 'file')} could not be decoded" if missing else ""
    return f"{len(decoded):,} images, {size_text(decoded.bytes)} of {size_text(free)} free, {how}{left_out}"
