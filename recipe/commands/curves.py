"""`recipe curves RUN …`: accuracy and loss against epochs as pictures, of each run and of several in one."""

import argparse
from pathlib import Path
from typing import Any

from recipe.errors import ConfigError, RunError

SUFFIXES = (".png", ".svg", ".pdf")


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "curves",
        help="accuracy and loss of runs against epochs, as pictures",
        description="Draw accuracy and loss against epochs: of each run into its folder (curves.png, curves.svg), and "
        "of several runs one picture that compares them. Runs need not have finished.",
        epilog="Example: recipe curves outputs/v2/seed=0 outputs/v2/seed=1 --out curves.png",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders that hold some")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the picture that compares several runs, or of the one"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Draw, and say where. Raises ConfigError and RunError."""
    out: Path | None = arguments.out
    if out is not None and out.suffix not in SUFFIXES:
        raise ConfigError(f"--out {out}: its ending says the kind of picture, one of {', '.join(SUFFIXES)}")

    from recipe.ladder.reading.collect import collect

    runs = collect(arguments.runs)

    from recipe.ladder.telling import run_curves

    drawable = [each for each in runs if run_curves.is_drawable(each)]
    if not drawable:
        raise RunError(f"nothing to draw in {', '.join(map(str, arguments.runs))}: no epoch has ended there yet")
    if len(drawable) > run_curves.MOST:
        raise RunError(
            f"{len(drawable)} runs are too many for one picture: name at most {run_curves.MOST}, or let "
            "`recipe report` draw the means over their seeds"
        )
    for each in drawable:
        if out is None or len(drawable) > 1:
            for suffix in (".png", ".svg"):
                run_curves.draw_one(each, each.folder / f"curves{suffix}")
            print(f"{each.folder / 'curves.png'} and .svg")
    if len(drawable) == 1 and out is not None:
        run_curves.draw_one(drawable[0], out)
        print(out)
    elif len(drawable) > 1:
        path = out or Path("curves.png")
        run_curves.draw_several(drawable, path)
        print(f"{path}: {len(drawable)} runs compared")
