"""Files that are whole or not there at all, whatever stops the process that writes them."""

import errno
import fcntl
import json
import os
import socket
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from recipe.encoding import SHOWN
from recipe.errors import RunError, unreadable

LOCK = ".lock"  # of a run folder: held while a process trains in it
CONSOLE = "console.log"  # of a run folder: what a sweep's job printed
LOCK_SECONDS = 5.0  # to wait for a process that is just being ended
# What file systems answer that cannot flush a file, or a folder (some of networks, of other systems, FUSE).
CANNOT = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}
CANNOT_OPEN = {errno.EACCES, errno.EPERM, errno.EISDIR}  # a folder that may be written, but not listed


def unpack(archive: tarfile.TarFile, folder: Path, members: Iterable[tarfile.TarInfo] | None = None) -> None:
    """Put an archive's files into a folder, and nothing outside of it: Python sees to that from 3.11.4 on."""
    safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    archive.extractall(folder, members, **safely)


def write_atomically(path: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file under a temporary name in the same folder, flush it to the disk, then rename it.

    Args:
        content: the file's bytes or text (UTF-8), or a function that writes the file at the path it is given.

    Raises OSError, naming the file; the old one is then intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if callable(content):
            content(temporary)
        else:
            temporary.write_bytes(content.encode("utf-8", SHOWN) if isinstance(content, str) else content)
        _flush(temporary)
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def read_json(path: Path, *names: str) -> dict[str, Any]:
    """One of a run folder's files, a JSON object with these names in it. Raises RunError."""
    try:
        if path.exists() and not path.is_file():  # a named pipe would be waited for
            raise ValueError("not a file")
        content: dict[str, Any] = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
        if missing := [name for name in names if name not in content]:
            raise ValueError(f"no {', '.join(missing)} in it")
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
    return content


def lock(path: Path) -> TextIO | None:
    """Hold a file until it is closed or this process ends, however it ends. None where the disk has no locks.

    Raises RunError where another process holds it. (A child process does not inherit the lock.)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    patience = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                file.close()
                return None
        else:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            return file
        if time.monotonic() > patience:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            raise RunError(f"{holder} is training in {path.parent}: two runs in one folder would spoil each other")
        time.sleep(0.2)


def is_locked(path: Path) -> bool:
    """Whether a process holds the file."""
    try:
        file = path.open("r+")
    except OSError:  # not there, or not ours to know
        return False
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EACCES, errno.EAGAIN)
    return False


def size_text(size: int) -> str:
    """Bytes as people read them: 23 MB, 1.2 GB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def cache_folders() -> list[Path]:
    """Where this user keeps what can be made again: the cache folder, or where that cannot be written a temporary one.

    (A home may be read-only, full, or not there at all.)
    """
    temporary = Path(tempfile.gettempdir()) / f"recipe-ladder-{os.getuid()}"
    folders = [temporary] if _is_ours(temporary) else []
    with suppress(RuntimeError):  # a user without a home
        folders.insert(0, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recipe-ladder")
    return folders


def in_cache(name: str, is_there: Callable[[Path], bool], make: Callable[[Path], object]) -> Path:
    """The file or folder of this name in the first cache folder that has it, or else that it can be made in.

    Raises RunError where it can be made in none of them.
    """
    folders, problems = cache_folders(), []
    for folder in folders:
        with suppress(OSError):  # not ours to look into
            if is_there(folder / name):
                return folder / name
    for folder in folders:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder in cache_folders():
                make(folder / name)
                return folder / name
        except OSError as error:
            problems.append(f"{error.filename or folder}: {error.strerror}")
    raise RunError(f"{name} can be kept nowhere ({'; '.join(problems)}): XDG_CACHE_HOME=FOLDER names another place")


def give_matplotlib_a_folder() -> None:
    """Where matplotlib cannot write below the home folder, let it keep its list of fonts in a cache folder of ours.

    Left alone, it warns at each start and lists them again.
    """
    if os.environ.get("MPLCONFIGDIR"):
        return
    with suppress(OSError, RuntimeError):  # RuntimeError: a user without a home
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "matplotlib"
        folder.mkdir(parents=True, exist_ok=True)  # as it does itself
        if os.access(folder, os.W_OK):
            return
    with suppress(RunError):  # nowhere: then it says so
        os.environ["MPLCONFIGDIR"] = str(in_cache("matplotlib", Path.is_dir, Path.mkdir))


def _is_ours(folder: Path) -> bool:
    """Or not there yet. Others may write to the temporary folder, and what has our name there need not be ours."""
    try:
        about = os.lstat(folder)
    except FileNotFoundError:
        return True
    return stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid()


def flush(descriptor: int) -> None:
    """Bring an open file, or folder, to the disk, where its file system can do that. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT:
            raise


def _flush(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        if path.is_dir() and error.errno in CANNOT | CANNOT_OPEN:
            return
        raise
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)
