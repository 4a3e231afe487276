"""What `hydra.launcher.until=resolved` gets wrong and what it saves: `python benchmarks/until_resolved.py`.

Ladders of a known truth, trained seed by seed as the sweep trains them: after each look only the rungs of open
comparisons go on. Spreads and looks are those of the report (`recipe.ladder.comparing.pooling`, `looks`). Prints the
tables of docs/STATISTICS.md.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recipe.ladder.comparing import looks, pooling  # noqa: E402
from recipe.ladder.reading.looks_taken import Design  # noqa: E402

PUBLISHED = np.array([0.364, 0.312, 1.8, 0.19, 0.318, 0.118, 0.278, 0.526, 0.16, 0.254, 0.224, 0.184])  # points
SD = 0.12  # of a run, points
SHORT = 3  # rungs, the first ones: 90 epochs instead of 600
GAINS = {
    "published": PUBLISHED,
    "all zero": np.zeros(12),
    "half zero, half 0.2": np.tile([0.0, 0.2], 6),
    "all 0.2": np.full(12, 0.2),
}
NOISE = {"equal noise": 0.0, "log-sd 0.3": 0.3}


class Ended(NamedTuple):
    """What became of many ladders."""

    decided: np.ndarray  # (trials, comparisons): of looks.HELPS, …
    seeds: np.ndarray  # (trials, rungs): trained
    taken: np.ndarray  # (trials,): looks


class Told(NamedTuple):
    """The figures of a table's line."""

    wrong: float  # share of ladders with a wrong verdict
    called: float  # share of comparisons that help or hurt
    smaller: float
    seeds: float  # runs for each rung
    taken: float  # looks


def ladders(truth: np.ndarray, log_sd: float, trials: int, most: int, seed: int = 0) -> np.ndarray:
    """(trials, rungs, most) top-1 of runs, points above the first rung."""
    rng = np.random.default_rng([seed, round(10 * log_sd), trials])
    rungs = len(truth) + 1
    factor = np.exp(log_sd * rng.standard_normal((trials, rungs, 1)))
    level = np.concatenate([[0.0], np.cumsum(truth)])
    return level[:, None] + SD * factor * rng.standard_normal((trials, rungs, most))


def evidence(runs: np.ndarray, counts: np.ndarray, smallest: float | None) -> tuple[np.ndarray, ...]:
    """p, p of "smaller than" and the mean of each gain, (trials, comparisons) each.

    Args:
        runs: (trials, rungs, seeds).
        counts: (rungs,) how many of them are trained, the first ones.
    """
    rungs = runs.shape[1]
    there = np.arange(counts.max()) < counts[:, None]
    seen = np.where(there, runs[..., : counts.max()], np.nan)
    trainings, lengths = np.arange(rungs), (np.arange(rungs) >= SHORT).astype(int)
    spread = pooling.spreads(seen, trainings)
    pool = pooling.pool(spread, trainings, lengths, pooling.guesses(counts, rungs))
    rows, overs = np.arange(1, rungs), np.arange(rungs - 1)
    errors = pooling.error(pool, rows, overs, np.minimum(counts[1:], counts[:-1]))
    means = np.nanmean(seen[:, 1:] - seen[:, :-1], -1)
    p = pooling.p_values(means, errors)
    if smallest is None:
        return p, np.ones_like(p), means
    return p, pooling.p_beyond(means, errors, smallest), means


