"""Figures say what the runs say, and can be read."""

import itertools
import json
import math
import warnings
import xml.etree.ElementTree
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.text import Text
from scipy import stats
from synthetic import LADDER, write_ladder, write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison, Report
from recipe.ladder.comparing.statistics import difference
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import curves, figures, plots
from recipe.ladder.telling.wording import prefix

SMALLEST = 14  # points


def report_of(root: Path) -> Report:
    runs = collect([root])
    return Report([root], compare(runs), runs)


def only(root: Path) -> Comparison:
    (comparison,) = report_of(root).comparisons
    return comparison


@pytest.fixture
def axes() -> Iterator[Any]:
    with plt.rc_context(figures.STYLE):
        figure, axes = plt.subplots(figsize=(figures.WIDTH, 5), layout="constrained")
        yield axes
        plt.close(figure)


def labels_of(figure: Any) -> list[Text]:
    """All text that is seen: ticks beyond the ends of their axis are not."""
    figure.canvas.draw()
    beyond: set[Text] = set()
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        low, high = sorted(axis.get_view_interval())
        beyond |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    return [
        text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in beyond
    ]


def bars(axes: Any) -> list[tuple[float, float, str]]:
    """Begin, length and colour of the horizontal bars, without the legend's empty ones."""
    found = [(bar.get_x(), bar.get_width(), to_hex(bar.get_facecolor())) for bar in axes.patches if bar.get_height()]
    return [(start, width, colour.upper()) for start, width, colour in found]


def test_every_figure_is_written_as_svg_and_png(tmp_path: Path) -> None:
    write_ladder(tmp_path / "runs", dict.fromkeys(LADDER[:4], 1.0))
    drawn = figures.draw(report_of(tmp_path / "runs"), tmp_path / "figures")
    assert set(drawn) == {"ladder", "gains", "learning_curves", "cost"}
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


