"""Why a verdict is what it is: the figures told are those that it was made of, and lead to it."""

import re
from pathlib import Path

import pytest
from scipy import stats
from synthetic import LADDER, write_ladder, write_run

from recipe.ladder.comparing.compare import compare
from recipe.ladder.comparing.comparison import Comparison
from recipe.ladder.reading.collect import collect
from recipe.ladder.telling import why


def only(root: Path) -> Comparison:
    (comparison,) = compare(collect([root]))
    return comparison


def told(comparison: Comparison) -> dict[str, str]:
    """What is said of each verdict, by the verdict."""
    return {verdict: " ".join(sentences) for verdict, sentences in why.verdicts(comparison)}


def number(pattern: str, text: str) -> float:
    found = re.search(pattern.replace("#", r"([−+\d.]+\d)"), text)
    assert found, (pattern, text)
    return float(found[1].replace("−", "-"))


def test_a_pooled_verdict_has_its_runs_both_spreads_threshold_and_p(tmp_path: Path) -> None:
    write_ladder(tmp_path, dict(zip(LADDER, (0, 0.9, 0.02, -0.8, 0.3), strict=False)), seeds=3, sd=0.15)
    comparison = only(tmp_path)
    found = told(comparison)
    assert len(found) == 4
    for row, over in zip(comparison.rows[1:], comparison.rows, strict=False):
        gain = row.gain
        assert gain is not None
        assert gain.pooled is not None
        said = found[f"{row.label}, over {over.label}: {gain.verdict}"]
        listed = [float(each.replace("−", "-")) for each in re.findall(r"[−+]\d+\.\d+", said)[:3]]
        assert listed == pytest.approx([a - b for a, b in zip(row.acc1, over.acc1, strict=True)], abs=0.006)
        assert number("standard deviation of #", said) == pytest.approx(gain.difference.sd, abs=0.006)
        assert number("stands out its own: #", said) == pytest.approx(gain.pooled.sd, abs=0.006)
        assert number("standard error of #", said) == pytest.approx(gain.pooled.sd / 3**0.5, abs=0.006)
        for p in (gain.pooled.p, gain.adjusted, gain.difference.p, gain.paired_adjusted):
            assert (f"p = {p:.3f}" if p >= 0.001 else "p < 0.001") in said
        first_of_holm = stats.t.ppf(1 - 0.05 / 4 / 2, gain.pooled.freedom) * gain.pooled.sd / 3**0.5
        assert number("a gain of # points is called", said) == pytest.approx(first_of_holm, abs=0.006)
        # A gain beyond the threshold is called, whatever the others are; one below that of a single gain is not.
        if abs(gain.difference.mean) > number("a gain of # points is called", said) + 0.01:
            assert gain.verdict in ("helps", "hurts")
        if abs(gain.difference.mean) < number("one of # were it alone", said) - 0.01:
            assert gain.verdict.startswith("unresolved")
        assert ("find a gain as large as the one seen" in said) == ("would tell" in gain.verdict)


def test_of_two_settings_the_threshold_is_that_of_the_paired_test(tmp_path: Path) -> None:
    for seed, gain in enumerate((0.5, 1.5, 1.2, 0.7)):
        write_run(tmp_path, LADDER[0], seed, 50 + seed)
        write_run(tmp_path, LADDER[1], seed, 50 + seed + gain)
    ((_, said),) = told(only(tmp_path)).items()
    threshold = number("a gain of # points is called", said)
    sd = number("standard deviation of #", said)
    assert threshold == pytest.approx(stats.t.ppf(0.975, 3) * sd / 2, abs=0.02)
    assert "fewer than three trainings" in said
    assert "Holm" not in said
    assert "Pooled" not in said
    assert number("also asks for at least #", said) > threshold  # of 4 seeds


def test_evaluations_of_one_training_say_so_in_a_table_that_pools(tmp_path: Path) -> None:
    write_ladder(tmp_path, dict(zip(LADDER, (0, 0.9, 0.02, 0.5), strict=False)), seeds=3)
    for seed in range(3):
        write_run(tmp_path, LADDER[4], seed, 51.5 + seed / 9, trained_in=f"../../{LADDER[3]}/seed={seed}")
    said = list(told(only(tmp_path)).values())
    assert ["evaluations of one training" in each for each in said] == [False, False, False, True]


def test_one_seed_gives_no_verdict_and_no_seed_no_difference(tmp_path: Path) -> None:
    write_run(tmp_path / "one", LADDER[0], 0, 50.0)
    write_run(tmp_path / "one", LADDER[1], 0, 55.0)
    ((verdict, said),) = told(only(tmp_path / "one")).items()
    assert verdict.endswith("unresolved (one seed)")
    assert "+5.00 points." in said
    assert "McNemar" in said
    assert "standard error" not in said
    for seed in range(4):
        write_run(tmp_path / "none", LADDER[seed > 1], seed, 50.0 + seed)
    ((_, said),) = told(only(tmp_path / "none")).items()
    assert "no finished runs with the same seed" in said
    assert "permutation test" in said


def test_nothing_is_compared_in_a_table_of_one(tmp_path: Path) -> None:
    write_run(tmp_path)
    assert told(only(tmp_path)) == {}


def test_folds_are_told_apart_from_seeds(tmp_path: Path) -> None:
    for recipe, fold in ((r, f) for r in LADDER[:2] for f in range(3)):
        write_run(tmp_path, recipe, 0, 50.0 + fold + (recipe == LADDER[1]) * (1 + fold / 3), fold=fold, folds=3)
    ((_, said),) = told(only(tmp_path)).items()
    assert "fold by fold (0 fold 0, 0 fold 1, 0 fold 2)" in said
    assert "training sets overlap" in said
