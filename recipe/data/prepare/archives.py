"""The files of a data set's original download: in a folder, a zip or a tar, and in the archives inside of it.

Nothing is unpacked to a name that an archive gives: its members are read here, and what they are called on the disk is
the caller's business. Links, devices and names that lead out of the archive are refused.
"""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from recipe.data.walk import broken_link, files_first, walk
from recipe.errors import DataError

TARS = (".tar", ".tar.gz", ".tgz")
LARGEST = 256 * 2**20  # bytes of a member that is read: no image or table of the data sets comes near


class Member(NamedTuple):
    """A file of the download."""

    name: str  # with the names of the archives that it lies in, as in train.tar/n01440764.tar/n01440764_18.JPEG
    size: int  # bytes
    path: Path | None  # where it is a file of its own
    read: Callable[[], bytes]  # raises DataError; of a tar's member, only until the next one is asked for


def members(source: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The files at `source`, a folder or an archive, in the order in which they lie there; in folders by name.

    Args:
        wanted: of a name, whether it is of use: no other file is opened. An archive in a folder or a tar is looked into
            where its own name is wanted.

    Raises DataError, naming the archive, where it is broken or holds what no data set holds.
    """
    if source.is_dir():
        yield from _of_folder(source, wanted)
    elif source.suffix.lower() == ".zip":
        yield from _of_zip(source, wanted)
    elif source.name.lower().endswith(TARS):
        with _naming(source), source.open("rb") as file:
            yield from _of_tar(source, file, "", wanted)
    elif source.exists():
        raise DataError(f"{source} is no folder and no archive ({', '.join(('.zip', *TARS))})")
    else:
        raise DataError(f"there is no {source}")


def _of_folder(source: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    found = walk(source, aliases=True)
    if broken := [name for name in found.broken if wanted(name)]:
        raise broken_link(source, broken)
    for name, size in sorted(found.files, key=lambda file: files_first(file[0])):
        path = source / name
        if not wanted(name):
            continue
        if name.lower().endswith((".zip", *TARS)):
            for member in members(path, lambda inner, outer=name: wanted(f"{outer}/{inner}")):  # type: ignore[misc]
                yield member._replace(name=f"{name}/{member.name}")
        else:
            yield Member(name, size, path, path.read_bytes)


def _of_zip(source: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    with _naming(source), zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            _check_name(source, info.filename)
            if (info.external_attr >> 16) & 0o170000 not in (0, 0o100000, 0o040000):  # of Unix: file, folder
                raise DataError(f"{source} holds {info.filename}, which is no file and no folder")
            if not info.is_dir() and wanted(info.filename):
                _check_size(source, info.filename, info.file_size)
                yield Member(info.filename, info.file_size, None, _reader(source, lambda info=info: archive.open(info)))  # type: ignore[misc]


def _of_tar(source: Path, file: IO[bytes], prefix: str, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """A tar's files, read in one go from the first to the last, and those of the tars in it."""
    with tarfile.open(fileobj=file) as archive:
        for info in archive:
            name = prefix + info.name.removeprefix("./")
            _check_name(source, info.name)
            if info.isdir() or not wanted(name):
                continue
            if not info.isreg():
                raise DataError(f"{source} holds {name}, which is no file and no folder")
            content = archive.extractfile(info)
            assert content is not None
            if name.lower().endswith(TARS):
                yield from _of_tar(source, content, f"{name}/", wanted)
            else:
                _check_size(source, name, info.size)
                yield Member(name, info.size, None, _reader(source, lambda content=content: content))  # type: ignore[misc]
            archive.members = []  # type: ignore[attr-defined]  # it keeps all headers, of ImageNet a million
        _check_end(source, archive)


def _check_end(source: Path, archive: tarfile.TarFile) -> None:
    """tarfile takes a damaged header for the end, which is a block of zeros. The rest is read for its checksum."""
    file = archive.fileobj
    assert file is not None
    file.seek(archive.offset)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise DataError(f"{source} is not whole: it is damaged after {archive.offset:,} bytes of its content")
    while file.read(2**20):
        pass


def _reader(source: Path, open_it: Callable[[], IO[bytes]]) -> Callable[[], bytes]:
    def read() -> bytes:
        with _naming(source), open_it() as file:
            return file.read()

    return read


def _check_name(source: Path, name: str) -> None:
    if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts:
        raise DataError(f"{source} holds {name}, which leads out of the archive: it is not the original")


def _check_size(source: Path, name: str, size: int) -> None:
    if size > LARGEST:
        raise DataError(f"{source} holds {name} with {size:,} bytes, more than any file of a data set has")


@contextmanager
def _naming(source: Path) -> Iterator[None]:
    """Whatever is wrong with an archive, as a DataError that names it."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{source} is not whole, or no archive of its kind: {reason}") from error
    except RuntimeError as error:  # of zipfile: a password
        raise DataError(f"{source}: {error}") from error
