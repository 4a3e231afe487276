"""A program of its own: end torchrun where it has not ended by itself after some seconds. It outlives the rank that
starts it, and imports nothing of ours.

    python end_torchrun.py PROCESS BORN SECONDS
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path


def born(process: int) -> str:
    """When a process was started, as the system counts: its number may be used again. "" where it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def main() -> None:
    """Look twice a second whether it has ended; SIGKILL, as it hears no other signal where it waits."""
    process, when, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    end_at = time.monotonic() + seconds
    while born(process) == when:
        if time.monotonic() > end_at:
            print("torchrun still waits for the network that is gone, and is ended.", file=sys.stderr, flush=True)
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            return
        time.sleep(0.5)


if __name__ == "__main__":
    main()
