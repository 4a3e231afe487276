"""Findings and figures are told as people say them, and claim no more than the runs do."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic import LADDER, write_ladder, write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.comparing.report import Report
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import wording
from recipe.output import count


def report_of(root: Path) -> Report:
    runs = collect([root])
    return Report([root], compare(runs), runs)


def only(root: Path) -> Comparison:
    (comparison,) = report_of(root).comparisons
    return comparison


def test_headline_says_what_helps_by_how_much_and_how_surely(tmp_path: Path) -> None:
    write_ladder(tmp_path, dict(zip(LADDER, (0, 8, -3, 0.1), strict=False)), seeds=5, sd=0.3)
    comparison = only(tmp_path)
    said = wording.headline(comparison)
    gain = comparison.rows[1].gain
    assert gain is not None
    assert said[0] == "1 of 3 rungs helps, 1 hurts, 1 is unresolved."
    assert said[1].startswith(f"Helps: {LADDER[1]} by +{gain.difference.mean:.2f} points (95% interval ")
    assert "+{:.2f} to +{:.2f}".format(*gain.interval) in said[1]
    assert said[2].startswith(f"Hurts: {LADDER[2]} by −")
    assert f"is about {comparison.detectable:.2f} points" in said[3]
    assert f"From {LADDER[0]} to {LADDER[3]} it is +" in said[4]


def test_where_paired_tests_say_otherwise_and_spreads_differ_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, recipe in enumerate(LADDER[:10]):
        sd = 3.0 if number == 9 else 0.1
        for seed in range(3):
            write_run(tmp_path, recipe, seed, 50 + 0.4 * number + rng.normal(0, sd), predictions=False)
    comparison = only(tmp_path)
    otherwise, differ = wording.about_spreads(comparison)
    gains = {row.label: row.gain for row in comparison.rows[1:] if row.gain}
    differing = [label for label, gain in gains.items() if gain.verdict == "helps" != gain.paired_verdict]
    assert len(differing) > wording.NAMED + 1
    assert all(f"{label} unresolved (p = " in otherwise for label in differing[: wording.NAMED])
    assert f"{len(differing) - wording.NAMED} more." in otherwise
    assert differ.startswith(f"The runs of {LADDER[9]} are further apart than those of others by more than chance")
    assert comparison.spreads_p < 0.05


def test_what_is_not_pooled_says_nothing_of_it(tmp_path: Path) -> None:
    write_ladder(tmp_path, dict(zip(LADDER, (0, 1), strict=False)), seeds=3)
    assert wording.about_spreads(only(tmp_path)) == []


def test_headline_of_a_single_comparison_is_a_sentence(tmp_path: Path) -> None:
    for name, gain, said in (
        ("a", 5, "helps."),
        ("b", -5, "hurts."),
        ("c", 0.01, "is unresolved: it may help or hurt."),
    ):
        write_ladder(tmp_path / name, dict(zip(LADDER, (0, gain), strict=False)), seeds=5, sd=0.3)
        assert wording.headline(only(tmp_path / name))[0] == f"The one rung that is compared {said}"


@pytest.mark.parametrize(
    ("gains", "said"),
    [
        ((0, 5, -5, 0.01, 0.01), "1 of 4 rungs helps, 1 hurts, 2 are unresolved."),
        ((0, 5, 5, 0.01), "2 of 3 rungs help, 1 is unresolved."),
        ((0, -5, 0.01, -5), "2 of 3 rungs hurt, 1 is unresolved."),
        ((0, -5, -5), "Both rungs hurt."),
        ((0, 0.01, 0.01), "Neither of the 2 rungs is resolved: each may help or hurt."),
        ((0, 0.01, 0.01, -0.01), "None of the 3 rungs is resolved: each may help or hurt."),
    ],
)
def test_headline_counts_what_there_is_alone(tmp_path: Path, gains: tuple[float, ...], said: str) -> None:
    write_ladder(tmp_path, dict(zip(LADDER, gains, strict=False)), seeds=5, sd=0.3)
    assert wording.headline(only(tmp_path))[0] == said


def test_headline_of_single_runs_claims_nothing(tmp_path: Path) -> None:
    write_ladder(tmp_path, dict(zip(LADDER, (0, 30, 1), strict=False)), seeds=1)
    said = " ".join(wording.headline(only(tmp_path)))
    assert "no gain can be told from chance" in said
    assert "helps" not in said


def test_headline_without_shared_seeds(tmp_path: Path) -> None:
    for seed, lr in enumerate((0.1, 0.2)):
        write_run(tmp_path, "v2", seed, 50.0, differences={"optimizer.lr": lr})
    assert "share a seed" in " ".join(wording.headline(only(tmp_path)))


def test_headline_names_the_largest_findings_and_counts_the_others(tmp_path: Path) -> None:
    write_ladder(tmp_path, dict(zip(LADDER, (0, 5, 6, 7, 8, 9, 10), strict=False)), seeds=5, sd=0.05)
    said = wording.headline(only(tmp_path))
    assert said[0] == "All 6 rungs help."
    assert said[1].endswith("; 2 more.")
    named = [LADDER[number] in said[1] for number in (6, 5, 4, 3, 2, 1)]
    assert named == [True] * wording.NAMED + [False] * 2


def test_numbers_as_people_write_them() -> None:
    assert [wording.signed(value) for value in (0.314, -0.2, math.nan)] == ["+0.31", "−0.20", ""]
    assert wording.interval(-0.2, 0.8) == "−0.20 to +0.80"
    assert [wording.p_value(p) for p in (0.0001, 0.0123, 1.0, math.nan)] == ["< 0.001", "0.012", "1.000", ""]
    assert [wording.time_unit(hours)[1] for hours in (0.01, 0.1, 3)] == ["seconds", "minutes", "hours"]
    assert [count(number, "run") for number in (0, 1, 2, 3000)] == ["0 runs", "1 run", "2 runs", "3,000 runs"]
    names = [wording.slug(text) for text in ("lr=0.1", "a b/../c", "…", "x" * 200)]
    assert names == ["lr=0.1", "a-b-..-c", "unnamed", "x" * 80]
    assert all(one != other for one, other in itertools.pairwise(names))


def test_comparisons_that_differ_behind_the_bracket_have_names_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path, "v2", 0, 50.0)
    comparison = only(tmp_path)
    several = [replace(comparison, title=title) for title in ("v2 (data a)", "v2 (data b)", "Other (data b)")]
    report = Report([tmp_path], several, [])
    assert [wording.prefix(report, number) for number in range(3)] == ["v2-1_", "v2-2_", "other_"]
