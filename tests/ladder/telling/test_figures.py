"""Figures are written as files of every kind, under names of their own, the same for the same runs."""

import itertools
import warnings
import xml.etree.ElementTree
from pathlib import Path

import pytest
from matplotlib import pyplot as plt
from synthetic import LADDER, write_ladder, write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import figures


def report_of(root: Path) -> Report:
    runs = collect([root])
    return Report([root], compare(runs), runs)


def only(root: Path) -> Comparison:
    (comparison,) = report_of(root).comparisons
    return comparison


def test_every_figure_is_written_as_svg_and_png(tmp_path: Path) -> None:
    write_ladder(tmp_path / "runs", dict.fromkeys(LADDER[:4], 1.0))
    drawn = figures.draw(report_of(tmp_path / "runs"), tmp_path / "figures")
    assert set(drawn) == {"ladder", "gains", "learning_curves", "loss_curves", "cost"}
    for name, drawing in drawn.items():
        assert drawing.svg == tmp_path / "figures" / f"{name}.svg"
        xml.etree.ElementTree.parse(drawing.svg)
        assert plt.imread(drawing.png).shape[1] == figures.WIDTH * 150
        assert drawing.caption.endswith(". ") or drawing.caption.endswith(".")
    assert not plt.get_fignums(), "figures stay open, and fill the memory"


def test_names_of_several_comparisons_begin_with_theirs(tmp_path: Path) -> None:
    write_ladder(tmp_path / "runs" / "a", dict.fromkeys(LADDER[:3], 1.0))
    for seed, lr in itertools.product(range(3), (0.1, 0.2, 0.4)):
        write_run(tmp_path / "runs" / "b", "v2", seed, 50 + lr + seed / 7, differences={"optimizer.lr": lr})
    report = report_of(tmp_path / "runs")
    assert len(report.comparisons) == 2
    drawn = figures.draw(report, tmp_path)
    starts = [{name.removesuffix(d.kind) for name, d in drawn.items() if d.comparison == number} for number in (0, 1)]
    assert [len(start) for start in starts] == [1, 1]
    assert starts[0] != starts[1]
    assert [d.kind for d in drawn.values() if report.comparisons[d.comparison].shape == "sweep"].count("response") == 1


def test_the_same_runs_give_the_same_files(tmp_path: Path) -> None:
    write_ladder(tmp_path / "runs", dict.fromkeys(LADDER[:3], 1.0))
    report = report_of(tmp_path / "runs")
    one, other = (figures.draw(report, tmp_path / name) for name in ("one", "other"))
    assert [d.svg.read_bytes() for d in one.values()] == [d.svg.read_bytes() for d in other.values()]


@pytest.mark.parametrize(("rungs", "seeds"), [(1, 1), (1, 3), (2, 1), (13, 2)])
def test_few_runs_and_many_rungs_are_drawn_without_complaint(tmp_path: Path, rungs: int, seeds: int) -> None:
    write_ladder(tmp_path / "runs", dict.fromkeys(LADDER[:rungs], 0.5), seeds)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = figures.draw(report_of(tmp_path / "runs"), tmp_path)
    assert {"ladder", "learning_curves"} <= set(drawn)
    assert ("gains" in drawn) == (rungs > 1)
