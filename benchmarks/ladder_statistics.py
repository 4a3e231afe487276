"""How often verdicts are right: `python benchmarks/ladder_statistics.py [--trials 10000]`, minutes on a core.

Ladders of a known truth, many at once, through the code of the report (`recipe.ladder.comparing.pooling`) and through
paired t-tests with Holm's correction, which the report shows beside it. Prints the tables of docs/STATISTICS.md.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import special

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recipe.ladder.comparing import pooling  # noqa: E402
from recipe.ladder.comparing.statistics import holm  # noqa: E402

PUBLISHED = np.array([0.364, 0.312, 1.8, 0.19, 0.318, 0.118, 0.278, 0.526, 0.16, 0.254, 0.224, 0.184])  # points
SD = 0.12  # of a run, points
LEVEL = 0.05
SHORT = 3  # of 13 rungs, the first ones: 90 epochs instead of 600
EVALUATIONS = slice(9, 12)  # r09, r10 and r11: one training
WORDS = {
    "equal": "equal noise",
    "log-sd 0.15": "spreads differ, log-sd 0.15",
    "log-sd 0.3": "log-sd 0.3",
    "log-sd 0.6": "log-sd 0.6",
    "short": "short trainings three times as noisy",
    "wild": "one rung five times as noisy",
    "wild first": "the first rung five times as noisy",
    "t(4)": "noise of Student's t(4)",
    "evaluations .8": "r09 to r11 one training, correlation .8",
    "evaluations .95": "the same, .95",
    "blocks .5": "seeds in common to all rungs, correlation .5",
    "blocks .8": "the same, .8",
    "missing": "every seventh run missing",
}


class Ladders(NamedTuple):
    """Many ladders without gains."""

    runs: np.ndarray  # (trials, rungs, seeds), points; NaN where missing
    trainings: np.ndarray  # (rungs,): the same number for evaluations of one training
    lengths: np.ndarray  # (rungs,): the same number for trainings that are as long


class Found(NamedTuple):
    """What a rule made of many ladders, as shares of 1."""

    power: np.ndarray  # (gains,): of the published gains found
    false: float  # ladders without gains in which a gain was called
    false_totals: float  # and those in which a total was
    cover: np.ndarray  # (gains,): of the 95% intervals that hold the truth
    cover_totals: np.ndarray


def ladders(case: str, trials: int, rungs: int, seeds: int) -> Ladders:
    """Noise as a case has it. With fewer than 13 rungs, as many of them are short."""
    rng = np.random.default_rng([sorted(WORDS).index(case), rungs, seeds])
    runs, factor = rng.standard_normal((trials, rungs, seeds)), np.ones((trials, rungs, 1))
    trainings, lengths = np.arange(rungs), (np.arange(rungs) >= max(1, round(rungs * SHORT / 13))).astype(int)
    name, _, figure = case.rpartition(" ")
    if name == "log-sd":
        factor = np.exp(float(figure) * rng.standard_normal((trials, rungs, 1)))
    elif name == "blocks":
        shared = float(figure)
        runs = np.sqrt(shared) * rng.standard_normal((trials, 1, seeds)) + np.sqrt(1 - shared) * runs
    elif name == "evaluations":
        shared = float(figure)
        common = rng.standard_normal((trials, 1, seeds))
        runs[:, EVALUATIONS] = np.sqrt(shared) * common + np.sqrt(1 - shared) * runs[:, EVALUATIONS]
        trainings[EVALUATIONS] = EVALUATIONS.start
    elif case == "short":
        factor[:, lengths == 0] = 3
    elif case == "wild":
        factor[:, rungs // 2] = 5
    elif case == "wild first":
        factor[:, 0] = 5
    elif case == "t(4)":
        runs = rng.standard_t(4, (trials, rungs, seeds)) / np.sqrt(2)
    elif case == "missing":
        gone = np.arange(rungs * seeds).reshape(rungs, seeds) % 7 == 3
        gone[(~gone).sum(-1) < 2] = False
        runs[:, gone] = np.nan
    return Ladders(SD * factor * runs, trainings, lengths)


def paired(d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, its standard error, and degrees of freedom of differences, (trials, gains, seeds)."""
    n = (~np.isnan(d)).sum(-1)
    return np.nanmean(d, -1), np.nanstd(d, -1, ddof=1) / np.sqrt(n), n - 1


def measured(these: Ladders, pools: bool) -> Found:
    """A rule on all ladders: pooled, or paired t-tests alone."""
    runs, trainings, lengths = these
    rungs = runs.shape[1]
    counts = (~np.isnan(runs[0])).sum(-1)
    rows, below, first = np.arange(1, rungs), np.arange(rungs - 1), np.zeros(rungs - 1, dtype=int)
    spreads = pooling.spreads(runs, trainings)
    number = len(set(trainings.tolist()))
    guesses = {"gains": pooling.guesses(counts, number), "totals": pooling.OWN_OF_TOTALS}

    def p_values(kind: str, overs: np.ndarray, truth: np.ndarray | float) -> np.ndarray:
        mean, error, freedom = paired(runs[:, rows] - runs[:, overs])
        alone = 2 * special.stdtr(freedom, -np.abs(mean + truth) / error)
        if not pools or number < pooling.TRAININGS:
            return alone
        pool = pooling.pool(spreads, trainings, lengths, guesses[kind])
        errors = pooling.error(pool, rows, overs, freedom[0] + 1 if freedom.ndim > 1 else freedom + 1)
        return np.where(trainings[rows] == trainings[overs], alone, pooling.p_values(mean + truth, errors))

    gains, totals = p_values("gains", below, 0.0), p_values("totals", first, 0.0)
    with_gains = p_values("gains", below, PUBLISHED[: rungs - 1])
    return Found(
        (holm(with_gains) < LEVEL).mean(0),
        float((holm(gains) < LEVEL).any(-1).mean()),
        float((holm(totals) < LEVEL).any(-1).mean()),
        (gains >= LEVEL).mean(0),
        (totals >= LEVEL).mean(0),
    )


def cases(rungs: int) -> list[str]:
    """What is simulated: evaluations of one training are a matter of the whole ladder."""
    return [case for case in WORDS if rungs == 13 or not case.startswith("evaluations")]


def line(case: str, trials: int, rungs: int, seeds: int) -> str:
    """A line of the table."""
    these = ladders(case, trials, rungs, seeds)
    old, new = measured(these, False), measured(these, True)
    cover, totals = new.cover, new.cover_totals
    cells = [
        WORDS[case],
        f"{old.power.mean():.2f}, {new.power.mean():.2f}",
        f"{(new.power - old.power).min():+.3f}",
        f"{100 * old.false:.1f}, {100 * new.false:.1f}",
        f"{100 * old.false_totals:.1f}, {100 * new.false_totals:.1f}",
        f"{100 * cover.mean():.1f}, {100 * cover.min():.1f}",
        f"{100 * totals.mean():.1f}, {100 * totals.min():.1f}",
    ]
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| noise | found: alone, pooled | least gain in power | false calls, %: gains | totals "
    "| 95% intervals cover, %: gains, mean, least | totals |\n|" + "---|" * 7
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000, help="ladders of each case (10000)")
    parser.add_argument("--rungs", type=int, nargs="+", default=[13, 6, 4, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 5, 10])
    given = parser.parse_args()
    for rungs in given.rungs:
        for seeds in given.seeds:
            print(f"\n**{rungs} rungs, {seeds} seeds**\n\n{HEADER}")
            for case in cases(rungs):
                print(line(case, given.trials, rungs, seeds), flush=True)


if __name__ == "__main__":
    main()
