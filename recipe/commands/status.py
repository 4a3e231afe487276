"""`recipe status FOLDER …`: how the runs of a sweep stand, from any terminal or machine, while it runs or after."""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

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
    from recipe.sweep.overview import Screen
    from recipe.sweep.status import status

    screen = Screen()
    while True:
        found = status(arguments.folders)
        goes_on = arguments.watch and found.goes_on
        if arguments.json:
            print(json.dumps(found.as_json(), indent=None if arguments.watch else 2), flush=True)
        else:
            width, height = shutil.get_terminal_size()
            live = goes_on and sys.stdout.isatty()
            if arguments.watch:
                screen.draw([])
            text = lines(found, width, height - 2 if live else None)
            if live:
                screen.draw(text, most=height - 1)
            else:
                print("\n".join(text), flush=True)
        if not goes_on:
            return
        try:
            time.sleep(SECONDS)
        except KeyboardInterrupt:
            return
