"""The files of a tar, and of the tars in it, from their headers: the images themselves are not read."""

import os
import tarfile
from pathlib import Path
from typing import BinaryIO

from recipe.data.packed.entries import Entry, is_sidecar
from recipe.errors import DataError

LONGEST_LABEL = 2**20  # bytes of a .json


def entries_of_tar(path: Path, begin: int = 0, size: int | None = None) -> list[Entry]:
    """A tar's files. Raises DataError, naming the tar, and the file after which it is damaged.

    Args:
        begin, size: bytes of `path` where the tar lies, if it is one in another.
    """
    with path.open("rb") as file:
        whole = os.fstat(file.fileno()).st_size
        end = whole if size is None else begin + size
        if end > whole:
            raise DataError(f"{path} is truncated: it has {whole:,} of at least {end:,} bytes")
        file.seek(begin)
        found: dict[str, Entry] = {}  # by name, the last of each: what a hard link means
        entries: list[Entry] = []
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for info in archive:
                    entry = _entry(path, file, info, found, end)
                    found[entry.name] = entry
                    entries.append(entry)
                    archive.members = []  # type: ignore[attr-defined]  # it keeps all headers, of ImageNet a million
                last = archive.offset
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:  # the disk's, or the network's
                raise DataError(f"cannot read {path}: {error.strerror}") from error
            raise DataError(f"{path} {_after(entries)}: {str(error).splitlines()[0]}") from error
        # tarfile takes a damaged header for the end, which is a block of zeros.
        if os.pread(file.fileno(), tarfile.BLOCKSIZE, last) != bytes(tarfile.BLOCKSIZE) or last >= end:
            raise DataError(f"{path} {_after(entries)}: no tar ends so")
    return [entry for entry in entries if entry.kind != "a folder"]


def _entry(path: Path, file: BinaryIO, info: tarfile.TarInfo, before: dict[str, Entry], end: int) -> Entry:
    name = info.name.removeprefix("./").lstrip("/")
    if info.isdir():
        return Entry(name, 0, 0, 0, kind="a folder")
    if info.islnk():
        target = info.linkname.removeprefix("./")
        original = before.get(target)
        return original._replace(name=name) if original else Entry(name, 0, 0, 0, kind=f"a link to {target}")
    if info.issparse():
        raise DataError(f"{path}: {info.name} is sparse, which no image is: pack it anew")
    if not info.isreg():
        return Entry(name, 0, 0, 0, kind="a link" if info.issym() else "a device")
    if info.offset_data + info.size > end:
        raise DataError(f"{path} is truncated: {name} ends at {info.offset_data + info.size:,} of {end:,} bytes")
    label = b""
    if is_sidecar(name) and info.size <= LONGEST_LABEL:
        label = os.pread(file.fileno(), info.size, info.offset_data)
    return Entry(name, info.size, info.offset_data, info.size, label=label)


def _after(found: list[Entry]) -> str:
    return f"is truncated or damaged after {found[-1].name}" if found else "is no tar, or damaged at its beginning"
