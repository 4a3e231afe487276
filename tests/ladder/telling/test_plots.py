"""Each figure shows what the runs say, and its text can be read."""

import itertools
import math
from collections.abc import Iterator
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
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.comparing.report import Report
from recipe.ladder.comparing.statistics import difference
from recipe.ladder.reading import histories
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import figures, plots

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


def test_published_top_1_is_crossed_in_the_row_of_each_setting_that_may_show_it(tmp_path: Path, axes: Any) -> None:
    for recipe in ("intel_frozen_v1", "intel_frozen_v2"):
        write_run(tmp_path, recipe, acc1=90.0, original=True)
    assert "Crosses: as published, of the last epoch." in str(plots.ladder(axes, only(tmp_path)))
    crosses = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines if line.get_marker() == "x"]
    assert crosses == [([89.27], [0]), ([90.87], [1])]


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
    band = histories.validation(comparison.rows[0].runs.values())
    assert band.low == pytest.approx(np.min(expected, axis=0))
    assert band.high == pytest.approx(np.max(expected, axis=0))


def test_losses_are_drawn_solid_in_validation_and_dashed_in_training(tmp_path: Path, axes: Any) -> None:
    write_ladder(tmp_path, dict.fromkeys(LADDER[:3], 1.0), seeds=2)
    comparison = only(tmp_path)
    caption = plots.loss_curves(axes, comparison)
    assert caption is not None
    assert "Dashed" in caption
    by_colour: dict[str, dict[bool, Any]] = {}
    for line in axes.lines:
        by_colour.setdefault(line.get_color(), {})[line.get_linestyle() == "-"] = line
    assert len(by_colour) == 3
    for row in comparison.rows:
        (lines,) = (each for each in by_colour.values() if each[True].get_label() == row.label)
        expected = [np.mean([3 - acc1 * share / 50 for acc1 in row.acc1]) for share in (1 / 3, 2 / 3, 1)]
        assert list(lines[True].get_ydata()) == pytest.approx(expected)
        assert list(lines[False].get_ydata()) == pytest.approx([3 - 1 / 3, 3 - 2 / 3, 2])
        assert list(lines[False].get_xdata()) == pytest.approx([1, 2, 3])
    (legend,) = axes.figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {*LADDER[:3], "dashed: in training"}


@pytest.mark.parametrize(("rungs", "last"), [(7, 1), (9, 3)])
def test_no_rung_is_missing_in_the_legend_of_curves(tmp_path: Path, axes: Any, rungs: int, last: int) -> None:
    """One that has no colour of its own is named all the same; several are counted."""
    write_ladder(tmp_path, dict.fromkeys(LADDER[:rungs], 1.0), seeds=2)
    plots.learning_curves(axes, only(tmp_path))
    (legend,) = axes.figure.legends
    names = [text.get_text() for text in legend.get_texts() if text.get_text() != "dashed: in training"]
    assert len(names) == 7
    if last == 1:
        assert set(names) == set(LADDER[:7])
    else:
        assert "the other 3" in names


def test_beginnings_that_are_far_off_do_not_flatten_the_losses(tmp_path: Path, axes: Any) -> None:
    for seed in range(2):
        folder = write_run(tmp_path, LADDER[0], seed, 50.0)
        text = (folder / "metrics.jsonl").read_text()
        (folder / "metrics.jsonl").write_text(text.replace('"val/loss": ', '"val/loss": 9000', 1))
    plots.loss_curves(axes, only(tmp_path))
    low, high = axes.get_ylim()
    assert 1.5 < low < 2
    assert high < 6


def test_trainings_of_different_length_are_drawn_over_the_images_seen(tmp_path: Path, axes: Any) -> None:
    write_run(tmp_path, LADDER[0], 0, 50.0, epochs=2, images_seen=2000)
    write_run(tmp_path, LADDER[1], 0, 55.0, epochs=8, images_seen=8000)
    plots.learning_curves(axes, only(tmp_path))
    assert axes.get_xlabel() == "training images seen"
    assert {line.get_xdata()[-1] for line in axes.lines} == {2000, 8000}


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
