"""`recipe report FOLDER …`: which ingredient helped, by how much, how surely, at what cost. Reads run folders only."""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe.errors import RunError
from recipe.files import write_atomically

if TYPE_CHECKING:
    from recipe.ladder.telling.drawing import Drawing
    from recipe.ladder.telling.thumbnails import Thumbnail


def add_to(parsers: Any) -> None:
    """The command's arguments."""
    parser = parsers.add_parser(
        "report",
        help="compare finished runs: tables, figures, an HTML page, TensorBoard",
        description="Compare the runs below some folders, seed by seed: ladders, ingredients left out or added one at "
        "a time, sweeps, folds, and what several data sets have in common. Writes report.md, report.html, rungs.csv, "
        "runs.csv, data_sets.csv, figures and a TensorBoard log.",
        epilog="Example: recipe report multirun_outputs",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="folders with runs, at any depth")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (FOLDER/report of the first)")
    parser.add_argument("--why", action="store_true", help="print how each verdict comes about, as report.html does")
    parser.add_argument("--latex", action="store_true", help="write report.tex too: the tables for a paper (booktabs)")
    parser.add_argument("--no-figures", action="store_true", help="tables and CSV only: fast")
    parser.add_argument("--images", action="store_true", help="show the photos that changed most: reads the data")
    parser.add_argument(
        "--split",
        choices=("val", "test"),
        default="val",
        help="test: beside each table, the same on test images (recipe evaluate RUN split=test, data.val_dir=test)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the tables, and write them and the figures. Raises RunError."""
    from recipe.ladder.reading.collect import collect

    found = collect(arguments.folders)

    from recipe.ladder.comparing.budgets import series
    from recipe.ladder.comparing.compare import compare
    from recipe.ladder.comparing.data_sets import across
    from recipe.ladder.comparing.on_test import compare_with_test_images
    from recipe.ladder.comparing.report import Report
    from recipe.ladder.comparing.sequential import with_looks
    from recipe.ladder.telling import csv_files, tables  # scipy, once there is something to compare

    comparisons = compare_with_test_images(found) if arguments.split == "test" else compare(found)
    with_looks(comparisons, found, arguments.folders)
    report = Report(arguments.folders, comparisons, found, across(comparisons), series(comparisons))
    print(tables.text(report, shutil.get_terminal_size().columns, arguments.why))
    folder = arguments.out or arguments.folders[0] / "report"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write to {folder} ({error.strerror}): name another folder with --out") from error
    write_atomically(folder / "rungs.csv", csv_files.rungs_csv(report))
    write_atomically(folder / "runs.csv", csv_files.runs_csv(report))
    if report.across:
        write_atomically(folder / "data_sets.csv", csv_files.data_sets_csv(report))
    thumbnails: list[dict[int, Thumbnail]] = []
    if arguments.images:
        from recipe.ladder.telling.classes_and_images import MOST_FLIPS
        from recipe.ladder.telling.thumbnails import of_flips  # PyTorch, and the data

        thumbnails = [of_flips(comparison, MOST_FLIPS) for comparison in report.comparisons]
    drawn: dict[str, Drawing] = {}
    if not arguments.no_figures:
        from recipe.ladder.telling import figures, page, tensorboard

        for old in (folder / "figures").glob("*.[sp][vn]g"):  # of an earlier report
            old.unlink()
        drawn = figures.draw(report, folder / "figures")
        page.write(report, drawn, folder / "report.html", thumbnails)
        tensorboard.write(report, drawn, folder / "tensorboard")
    pictures = [(drawing.comparison, drawing.caption, f"figures/{drawing.svg.name}") for drawing in drawn.values()]
    write_atomically(folder / "report.md", tables.markdown(report, pictures))
    if arguments.latex:
        from recipe.ladder.telling import latex

        write_atomically(folder / "report.tex", latex.document(report))
        print(f"LaTeX: {folder / 'report.tex'}")
    print(f"Report: {folder / ('report.md' if arguments.no_figures else 'report.html')}")
