"""Archives looked through for what they hold, several at a time, with a bar on a terminal."""

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from recipe.data.packed.entries import Entry
from recipe.errors import DataError
from recipe.machine import limits

FEW = 16 * 2**20  # bytes of archives that one process looks through as fast as others start
SETTLING = 0.05  # seconds, see `recipe.data.loader`
Job = tuple[Path] | tuple[Path, int, int]  # an archive; where in it another begins, and how many bytes that is


def scan(jobs: Sequence[Job], look: Callable[..., list[Entry]]) -> list[list[Entry]]:
    """What `look`, a function that pickle can name, finds in each. Raises DataError, as it does."""
    shown = sys.stderr.isatty()
    size = sum(job[2] if len(job) == 3 else job[0].stat().st_size for job in jobs)
    workers = min(limits.workers(), len(jobs)) if size > FEW else 1
    with tqdm(total=len(jobs), unit="archive", dynamic_ncols=True, disable=not shown or size <= FEW) as bar:
        found = []
        for entries in _found(jobs, look, workers):
            found.append(entries)
            bar.update()
    return found


def _found(jobs: Sequence[Job], look: Callable[..., list[Entry]], workers: int) -> Iterator[list[Entry]]:
    if workers == 1:
        yield from (look(*job) for job in jobs)
        return
    time.sleep(SETTLING)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"))
    try:
        yield from pool.map(look, *zip(*jobs, strict=True), chunksize=max(1, min(8, len(jobs) // workers)))
    except BrokenProcessPool as error:
        raise DataError(f"a process that looked through {jobs[0][0].parent} was killed, perhaps for memory") from error
    finally:
        pool.shutdown(cancel_futures=True)
