"""What lies in a folder. Every scan of images takes this one walk, which ends whatever links there are.

A folder is walked once, by its device and inode, however many links lead to it: first what is really there, then links
to folders elsewhere.
"""

import heapq
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from recipe.errors import DataError

KINDS = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a folder"))


class Walk(NamedTuple):
    """What was found, sorted; names are relative to the folder, with `/`."""

    files: list[tuple[str, int]]  # name and bytes
    folders: list[str]  # every folder that was looked into; "" is the root
    not_files: list[str]  # what is neither a file nor a folder, and links that are not followed, in words
    broken: list[str]  # links that lead to nothing


class Folder(NamedTuple):
    """One that is to be looked into. Links come last, those of a folder before those that lie deeper."""

    is_link: bool
    depth: int
    name: str
    above: frozenset[tuple[int, int]]  # the folders that it lies in, by device and inode


def walk(root: Path, below: Sequence[str] | None = None, without: str | None = None, aliases: bool = False) -> Walk:
    """Everything in a folder but what is hidden. Raises DataError where a folder cannot be read.

    Args:
        below: these of its folders alone; None: all of it.
        without: a folder whose own folders are left out.
        aliases: a folder is walked by each name that links give it, but not in itself.
    """
    found = Walk([], [], [], [])
    waiting = [Folder(False, 0, "", frozenset())]
    seen: dict[tuple[int, int], str] = {}
    while waiting:
        here = heapq.heappop(waiting)
        identity = _identity(root / here.name)
        before = seen.setdefault(identity, here.name)
        repeated = identity in here.above if aliases else before != here.name
        if repeated and identity[1]:  # there are file systems that number nothing: all inodes are 0
            found.not_files.append(f"{here.name} (the same folder as {before or '.'})")
            continue
        found.folders.append(here.name)
        above = here.above | {identity}
        if here.name == "" and below is not None:
            for name in below:
                heapq.heappush(waiting, Folder(os.path.islink(root / name), 1, name, above))
            continue
        for name, is_link in _look_into(root, here.name, found):
            if here.name != without:
                heapq.heappush(waiting, Folder(is_link, here.depth + 1, name, above))
    for names in found:
        names.sort()
    return found


def files_first(name: str) -> list[tuple[bool, str]]:
    """To sort names by: the files of a folder before those in the folders beside them."""
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]


def not_a_file(mode: int) -> str | None:
    """What something is by its mode; None where it is a file."""
    if stat.S_ISREG(mode):
        return None
    return next((kind for is_so, kind in KINDS if is_so(mode)), "a device")


def broken_link(root: Path, broken: Sequence[str]) -> DataError:
    """For scans that do not go on without what a link was to lead to."""
    more = f", and {len(broken) - 1:,} more are" if len(broken) > 1 else ""
    return DataError(f"{root / broken[0]} is a link to something that is not there{more}: mend or delete it")


def _look_into(root: Path, here: str, found: Walk) -> list[tuple[str, bool]]:
    """Note what a folder holds. Returns the folders in it, and whether they are links."""
    folders = []
    try:
        with os.scandir(root / here) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = f"{here}/{entry.name}" if here else entry.name
                try:
                    status = entry.stat()
                except OSError:
                    if not entry.is_symlink():
                        raise
                    found.broken.append(name)
                    continue
                if stat.S_ISDIR(status.st_mode):
                    folders.append((name, entry.is_symlink()))
                elif (kind := not_a_file(status.st_mode)) is not None:
                    found.not_files.append(f"{name} ({kind})")
                else:
                    found.files.append((name, status.st_size))
    except OSError as error:
        raise DataError(f"cannot read the folder {root / here}: {error.strerror}") from error
    return folders


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = os.stat(folder)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    return status.st_dev, status.st_ino
