"""The files of a zip, from its directory: the images themselves are not read."""

import os
import struct
import zipfile
import zlib
from pathlib import Path

from recipe.data.packed.entries import Entry, is_sidecar
from recipe.errors import DataError

UTF_8, ENCRYPTED = 0x800, 0x1  # flags of a file
LOCAL_HEADER, LOCAL_BYTES = b"PK\x03\x04", 30


def entries_of_zip(path: Path) -> list[Entry]:
    """A zip's files. Raises DataError, naming the zip, and the file where one is to blame."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            return [_entry(path, archive, file.fileno(), info) for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} is not whole, or no zip: {str(error).splitlines()[0]}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _entry(path: Path, archive: zipfile.ZipFile, descriptor: int, info: zipfile.ZipInfo) -> Entry:
    name = _name(info)
    if (info.external_attr >> 16) & 0o170000 not in (0, 0o100000):  # of Unix: a file, or nothing said
        return Entry(name, 0, 0, 0, kind="a link or a device")
    if info.flag_bits & ENCRYPTED:
        raise DataError(f"{path}: {name} has a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{path}: {name} is compressed by a method that is not read here: pack it anew with `zip -0`")
    header = os.pread(descriptor, LOCAL_BYTES, info.header_offset)
    if len(header) < LOCAL_BYTES or not header.startswith(LOCAL_HEADER):
        raise DataError(f"{path} is damaged: {name} is not where its directory says")
    at = info.header_offset + LOCAL_BYTES + sum(struct.unpack("<HH", header[26:]))
    label = archive.read(info) if is_sidecar(name) and info.file_size <= 2**20 else b""
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    return Entry(name, info.file_size, at, info.compress_size, info.CRC, deflated, label=label)


def _name(info: zipfile.ZipInfo) -> str:
    """Zips of Macs and of Linux hold UTF-8 and often do not say so; the others are what zipfile takes them for."""
    if info.flag_bits & UTF_8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename
