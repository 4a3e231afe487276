"""Whether the code is still what it was when a sweep began: a digest of the project's files, given to its jobs.

A job starts minutes or, on a cluster, days after the sweep, and imports what lies there then. An installed package has
no such files, and is not looked at.
"""

import hashlib
import os
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from recipe.errors import ConfigError, RunError
from recipe.output import say
from recipe.plan.rungs import CONF, IN_CHECKOUT, PACKAGE

STOP, CONTINUE = "stop", "continue"  # what hydra.launcher.changed_code may be
FLAG = "--code="  # of a job's command line, followed by one of these, the digest and the second when it was taken
KINDS = (".py", ".yaml", ".css", ".js")
FOLDER = "--config-dir"  # Hydra's flag, with a folder of the user's own recipes
NAMED = 3  # files that a message names


class SourceCode:
    """The code as it is when a sweep begins."""

    def __init__(self, when_changed: str, folders: Sequence[str] = ()) -> None:
        """Read the files, once: about 10 ms.

        Args:
            when_changed: hydra.launcher.changed_code.
            folders: what --config-dir names.

        Raises ConfigError.
        """
        if when_changed not in (STOP, CONTINUE):
            raise ConfigError(f"hydra.launcher.changed_code={when_changed}: must be {STOP} or {CONTINUE}")
        self._when_changed, self._folders = when_changed, list(folders)
        self._began = int(time.time())
        self._marks = _marks(self._folders)
        self._digest = digest(self._folders)
        self._told = False

    def argument(self) -> list[str]:
        """What a job's command line has, for `checked`."""
        return [f"{FLAG}{self._when_changed}:{self._digest}:{self._began}"] if self._digest else []

    def why_not(self) -> str | None:
        """Why no further job may start; None where it may. Files are read again only where a size or time differs."""
        marks = _marks(self._folders) if self._digest else self._marks
        if marks == self._marks:
            return None
        if digest(self._folders) == self._digest:
            self._marks = marks
            return None
        what = _changed(self._folders, self._began)
        if self._when_changed == STOP:
            return what
        if not self._told:
            say(f"{what[0].upper()}{what[1:]}: jobs that start from here on run the new code")
        self._told = True
        return None


def checked(arguments: Sequence[str]) -> list[str]:
    """A job's arguments without the flag. Raises RunError where the code is another than when its sweep began."""
    rest = [argument for argument in arguments if not argument.startswith(FLAG)]
    if what := refused([arguments])[0]:
        raise RunError(
            f"{what}, and this job of it was not begun. The sweep's command, given again, goes on with the new "
            f"code; with hydra.launcher.changed_code={CONTINUE} its jobs go on in any case"
        )
    if (what := _changes([arguments])[0]) and os.environ.get("RANK", "0") == "0":
        say(f"{what[0].upper()}{what[1:]}: this job runs the new code")
    return rest


def refused(commands: Sequence[Sequence[str]]) -> list[str | None]:
    """Why each job would not begin, by the arguments of its command: how the code differs. None where it would."""
    stop = [any(argument.startswith(f"{FLAG}{STOP}:") for argument in command) for command in commands]
    changes = iter(_changes([command for command, stops in zip(commands, stop, strict=True) if stops]))
    return [next(changes) if stops else None for stops in stop]


def _changes(commands: Sequence[Sequence[str]]) -> list[str | None]:
    """How the code differs from what each was submitted with; None where it does not. Files are read once."""
    now: dict[tuple[str, ...], str | None] = {}
    found: list[str | None] = []
    for command in commands:
        flags = [argument for argument in command if argument.startswith(FLAG)]
        if not flags:
            found.append(None)
            continue
        _, before, began = flags[-1].removeprefix(FLAG).split(":")
        folders = tuple(folder for flag, folder in pairwise(command) if flag == FOLDER)
        if folders not in now:
            now[folders] = digest(folders)
        found.append(_changed(folders, int(began)) if now[folders] not in (None, before) else None)
    return found


def digest(folders: Sequence[str]) -> str | None:
    """Of the names, sizes and contents of the project's files, 16 hexadecimal digits; None of an installed package.

    Args:
        folders: further ones, with recipes.
    """
    if not IN_CHECKOUT:
        return None
    found = hashlib.sha256()
    for name, path in _files(folders):
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:  # just deleted
            continue
        found.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
        found.update(content)
    return found.hexdigest()[:16]


def _files(folders: Sequence[str]) -> list[tuple[str, str]]:
    """The files that a run may come to read: their names in the project, wherever it lies, and their paths."""
    project = str(PACKAGE.parent)
    found = [os.path.join(project, "train.py")]
    for folder in (str(PACKAGE), str(CONF), os.path.join(project, "hydra_plugins")):
        for place, inner, names in os.walk(folder):
            inner[:] = [name for name in inner if not name.startswith((".", "__pycache__"))]
            found += [os.path.join(place, name) for name in names if name.endswith(KINDS) and not name.startswith(".")]
    own = [(path[len(project) + 1 :], path) for path in sorted(found)]
    places = [Path(folder.removeprefix("file://")) for folder in folders]
    others = (str(path) for place in places for path in sorted([*place.glob("*.yaml"), *place.glob("*/*.yaml")]))
    return [*own, *((path, path) for path in others)]


def _marks(folders: Sequence[str]) -> list[tuple[str, int, int]]:
    """Size and time of change of each file."""
    marks = []
    for name, path in _files(folders) if IN_CHECKOUT else ():
        try:
            about = os.stat(path)
        except OSError:
            continue
        marks.append((name, about.st_size, about.st_mtime_ns))
    return marks


def _changed(folders: Sequence[str], began: int) -> str:
    """What is different, in words; by their times, so that what was deleted or brought with an old one is not named."""
    newer = [name for name, _, modified in _marks(folders) if modified >= began * 1_000_000_000]
    more = f" and {len(newer) - NAMED} more" if len(newer) > NAMED else ""
    named = f" ({', '.join(newer[:NAMED])}{more})" if newer else ""
    return f"the code has changed since the sweep began{named}"