@pytest.fixture(scope="module")
def twenty(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Twenty settings with long names, most of them as good and as dear as the others."""
    root, rng = tmp_path_factory.mktemp("twenty"), np.random.default_rng(0)
    for number, seed in itertools.product(range(20), range(2)):
        changed = {"optimizer.lr": 0.1 + number / 100, "schedule.warmup_epochs": 5} if number else {}
        seconds = 2000.0 if number == 1 else 4000.0 + number % 5
        acc1 = 60 + float(rng.normal())
        write_run(root, "v2", seed, acc1, differences=changed, device_seconds=seconds, images_seen=3000 + number)
    comparison = only(root)
    assert len(comparison.rows) == 20
    return comparison


@pytest.mark.parametrize("kind", ["ladder", "gains", "learning_curves", "cost"])
def test_text_is_large_complete_and_nowhere_on_other_text(twenty: Comparison, axes: Any, kind: str) -> None:
    assert getattr(plots, kind)(axes, twenty)
    texts = labels_of(axes.figure)
    assert axes.get_window_extent().width > 0.55 * axes.figure.bbox.width, "the labels take the room of the figure"
    assert min(float(text.get_fontsize()) for text in texts) >= SMALLEST
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= axes.figure.bbox.x1, text
        assert box.y1 <= axes.figure.bbox.y1, text
    overlapping = [
        (one.get_text(), other.get_text())
        for (one, a), (other, b) in itertools.combinations(zip(texts, boxes, strict=True), 2)
        if a.overlaps(b)
    ]
    assert not overlapping


def test_ladder_shows_every_run_the_mean_and_its_interval(tmp_path: Path, axes: Any) -> None:
    write_ladder(tmp_path, dict.fromkeys(LADDER[:3], 1.0), seeds=4)
    comparison = only(tmp_path)
    plots.ladder(axes, comparison)
    for y, row in enumerate(comparison.rows):
        dots = next(line for line in axes.lines if list(line.get_ydata()) == [y] * 4)
        assert sorted(dots.get_xdata()) == sorted(run.result["acc1"] for run in row.runs.values() if run.result)
        bar = axes.containers[y].lines[2][0].get_segments()[0]
        expected = stats.t.interval(0.95, 3, np.mean(row.acc1), stats.sem(row.acc1))
        assert bar[:, 0] == pytest.approx(expected)
    assert axes.get_xlim()[1] < 76, "published figures are of ImageNet and do not belong on this axis"


def test_gains_of_a_ladder_stand_on_one_another(tmp_path: Path, axes: Any) -> None:
    write_ladder(tmp_path, dict(zip(LADDER, (0, 8, -3, 1), strict=False)), seeds=5)
    comparison = only(tmp_path)
    plots.gains(axes, comparison)
    means = [row.mean for row in comparison.rows]
    assert [start for start, _, _ in bars(axes)] == pytest.approx([0, *(mean - means[0] for mean in means[1:-1]), 0])
    assert [width for _, width, _ in bars(axes)] == pytest.approx([*np.diff(means), means[-1] - means[0]])
    assert [colour for *_, colour in bars(axes)] == [plots.BLUE, plots.ORANGE, plots.BLUE, plots.BLUE]


def test_gains_that_stay_open_are_grey(tmp_path: Path, axes: Any) -> None:
    for seed, (label, gain) in itertools.product(range(3), enumerate((0.0, 0.1, -9.0))):
        acc1 = 50 + gain + float(np.random.default_rng(seed + 10 * label).normal(0, 0.5))
        write_run(tmp_path, "v2", seed, acc1, differences={"optimizer.lr": 0.1 * (label + 1)})
    comparison = only(tmp_path)
    plots.gains(axes, comparison)
    verdicts = [row.gain.verdict.split()[0] for row in comparison.rows[1:] if row.gain]
    assert verdicts == ["unresolved", "hurts"]
    assert [colour for *_, colour in bars(axes)] == [plots.GREY, plots.ORANGE]
    assert [start for start, *_ in bars(axes)] == [0, 0]


def test_labels_hide_no_point(axes: Any) -> None:
    x, y = [float(place) for place in range(12)], [1.0] * 12
    axes.plot(x, y, "o")
    plots.place_labels(axes, ["a label of some length"] * 12, x, y, [])
    axes.figure.canvas.draw()
    points = axes.transData.transform(list(zip(x, y, strict=True)))
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(box.contains(*point) for box in boxes for point in points)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


def test_front_of_the_cost_is_a_staircase_of_what_none_beats(tmp_path: Path, axes: Any) -> None:
    for acc1, hours in ((50, 1), (55, 2), (54, 3), (60, 4)):
        write_run(tmp_path, "v2", 0, float(acc1), differences={"epochs": hours}, device_seconds=3600.0 * hours)
    plots.cost(axes, only(tmp_path))
    staircase = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    assert list(zip(*staircase.get_data(), strict=True)) == [(1, 50), (2, 55), (4, 60), (4, 60)]


def test_no_cost_figure_where_everything_costs_the_same(tmp_path: Path, axes: Any) -> None:
    for lr in (0.1, 0.2):
        write_run(tmp_path, "v2", 0, 50 + lr, differences={"optimizer.lr": lr})
    assert plots.cost(axes, only(tmp_path)) is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "scale"),
    [((0.05, 0.1, 0.2, 0.4, 0.8), "log"), ((0.1, 0.2, 0.3, 0.4, 0.5), "linear"), ((0, 0.1, 1), "linear")],
)
def test_response_to_a_number(tmp_path: Path, axes: Any, values: tuple[float, ...], scale: str) -> None:
    for seed, value in itertools.product(range(3), values):
        acc1 = 50 - abs(value - 0.3) + seed / 10 * (1 + value)
        write_run(tmp_path, "v2", seed, acc1, differences={"loss.label_smoothing": value})
    comparison = only(tmp_path)
    plots.response(axes, comparison)
    assert axes.get_xscale() == scale
    assert axes.get_xlabel() == "loss.label_smoothing"
    line = axes.lines[0]
    by_value = {row.value: row.mean for row in comparison.rows}
    assert list(zip(*line.get_data(), strict=True)) == [(value, by_value[value]) for value in sorted(values)]
    ring = next(line for line in axes.lines if line.get_fillstyle() == "none")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (comparison.rows[0].value, comparison.rows[0].mean)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [f"{value:g}" for value in sorted(values)]


def test_learning_curve_is_the_mean_of_the_seeds_within_their_band(tmp_path: Path, axes: Any) -> None:
    write_ladder(tmp_path, dict.fromkeys(LADDER[:2], 1.0), seeds=3)
    comparison = only(tmp_path)
    plots.learning_curves(axes, comparison)
    expected = [
        [run.result["acc1"] * e / 3 for e in (1, 2, 3)] for run in comparison.rows[0].runs.values() if run.result
    ]
    line = next(line for line in axes.lines if line.get_label() == LADDER[0])
    assert list(line.get_xdata()) == [1, 2, 3]
    assert axes.get_xlabel() == "epochs"
    assert line.get_ydata() == pytest.approx(np.mean(expected, axis=0))
    band = curves.validation(comparison.rows[0])
    assert band.low == pytest.approx(np.min(expected, axis=0))
    assert band.high == pytest.approx(np.max(expected, axis=0))


def test_trainings_of_different_length_are_drawn_over_the_images_seen(tmp_path: Path, axes: Any) -> None:
    write_run(tmp_path, LADDER[0], 0, 50.0, epochs=2, images_seen=2000)
    write_run(tmp_path, LADDER[1], 0, 55.0, epochs=8, images_seen=8000)
    plots.learning_curves(axes, only(tmp_path))
    assert axes.get_xlabel() == "training images seen"
    assert {line.get_xdata()[-1] for line in axes.lines} == {2000, 8000}


def test_curve_of_the_weights_that_count(tmp_path: Path) -> None:
    """Those averaged, where the recipe averages them."""
    folder = write_run(tmp_path, "v2", 0, 60.0, ema=True)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if "val/acc1" in line:
            line["val/acc1"] = 1.0
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert curves.validation(only(tmp_path).rows[0]).mean == pytest.approx([20, 40, 60])


def test_broken_lines_of_metrics_are_left_out(tmp_path: Path) -> None:
    whole = [{"step": 10, "epoch": 0, "val/acc1": 5.0}, {"step": 20, "epoch": 1, "val/acc1": None}]
    others = ['{"step": 30, "epoch": 2, "val/ac', '["val/acc1"]', '{"val/acc1": 7}', "\xff\xfe", ""]
    last = '{"step": 40, "epoch": 3, "val/acc1": 9, "val/loss": 1.5}'
    (tmp_path / "metrics.jsonl").write_text("\n".join([*map(json.dumps, whole), *others, last]), encoding="latin-1")
    assert curves.read(tmp_path, "val/acc1") == {"val/acc1": {10: 5.0, 40: 9.0}}
    assert curves.read(tmp_path) == {"val/acc1": {10: 5.0, 40: 9.0}, "val/loss": {40: 1.5}}
    assert curves.read(tmp_path / "nowhere") == {}


def test_mean_curve_has_the_steps_that_all_seeds_have(tmp_path: Path) -> None:
    band = curves.band([{1: 1.0, 2: 2.0, 3: 3.0}, {2: 4.0, 3: 5.0, 4: 9.0}])
    assert band.steps.tolist() == [2, 3]
    assert band.mean.tolist() == [3, 4]
    assert len(curves.band([]).steps) == len(curves.band([{1: 1.0}, {}]).steps) == 0


def test_single_run_has_no_interval(tmp_path: Path) -> None:
    write_run(tmp_path, "v2", 0, 50.0)
    (row,) = only(tmp_path).rows
    assert plots.half_interval(row) is None
    assert math.isnan(row.sd)


def test_interval_over_folds_is_that_of_a_gain_over_a_constant(tmp_path: Path) -> None:
    for fold, acc1 in enumerate((50.0, 52.0, 57.0)):
        write_run(tmp_path, "v2", 0, acc1, fold=fold, folds=3)
    (row,) = only(tmp_path).rows
    found = difference(row.acc1, [0.0] * 3, folds=3)
    assert plots.half_interval(row) == pytest.approx((found.high - found.low) / 2)


def test_comparisons_that_differ_behind_the_bracket_have_names_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path, "v2", 0, 50.0)
    comparison = only(tmp_path)
    several = [replace(comparison, title=title) for title in ("v2 (data a)", "v2 (data b)", "Other (data b)")]
    report = Report([tmp_path], several, [])
    assert [prefix(report, number) for number in range(3)] == ["v2-1_", "v2-2_", "other_"]
