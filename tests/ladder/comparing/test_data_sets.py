"""Gains on several data sets: matched, averaged with data sets as random, ranked; one data set in folders is pooled."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from synthetic import LADDER, write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import AcrossData, MeanGain
from recipe.ladder.comparing.data_sets import across, improvement, mean_over_data
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import csv_files, page, tables
from recipe.ladder.telling.data_sets import tables as data_sets
from recipe.ladder.telling.figures import draw

MEANS = {  # by data set: of the first rungs
    "flowers": (50.0, 51.0, 51.2),
    "food": (40.0, 41.5, 41.4),
    "pets": (60.0, 60.5, 60.9),
}


def write_data_set(root: Path, data: str, means: Sequence[float], seeds: int = 3, **about: Any) -> None:
    for recipe, mean in zip(LADDER, means, strict=False):
        for seed in range(seeds):
            acc1 = mean + (seed - 1) * 0.1 * (1 + len(recipe) % 3)
            given = ["scale=demo", f"data.root=/photos/{data}"]
            prints = {"train": f"{data} train", "val": f"{data} val"}
            scaled = {"scale": "demo"}
            write_run(root / data, recipe, seed, acc1, data=prints, differences=scaled, overrides=given, **about)


def report_on(root: Path) -> Report:
    runs = collect([root])
    comparisons = compare(runs)
    return Report([root], comparisons, runs, across(comparisons))


def only(root: Path) -> AcrossData:
    (found,) = report_on(root).across
    return found


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for data, means in MEANS.items():
        write_data_set(tmp_path, data, means, predictions=False)
    return tmp_path


def gain_of(found: AcrossData, label: str) -> MeanGain:
    (gain,) = (gain for gain in found.gains if gain.label == label)
    return gain


def test_each_gain_by_data_set_and_its_mean(three: Path) -> None:
    found = only(three)
    assert found.data == ["flowers", "food", "pets"]
    assert [gain.label for gain in found.gains] == list(LADDER[1:3])
    gain = gain_of(found, LADDER[1])
    gains = [1.0, 1.5, 0.5]
    assert gain.over == LADDER[0]
    assert [one.gain for one in gain.by_data if one] == pytest.approx(gains)
    assert gain.mean == pytest.approx(1.0)
    expected = stats.ttest_1samp(gains, 0.0)
    assert (gain.low, gain.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert gain.p == pytest.approx(expected.pvalue)
    p_values = sorted(gain.p for gain in found.gains)
    assert sorted(gain.adjusted for gain in found.gains)[0] == pytest.approx(2 * p_values[0])
    assert found.ranks == pytest.approx({LADDER[0]: 3, LADDER[1]: 5 / 3, LADDER[2]: 4 / 3})


def test_gains_that_agree_by_chance_are_no_surer_than_their_seeds(three: Path) -> None:
    """0.4, 0.4, 0.4 on three data sets, each known to some tenths of a point."""
    for data in MEANS:
        write_data_set(three / "other", f"{data} again", (50.0, 50.4), predictions=False)
    found = only(three / "other")
    gain = gain_of(found, LADDER[1])
    errors = [one.error for one in gain.by_data if one]
    half = stats.t.ppf(0.975, 2) * math.sqrt(sum(error**2 for error in errors)) / 3
    assert (gain.low, gain.high) == pytest.approx((gain.mean - half, gain.mean + half))
    assert half > 0.05


def test_one_seed_on_each_of_equal_gains_tells_no_interval() -> None:
    mean, half, p = mean_over_data(np.array([0.5, 0.5]), np.array([math.nan, math.nan]))
    assert float(mean) == 0.5
    assert np.isnan([half, p]).all()


def test_same_data_in_several_folders_are_one_data_set(tmp_path: Path) -> None:
    """As before: their runs are pooled, and there is nothing to average over."""
    write_data_set(tmp_path / "a", "flowers", MEANS["flowers"])
    for seed in (3, 4):
        prints = {"train": "flowers train", "val": "flowers val"}
        write_run(tmp_path / "b", LADDER[0], seed, 50.0, data=prints, differences={"scale": "demo"})
    report = report_on(tmp_path)
    assert [len(row.runs) for row in report.comparisons[0].rows] == [5, 3, 3]
    assert report.across == []


def test_one_data_set_at_two_scales_or_validated_on_two_sets_is_one(tmp_path: Path) -> None:
    write_data_set(tmp_path / "a", "flowers", MEANS["flowers"], predictions=False)
    for recipe, mean in zip(LADDER, MEANS["food"], strict=False):
        for seed in range(2):
            prints = {"train": "flowers train", "val": "others"}
            write_run(tmp_path / "b", recipe, seed, mean + seed / 10, data=prints, differences={"scale": "demo"})
            prints = {"train": "flowers train", "val": "flowers val"}
            write_run(tmp_path / "c", recipe, seed, mean + seed / 10, data=prints, differences={"scale": "small"})
    report = report_on(tmp_path)
    assert len(report.comparisons) == 3
    assert report.across == []
    write_data_set(tmp_path / "a", "food", MEANS["food"], predictions=False)
    found = only(tmp_path)  # those at the scale that both have
    assert [one.gain for one in found.gains[0].by_data if one] == pytest.approx([1.0, 1.5])


def test_only_what_is_compared_with_the_same_setting_is_averaged(tmp_path: Path) -> None:
    """On the second data set r02 stands over the baseline, which is another question."""
    write_data_set(tmp_path, "flowers", MEANS["flowers"], predictions=False)
    about: dict[str, Any] = {
        "data": {"train": "food", "val": "food"},
        "differences": {"scale": "demo"},
        "predictions": False,
    }
    for recipe in (LADDER[0], LADDER[2]):
        for seed in range(3):
            write_run(tmp_path / "food", recipe, seed, 50.0 + seed / 10, **about)
    assert report_on(tmp_path).across == []
    for seed in range(3):
        write_run(tmp_path / "food", LADDER[1], seed, 50.0 + seed**2 / 10, **about)
    assert [gain.label for gain in only(tmp_path).gains] == list(LADDER[1:3])


def test_overrides_that_a_whole_sweep_shares_may_differ_between_data_sets(tmp_path: Path) -> None:
    """20 epochs on the one and 50 on the other: the ingredient is the same."""
    for data, epochs in (("flowers", 20), ("food", 50)):
        for number, recipe in enumerate(LADDER[:2]):
            for seed in range(3):
                prints = {"train": data, "val": data}
                write_run(tmp_path / data, recipe, seed, 50.0 + number, data=prints, differences={"epochs": epochs})
    (gain,) = only(tmp_path).gains
    assert [one.gain for one in gain.by_data if one] == [1.0, 1.0]


def test_sweeps_and_ingredients_left_out_are_matched_too(tmp_path: Path) -> None:
    changes: list[Mapping[str, Any]] = [
        {},
        {"differences": {"mix.mixup_alpha": 0.4}},
        {"differences": {"mix.mixup_alpha": 0}, "without": "mixup"},
    ]
    for data in ("flowers", "food"):
        for number, about in enumerate(changes):
            for seed in range(2):
                prints = {"train": data, "val": data}
                write_run(tmp_path / data, "v2", seed, 50.0 + number + seed / 10, data=prints, **about)
    found = report_on(tmp_path).across
    assert {each.shape: [gain.label for gain in each.gains] for each in found} == {
        "leave-one-out": ["without mixup"],
        "sweep": ["mix.mixup_alpha=0.4"],
    }


def test_probability_of_improvement_is_the_mean_over_data_sets() -> None:
    """Agarwal et al. (2021): pairs of runs that are better, ties counting half, each data set counting alike."""
    better, low, high = improvement([([1.0, 2.0, 3.0], [2.0, 2.0]), ([5.0, 6.0], [1.0, 2.0, 3.0])])
    assert better == pytest.approx((0.5 + 1.0) / 2)
    assert 0.5 <= low < better < high <= 1
    assert np.isnan(improvement([([1.0], [0.0, 0.5])])[1:]).all()
    always, *none = improvement([([3.0, 4.0], [1.0, 2.0])])  # of 4 pairs all won: not that all would be
    assert always == 1
    assert np.isnan(none).all()


@pytest.mark.parametrize("between", [0.0, 1.0])
def test_interval_covers_the_truth(between: float) -> None:
    """Data sets as random: 95% intervals of the mean of 5 gains hold it 95% of the time, or somewhat more."""
    rng = np.random.default_rng(0)
    trials = 4000
    gains = between * rng.normal(size=(trials, 5)) + rng.normal(size=(trials, 5))
    errors = np.sqrt(rng.chisquare(2, (trials, 5)) / 2)
    mean, half, p = mean_over_data(gains, errors)
    covered = np.abs(mean) <= half
    assert covered.mean() > 0.95 - 2 * math.sqrt(0.95 * 0.05 / trials)
    assert ((p >= 0.05) == covered).all()


def test_every_form_of_the_report_has_them(three: Path) -> None:
    report = report_on(three)
    drawings = draw(report, three / "figures")
    drawing = drawings["data_sets"]
    assert drawing.svg.stat().st_size > 10_000
    page.write(report, drawings, three / "report.html")
    html = (three / "report.html").read_text()
    pictures = [(one.comparison, one.caption, f"figures/{one.svg.name}") for one in drawings.values()]
    markdown = tables.markdown(report, pictures)
    for told in (tables.text(report, 160), markdown, html):
        assert "On 3 data sets: flowers, food, pets" in told
        assert "+1.00 [" in told
        assert "Agarwal et al., 2021" in told
    assert markdown.count("(figures/data_sets.svg)") == 1
    assert drawing.caption in html
    assert max(map(len, tables.text(report, 80).splitlines())) <= 80
    lines = list(csv.DictReader(csv_files.data_sets_csv(report).splitlines()))
    assert len(lines) == 2 * (3 + 1)
    assert [line["data"] for line in lines[:4]] == [*MEANS, "mean"]
    assert float(lines[3]["gain"]) == pytest.approx(1.0)
    assert float(lines[3]["rank"]) == pytest.approx(5 / 3)


def test_two_data_sets_are_said_to_be_few(tmp_path: Path) -> None:
    for data in ("flowers", "food"):
        write_data_set(tmp_path, data, MEANS[data], predictions=False)
    said = " ".join(data_sets.findings(only(tmp_path)))
    assert "With 2 data sets intervals of the mean are very wide, 12.7 standard errors to each side" in said
