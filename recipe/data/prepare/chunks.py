"""Work on many files, by several processes: in chunks, as they are done, with a bar on a terminal."""

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from tqdm import tqdm

from recipe.machine.signals import ASKS_TO_STOP, end_with_parent

CHUNK = 8  # files that a worker is given at once
Result = TypeVar("Result")
Item = TypeVar("Item")


def in_chunks(work: Callable[[list[Item]], Result], names: Sequence[Item], workers: int) -> Iterator[Result]:
    """What `work`, a function that pickle can name, makes of each chunk of the names or places, in any order.

    Raises what it raises; BrokenProcessPool where a worker was killed. Chunks that were begun are finished.
    """
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), initializer=_begin_worker)
    try:
        chunks = [list(names[begin : begin + CHUNK]) for begin in range(0, len(names), CHUNK)]
        sizes = {pool.submit(work, chunk): len(chunk) for chunk in chunks}
        with tqdm(total=len(names), unit="image", dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:
            for future in as_completed(sizes):
                yield future.result()
                bar.update(sizes[future])
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    for number in ASKS_TO_STOP:  # a run's own handlers, which it inherits, would only note them
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGHUP):  # they go to all processes: the first one sees to the others
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    warnings.simplefilter("ignore")  # Pillow's, about EXIF data and transparency
