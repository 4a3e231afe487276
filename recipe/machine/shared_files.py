"""Files that processes of this user make once and use together, in memory; the last one that uses a file removes it.

That a process uses a file is said by a lock (flock), which ends with the process, however it ends. So what a killed
one leaves is known by having no user: the next start takes it, or removes it. While a sweep runs, files stay for its
jobs to come. Nothing here imports PyTorch.
"""

import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from recipe.errors import DataError

PLACE = "RECIPE_SHM"  # environment variable: another folder than SHARED_MEMORY
SHARED_MEMORY = Path("/dev/shm")
SUFFIX, SWEEP = ".pixels", ".sweep"
POLL_SECONDS = 0.2  # between two looks at a file that another process makes


class SharedFile:
    """A file that this process uses. What it forks uses it too, by the same lock."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path, self.descriptor = path, descriptor

    def release(self) -> None:
        """Use it no more; remove it where nobody does and no sweep runs."""
        if _locked(self.descriptor, fcntl.LOCK_EX) and not _a_sweep_runs(self.path.parent):
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def folder() -> Path:
    """The folder of this user's files, made where it is not there. Raises DataError."""
    place = Path(os.environ.get(PLACE) or SHARED_MEMORY).expanduser()
    own = place / f"recipe-ladder-{os.getuid()}"
    another = f"{PLACE}=FOLDER in the environment names another place"
    if not place.is_dir():
        raise DataError(f"there is no folder {place} for files in memory: {another}")
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        about = os.lstat(own)
    except OSError as error:
        raise DataError(f"cannot make {own} for files in memory ({error.strerror}): {another}") from error
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise DataError(f"{own} is another user's: {another}")
    return own


def used(
    path: Path, is_whole: Callable[[int], bool], make: Callable[[int], None], waits: Callable[[], None] = lambda: None
) -> SharedFile:
    """The file, made by one of the processes that ask for it at a time; the others wait.

    Args:
        is_whole: whether an open file, by its descriptor, was made to its end.
        make: fills an open file, which is empty. What it raises is raised here, and the file is removed.
        waits: called once where another process makes it.
    """
    told = False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _locked(descriptor, fcntl.LOCK_SH) and is_whole(descriptor) and _is_at(descriptor, path):
                return SharedFile(path, descriptor)
            # A lock that could not be changed is lost: two that try at the same time do not wait for each other.
            if _locked(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path):
                if not is_whole(descriptor):
                    _made(path, descriptor, make)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                return SharedFile(path, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not told:
            waits()
        told = True
        time.sleep(POLL_SECONDS)


def free_in(place: Path) -> int:
    """Bytes that a folder has room for."""
    about = os.statvfs(place)
    return about.f_bavail * about.f_frsize


def remove_unused(own: Path, but: Path | None = None, even_a_sweep_s: bool = False) -> None:
    """Remove files that nobody uses: what killed processes left, and, if so wished, what waits for a sweep's jobs.

    Args:
        but: one that is about to be used.
    """
    if _a_sweep_runs(own) and not even_a_sweep_s:
        return
    for path in own.glob(f"*{SUFFIX}"):
        with suppress(OSError), _opened(path) as descriptor:
            if path != but and _locked(descriptor, fcntl.LOCK_EX) and _is_at(descriptor, path):
                path.unlink()


@contextmanager
def kept_for_a_sweep(needed: bool) -> Iterator[None]:
    """While it is open, files stay that nobody uses for the moment. `needed`: whether any job has such files."""
    try:
        own = folder() if needed else None
    except DataError:  # the jobs will say so
        own = None
    if own is None:
        yield
        return
    path = own / f"{os.getpid()}{SWEEP}"
    unlocked = path.with_suffix(".new")
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    _locked(descriptor, fcntl.LOCK_EX)
    unlocked.rename(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        remove_unused(own)


def _made(path: Path, descriptor: int, make: Callable[[int], None]) -> None:
    try:
        os.ftruncate(descriptor, 0)
        make(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _a_sweep_runs(own: Path) -> bool:
    """Whether the process of a sweep lives. What a killed one left is removed."""
    for path in own.glob(f"*{SWEEP}"):
        with suppress(OSError), _opened(path) as descriptor:
            if not _locked(descriptor, fcntl.LOCK_SH):
                return True
            path.unlink(missing_ok=True)
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    """Lock an open file at once, or not at all."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name: another process may have removed it."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)
