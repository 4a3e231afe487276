"""How often the interval of a gain's mean over data sets covers the truth: `python benchmarks/data_sets.py`.

A gain is normal over data sets, with a standard deviation `between`; what is measured of it on a data set has the
error of three seeds, of which the interval knows an estimate of two degrees of freedom (or 20, as from a pooled table).
In each cell: how many of 95% intervals hold the mean, percent; median half-width in units of one data set's standard
error. Three rules: all data sets' seeds taken as one sample, as if there were no other data sets; Hartung's and Knapp's
interval with weights by precision (between-variance by Paule and Mandel, 1982); and the report's. Half a minute.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import special

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from recipe.ladder.comparing.data_sets import mean_over_data

LEVEL = 0.05
WORDS = {
    "equal": "equal noise",
    "noisy": "every third data set three times as noisy",
    "skewed": "gains of a skewed distribution (exponential)",
}
HEADER = (
    "| noise | sd between data sets | seeds as one sample | Hartung and Knapp | the report's |\n|---|---|---|---|---|"
)


def measured(case: str, between: float, data_sets: int, freedom: int, trials: int) -> tuple[np.ndarray, np.ndarray]:
    """Gains whose true mean is 0, and their estimated standard errors, (trials, data sets) each."""
    rng = np.random.default_rng([data_sets, freedom, round(10 * between), len(case)])
    sd = np.where((np.arange(data_sets) % 3 == 0) & (case == "noisy"), 3.0, 1.0)
    shape = trials, data_sets
    true = between * (rng.exponential(size=shape) - 1 if case == "skewed" else rng.normal(size=shape))
    return true + sd * rng.normal(size=shape), sd * np.sqrt(rng.chisquare(freedom, shape) / freedom)


def one_sample(gains: np.ndarray, errors: np.ndarray, freedom: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and half-width where only seeds are random."""
    number = gains.shape[-1]
    return gains.mean(-1), np.sqrt((errors**2).sum(-1)) / number * special.stdtrit(number * freedom, 1 - LEVEL / 2)


def hartung_knapp(gains: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and half-width; never shorter than a fixed effect's (Knapp and Hartung, 2003)."""
    number = gains.shape[-1]
    low, high = np.zeros(len(gains)), np.full(len(gains), 1e4)
    for _ in range(60):  # Paule and Mandel: the between-variance at which Q is K - 1
        middle = (low + high) / 2
        weights = 1 / (errors**2 + middle[:, None])
        mean = (weights * gains).sum(-1) / weights.sum(-1)
        above = (weights * (gains - mean[:, None]) ** 2).sum(-1) > number - 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    weights = 1 / (errors**2 + low[:, None])
    mean = (weights * gains).sum(-1) / weights.sum(-1)
    q = (weights * (gains - mean[:, None]) ** 2).sum(-1) / (number - 1)
    return mean, np.sqrt(np.maximum(q, 1) / weights.sum(-1)) * special.stdtrit(number - 1, 1 - LEVEL / 2)


def line(case: str, between: float, data_sets: int, freedom: int, trials: int) -> str:
    """A line of the table."""
    gains, errors = measured(case, between, data_sets, freedom, trials)
    mean, half, _ = mean_over_data(gains, errors)
    rules = one_sample(gains, errors, freedom), hartung_knapp(gains, errors), (mean, half)
    cells = [f"{100 * np.mean(np.abs(m) <= h):.1f}; {np.median(h):.2f}" for m, h in rules]
    return f"| {WORDS[case]} | {between:g} | {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20_000, help="of each case (20000)")
    parser.add_argument("--data-sets", type=int, nargs="+", default=[2, 3, 5, 10])
    given = parser.parse_args()
    for number in given.data_sets:
        for freedom, what in ((2, "3 seeds"), (20, "3 seeds, spread of a pooled table")):
            print(f"\n**{number} data sets, {what}**\n\n{HEADER}")
            for case in WORDS:
                for between in (0.0, 1.0, 3.0):
                    print(line(case, between, number, freedom, given.trials), flush=True)


if __name__ == "__main__":
    main()
