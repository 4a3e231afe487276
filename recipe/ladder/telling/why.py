"""Why a verdict is what it is: what went into it, sentence by sentence. Text, not HTML."""

import math
from collections.abc import Iterator

from scipy import special

from recipe.ladder.comparing.comparison import SAME, Comparison, Gain, Row
from recipe.ladder.comparing.statistics import LEVEL, detectable
from recipe.ladder.reading.predictions import shared_units
from recipe.ladder.telling.wording import interval, p_value, signed

TITLE = "Why each verdict"
MOST = 12  # differences that are listed
SURE = 4  # degrees of freedom from which on a spread counts as known: recipe.ladder.comparing.statistics.verdict


def verdicts(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    """The verdict of each row that is compared, and the sentences that lead to it."""
    rows = {row.name: row for row in comparison.rows}
    tests = sum(row.gain is not None and row.gain.difference.n > 1 for row in comparison.rows)
    for row in comparison.rows:
        if row.gain is not None:
            over = rows[row.gain.over]
            sentences = _sentences(row, over, tests, comparison.is_pooled)
            yield f"{row.label}, over {over.label}: {row.gain.verdict}", list(sentences)


def as_lines(comparison: Comparison) -> Iterator[str]:
    """The same for a terminal: sentences stand below their verdict, indented."""
    for verdict, sentences in verdicts(comparison):
        yield from (verdict, *(f"  {sentence}" for sentence in sentences))


def _sentences(row: Row, over: Row, tests: int, others_pooled: bool) -> Iterator[str]:
    assert row.gain is not None
    gain, found = row.gain, row.gain.difference
    if gain.verdict == SAME:
        yield f"{row.label} and {over.label} are one training, evaluated alike: all values that count are the same."
        return
    yield _differences(row, over, gain)
    if found.n < 2:
        yield from _without_spread(gain)
        return
    yield _own_spread(gain)
    yield _spread_that_counts(gain, others_pooled)
    error = _error(gain)
    yield (
        f"So the mean of {found.n} has a standard error of {error:.2f} points, and its 95% interval is "
        f"{interval(*gain.interval)}."
    )
    p = gain.pooled.p if gain.pooled else found.p
    several = f", corrected for the table's {tests} gains (Holm) {_p(gain.adjusted)}" if tests > 1 else ""
    if gain.standing is not None:
        several = f"; corrected for the table's gains (Holm) and all looks, the most telling, {_p(gain.adjusted)}"
    yield (
        f"Were there no gain in truth, one at least so large, up or down, would be seen with a chance of "
        f"{_p(p)}{several}; helps or hurts is said below {LEVEL:.2g}."
    )
    if gain.standing is None:
        yield _threshold(gain, error, tests)
    if gain.pooled:
        several = f", corrected {_p(gain.paired_adjusted)}" if tests > 1 else ""
        yield f"By these differences alone (paired t-test): {_p(found.p)}{several}, {gain.paired_verdict}."
    if "would tell" in gain.verdict:
        unit = "seeds" if found.folds is None else "runs"
        yield f"So many {unit} in all find a gain as large as the one seen in 4 of 5 cases."


def _differences(row: Row, over: Row, gain: Gain) -> str:
    units = shared_units(row.runs, over.runs)
    folds = any(fold is not None for _, fold in units)
    if not units:
        return f"{row.label} and {over.label} have no finished runs with the same seed."
    differences = [dict(zip(row.runs, row.acc1, strict=True))[unit] - _acc1(over)[unit] for unit in units]
    listed = ", ".join(map(signed, differences[:MOST])) + (", …" if len(differences) > MOST else "")
    each = "Seed by seed" if not folds else "Seed by seed and fold by fold"
    names = ", ".join(f"{seed}" if fold is None else f"{seed} fold {fold}" for seed, fold in units[:MOST])
    mean = f", {signed(gain.difference.mean)} on average" if len(units) > 1 else ""
    return f"{each} ({names}{', …' if len(units) > MOST else ''}) the gain is {listed} points{mean}."


def _acc1(row: Row) -> dict[tuple[int, int | None], float]:
    return dict(zip(row.runs, row.acc1, strict=True))


def _without_spread(gain: Gain) -> Iterator[str]:
    if gain.difference.n:
        yield "One difference has no spread: whether another seed would say the same is not known."
    if gain.mcnemar is not None:
        yield (
            f"These two networks alone: were they right about as many images in truth, they would differ so much with "
            f"a chance of {_p(gain.mcnemar)} (McNemar). Other seeds of the same two settings may say the opposite."
        )
    if gain.unpaired is not None:
        yield f"The means of the runs of both, whatever their seeds: {_p(gain.unpaired)} (permutation test)."


def _own_spread(gain: Gain) -> str:
    found = gain.difference
    floor = (
        f", less than counts of images can have: {found.spread:.2f} is taken" if found.spread > found.sd + 1e-9 else ""
    )
    return f"Spread: these {found.n} differences have a standard deviation of {found.sd:.2f} points{floor}."


def _spread_that_counts(gain: Gain, others_pooled: bool) -> str:
    found, pooled = gain.difference, gain.pooled
    if pooled is not None:
        return (
            f"Pooled spread: {found.n} seeds hardly tell a spread, so the runs of all rows count, and of a row that "
            f"stands out its own: {pooled.sd:.2f} points for one seed's difference, as well known as from "
            f"{pooled.freedom + 1:.0f} seeds."
        )
    if found.folds is not None:
        return f"That of these {found.n} runs alone counts, and more of it: the folds' training sets overlap."
    why = "these are evaluations of one training" if others_pooled else "fewer than three trainings have several runs"
    return f"That of these {found.n} seeds alone counts: {why}."


def _error(gain: Gain) -> float:
    """Standard error of the mean difference, points."""
    found = gain.difference
    if gain.pooled:
        return gain.pooled.sd / math.sqrt(found.n)
    low, high = gain.interval
    return (high - low) / 2 / float(special.stdtrit(found.n - 1, 1 - LEVEL / 2))


def _threshold(gain: Gain, error: float, tests: int) -> str:
    """The gain that is called whatever the others of the table are: the first step of Holm's correction."""
    found = gain.difference
    freedom = gain.pooled.freedom if gain.pooled else found.n - 1.0
    critical = error * float(special.stdtrit(freedom, 1 - LEVEL / tests / 2))
    said = f"Threshold: with this spread, a gain of {critical:.2f} points is called"
    if tests > 1:
        said += f" whatever the other gains are, one of {(gain.interval[1] - gain.interval[0]) / 2:.2f} were it alone"
    if freedom >= SURE:
        return f"{said}."
    sd = gain.pooled.sd if gain.pooled else found.spread
    least = detectable(found.n, sd, found.folds, 1, freedom)
    return f"{said}; a spread known so badly also asks for at least {least:.2f} points."


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p_value(p)}"
