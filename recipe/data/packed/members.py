"""Files in archives, by name: each read with one pread, by any process, with few archives open at a time."""

import os
import zlib
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recipe.data.packed.entries import Entry
from recipe.errors import DataError

MOST_OPEN = 32  # archives that a process holds open


def content_of(descriptor: int, entry: Entry) -> bytes:
    """A file's bytes, from an archive that is open. Raises OSError; ValueError where the archive is damaged."""
    content = os.pread(descriptor, entry.stored, entry.at)
    while len(content) < entry.stored:  # a signal, or a file system that hands out less at a time
        more = os.pread(descriptor, entry.stored - len(content), entry.at + len(content))
        if not more:
            raise ValueError("it is cut off: the archive has ended")
        content += more
    if entry.deflated:
        try:
            content = zlib.decompress(content, -zlib.MAX_WBITS)
        except zlib.error as error:
            raise ValueError(f"it is damaged: {error}") from error
    if entry.crc >= 0 and zlib.crc32(content) != entry.crc:
        raise ValueError("it is damaged: its checksum is another")
    return content


@dataclass
class Members:
    """The files of a data set that lies in archives. Kept in arrays, which forked workers share without copying."""

    archives: list[Path]
    stamps: np.ndarray  # (archives, 2) int64: size and time of change in ns, as they were when the index was made
    names: np.ndarray  # (files,) bytes, sorted: what the data set calls them
    inner: np.ndarray  # (files,) bytes: what the archive calls them
    archive: np.ndarray  # (files,) int32
    size: np.ndarray  # (files,) int64: bytes
    at: np.ndarray  # (files,) int64: where they begin
    stored: np.ndarray  # (files,) int64: bytes that they take
    crc: np.ndarray  # (files,) int64; -1: the archive has none
    deflated: np.ndarray  # (files,) bool
    said: str = ""  # what the run's start tells of it
    _open: "OrderedDict[int, BinaryIO]" = field(default_factory=OrderedDict, repr=False)

    def where(self, name: str) -> str:
        """A file's archive and its name there, for messages."""
        number = self._number(name)
        return f"{self.archives[self.archive[number]]}: {os.fsdecode(self.inner[number])}"

    def size_of(self, name: str) -> int:
        """Bytes of a file."""
        return int(self.size[self._number(name)])

    def state_of(self, name: str) -> bytes:
        """What changes when a file's content does."""
        number = self._number(name)
        about = self.stamps[self.archive[number]].tolist()
        return repr((*about, int(self.at[number]), int(self.size[number]))).encode()

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises OSError; ValueError where it is damaged, DataError where its archive has changed."""
        number = self._number(name)
        file = self._file(int(self.archive[number]))
        columns = (self.size, self.at, self.stored, self.crc)
        size, at, stored, crc = (int(column[number]) for column in columns)
        entry = Entry(os.fsdecode(self.inner[number]), size, at, stored, crc, bool(self.deflated[number]))
        return content_of(file.fileno(), entry)

    def _number(self, name: str) -> int:
        return int(np.searchsorted(self.names, np.bytes_(os.fsencode(name))))

    def _file(self, number: int) -> BinaryIO:
        """An archive, open. One that is left is closed when nobody reads from it any more."""
        file = self._open.get(number)
        if file is None:
            path = self.archives[number]
            file = path.open("rb", buffering=0)
            if stamp(file.fileno()) != tuple(self.stamps[number].tolist()):
                raise DataError(f"{path} has changed since the run began: start it again, it then looks anew")
            self._open[number] = file
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(number)
        return file


def stamp(file: Path | int) -> tuple[int, int]:
    """Size, and time of change in ns. Raises OSError."""
    about = os.stat(file)
    return about.st_size, about.st_mtime_ns
