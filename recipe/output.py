"""What is printed for people to read. That its reader goes away (`… | head`, a `tee` that was ended) harms no work."""

import os
import select
import sys


def say(text: str) -> None:
    """Print a line at once; where nobody reads any more, nowhere."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        nobody_reads()


def nobody_reads() -> None:
    """Let what is printed from here on go nowhere, on standard output and errors alike, where the reader has gone."""
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream.fileno(), 0)  # that a pipe is broken is told unasked
        if poll.poll(0):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
