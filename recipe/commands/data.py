"""`recipe data …`: what is done with data sets before training."""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from recipe.errors import DataError, RunError


def add_to(parsers: Any) -> None:
    """The command's own commands, and their arguments."""
    parser = parsers.add_parser("data", help="prepare data sets", description="What is done with data sets.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_prepare(commands)


def add_prepare(commands: Any) -> None:
    """The arguments of `recipe data prepare`."""
    parser = commands.add_parser(
        "prepare",
        help="a copy with smaller training images, which decode faster",
        description="Make a store: the training images as JPEGs of at most --max-side pixels, which decode faster and "
        "are not the same pixels; all other files, validation images above all, are linked, or copied where the disk "
        "has no links. What is stopped goes on with the same command.",
        epilog="Example: recipe data prepare /data/imagenet /data/imagenet-400, then data.root=/data/imagenet-400",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="a data root, or one folder of class folders")
    parser.add_argument("target", type=Path, metavar="DST", help="a new folder")
    parser.add_argument("--train-dir", metavar="DIR", help="SRC's training folder (train, where there is one)")
    side = whole_number(8, 65_500)  # the most that JPEG can hold, in libjpeg
    parser.add_argument("--max-side", type=side, default=400, metavar="PIXELS", help="of the longer side (400)")
    parser.add_argument("--quality", type=whole_number(1, 100), default=90, metavar="N", help="of the JPEGs (90)")
    parser.add_argument("--workers", type=whole_number(1, 1024), metavar="N", help="processes (one a core)")
    parser.add_argument("--skip-corrupt", action="store_true", help="leave out images that cannot be read")
    parser.set_defaults(run=prepare)


def prepare(arguments: argparse.Namespace) -> None:
    """Make the store, and say what it is. Raises DataError."""
    from recipe.data import store  # PyTorch, once the arguments are known to be right
    from recipe.distributed import cores
    from recipe.logs import duration

    begin, a = time.monotonic(), arguments
    workers = a.workers or cores()
    try:
        facts = store.prepare(a.source, a.target, a.train_dir, a.max_side, a.quality, workers, a.skip_corrupt)
    except KeyboardInterrupt:
        print("What is done stays: the same command goes on.")
        raise
    except RunError as error:
        raise DataError(f"another process is preparing {a.target}") from error
    except BrokenProcessPool as error:
        fewer = f"--workers {max(1, workers // 2)}"
        raise DataError(
            f"a worker process was killed, perhaps for want of memory: the same command goes on, with {fewer} in less"
        ) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise DataError(f"{error.filename}: {error.strerror}. What is done stays: the same command goes on") from error
    left_out = f", {facts['left_out']:,} left out" if facts["left_out"] else ""
    root = os.fspath(a.target)
    print(f"images  {facts['images']:,}: {facts['re_encoded']:,} re-encoded, {facts['kept']:,} as they were{left_out}")
    print(f"size    {size(facts['bytes_before'])} before, {size(facts['bytes_after'])} now")
    print(f"time    {duration(time.monotonic() - begin)}")
    print("The pixels are not those of the originals: compare results only with runs on this same store.")
    print(f"To train on it: data.root={root}" + (" data.val_fraction=0.2" if facts["train_dir"] == "." else ""))


def size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """What argparse is to accept."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text}: must be a whole number from {least} to {most}")
        return int(text)

    return parse