def until(runs: np.ndarray, planned: Design) -> Ended:
    """Train many ladders until they are resolved or at the last look."""
    (trials, rungs, _), counts = runs.shape, planned.counts
    p = np.full((trials, len(counts), rungs - 1), np.nan)
    p_smaller, means = p.copy(), p.copy()
    trained = np.full((trials, rungs), counts[0])
    decided, taken = np.zeros((trials, rungs - 1), dtype=int), np.zeros(trials, dtype=int)
    for look, count in enumerate(counts):
        still = decided == looks.OPEN
        going = still.any(-1)
        needed = np.pad(still, ((0, 0), (1, 0))) | np.pad(still, ((0, 0), (0, 1)))
        trained = np.where(needed, count, trained)
        for pattern in np.unique(trained[going], axis=0):
            same = going & (trained == pattern).all(-1)
            found = evidence(runs[same], pattern, planned.smallest)
            for figures, new in zip((p, p_smaller, means), found, strict=True):
                figures[same, look] = np.where(still[same], new, np.nan)
        decided = looks.decide(*(each[:, : look + 1] for each in (p, p_smaller, means)), planned)
        taken += going
    return Ended(decided, trained, taken)


def wrong(decided: np.ndarray, truth: np.ndarray, smallest: float | None) -> np.ndarray:
    """(trials, comparisons) bool: verdicts that are not true."""
    small = (decided == looks.SMALLER) & (np.abs(truth) >= (smallest or 0.0) - 1e-12)
    return ((decided == looks.HELPS) & (truth <= 0)) | ((decided == looks.HURTS) & (truth >= 0)) | small


def told(ended: Ended, truth: np.ndarray, smallest: float | None) -> Told:
    """The figures of many ladders."""
    called = np.isin(ended.decided, (looks.HELPS, looks.HURTS))
    return Told(
        float(wrong(ended.decided, truth, smallest).any(-1).mean()),
        float(called.mean()),
        float((ended.decided == looks.SMALLER).mean()),
        float(ended.seeds.mean()),
        float(ended.taken.mean()),
    )


def fixed_of_equal_power(truth: np.ndarray, runs: np.ndarray, share: float, smallest: float | None) -> float:
    """Seeds of a design with one look that resolves as large a share; between two numbers of seeds by interpolation.

    NaN where the most seeds do not.
    """
    before = (2, 0.0)
    for count in range(3, runs.shape[-1] + 1):
        found = until(runs, looks.design(count, count, smallest))
        now = (count, float((found.decided != looks.OPEN).mean()))
        if now[1] >= share:
            part = (share - before[1]) / (now[1] - before[1])
            return before[0] + part * (now[0] - before[0])
        before = now
    return float("nan")


HEADER = (
    "| gains | noise | smallest gain | a wrong verdict, % of ladders | help or hurt, % | smaller, % | open, % "
    "| seeds of a rung | one look that resolves as many | saved |\n|" + "---|" * 10
)


def line(gains: str, noise: str, smallest: float | None, trials: int, given: int, most: int) -> str:
    """A line of the table."""
    truth = GAINS[gains]
    runs = ladders(truth, NOISE[noise], trials, most)
    found = told(until(runs, looks.design(given, most, smallest)), truth, smallest)
    longer = ladders(truth, NOISE[noise], min(trials, 1000), 2 * most, seed=1)
    fixed = fixed_of_equal_power(truth, longer, found.called + found.smaller, smallest)
    cells = [
        gains,
        noise,
        "none" if smallest is None else f"{smallest:g}",
        f"{100 * found.wrong:.1f}",
        f"{100 * found.called:.1f}",
        f"{100 * found.smaller:.1f}",
        f"{100 * (1 - found.called - found.smaller):.1f}",
        f"{found.seeds:.1f}",
        f"{fixed:.1f}",
        f"{100 * (1 - found.seeds / fixed):.0f}%",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000, help="ladders of each case (4000)")
    parser.add_argument("--given", type=int, default=3, help="seeds that are trained in any case (3)")
    parser.add_argument("--most", type=int, default=20, help="max_seeds (20)")
    given = parser.parse_args()
    print(f"Looks at {looks.schedule(given.given, given.most)} seeds\n\n{HEADER}")
    for gains in GAINS:
        for noise in NOISE:
            for smallest in (0.2, None):
                if smallest is not None or gains == "published":
                    print(line(gains, noise, smallest, given.trials, given.given, given.most), flush=True)


if __name__ == "__main__":
    main()
