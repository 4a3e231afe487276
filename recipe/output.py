"""What is shown to people. That it cannot be shown (its reader has gone, the terminal is closed, the disk of the file
it goes to is full) harms no work.
"""

import errno
import io
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from recipe.encoding import SHOWN


class Shown(io.FileIO):
    """A file whose writing never fails: what cannot be written is lost."""

    lost: OSError | None = None  # why, the first time

    def __init__(self, file: int | str | Path, mode: str = "w") -> None:
        """A file, or an open descriptor, which stays open. Raises OSError where a file cannot be opened."""
        super().__init__(file, mode, closefd=not isinstance(file, int))

    def write(self, data: Any) -> int:
        """All of it, as far as is known here."""
        left = memoryview(data)
        try:
            while len(left):
                written = super().write(left)
                if written is None:  # a pipe or a terminal that somebody made answer "not now"
                    self._wait()
                left = left[written or 0 :]
        except OSError as error:
            self.lost = self.lost or error
        return len(data)

    def _wait(self) -> None:
        ready = select.poll()
        ready.register(self.fileno(), select.POLLOUT)
        ready.poll()

    def close(self) -> None:
        """Some file systems tell only now that there was no room."""
        try:
            super().close()
        except OSError as error:
            self.lost = self.lost or error


def opened(path: Path, mode: str = "w") -> Shown:
    """A file for people to read; where it cannot be opened, all of it is lost."""
    try:
        return Shown(path, mode)
    except OSError as error:
        nowhere = Shown(os.devnull)
        nowhere.lost = error
        return nowhere


def as_text(file: Shown, like: TextIO | None = None) -> TextIO:
    """The file to print to, line by line; or as another one is printed to."""
    buffer = io.BufferedWriter(file)
    if like is None:
        return io.TextIOWrapper(buffer, "utf-8", SHOWN, line_buffering=True)
    by_line = bool(like.line_buffering) or getattr(like, "write_through", False)
    return io.TextIOWrapper(buffer, like.encoding, like.errors, line_buffering=by_line)


def show_what_can_be_shown() -> None:
    """At the start of a program: from here on, nothing that is printed can end it, by whatever code it is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed by `>&-`: the next file that is opened would take the number, and what is printed
            os.open(os.devnull, os.O_RDWR)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):  # somebody else's: a test's
            continue
        if stream is None:  # it was closed when Python started
            number = os.open(os.devnull, os.O_WRONLY)
        else:
            with suppress(OSError):
                stream.flush()
        setattr(sys, name, as_text(Shown(number), stream))


def tell_what_was_not_shown() -> bool:
    """At the end of a program: whether some of its output was lost, on standard error. (Who reads no more, as in
    `… | head`, has chosen so.)
    """
    with suppress(AttributeError, ValueError):  # a stream of somebody else's, or closed by somebody
        sys.stdout.flush()
        lost = getattr(getattr(sys.stdout.buffer, "raw", None), "lost", None)
        if lost is not None and lost.errno != errno.EPIPE:
            print(f"Not all that was printed could be shown: {lost.strerror}", file=sys.stderr, flush=True)
            return True
    return False


def count(number: int, noun: str) -> str:
    """A number with its noun, as in 1 run, 3,000 runs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)
