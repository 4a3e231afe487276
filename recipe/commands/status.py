"""`recipe status FOLDER …`: how the runs of a sweep stand, from any terminal or machine, while it runs or after."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from recipe.sweep.overview import Screen
from recipe.sweep.status import Status, status
from recipe.sweep.status_text import lines

SECONDS = 2.0  # between two looks, with --watch


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "status",
        help="how the runs of a sweep stand: finished, running, waiting, failed",
        description="Say how the runs of a sweep stand, by what lies in its folder: how many have finished, run, wait "
        "or failed, and of each that runs the epoch, images a second, top-1, the time left and where it is. On Slurm, "
        "also what squeue says of the jobs. It asks no run and needs no GPU.",
        epilog="Example: recipe status multirun_outputs --watch",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders with runs, at any depth")
    parser.add_argument("--watch", action="store_true", help="look again every 2 seconds, until nothing runs any more")
    parser.add_argument("--json", action="store_true", help="as one JSON object; with --watch one a line")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print, once or again and again. Raises RunError where there is nothing to look at."""
    screen = Screen()
    try:
        while _show(status(arguments.folders), arguments, screen):
            time.sleep(SECONDS)
    except KeyboardInterrupt:
        if not arguments.watch:
            raise


def _show(found: Status, arguments: argparse.Namespace, screen: Screen) -> bool:
    """Print how it stands. Returns whether to look again."""
    again = bool(arguments.watch and found.goes_on)
    width, height = shutil.get_terminal_size()
    if arguments.json:
        print(json.dumps(found.as_json(), indent=None if arguments.watch else 2), flush=True)
    elif again and sys.stdout.isatty():
        screen.draw(lines(found, width - 1, height - 1), most=height - 1)
    else:
        screen.draw([])
        print("\n".join(lines(found, width)), flush=True)
    return again
