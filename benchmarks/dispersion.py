"""Whether the spread of runs follows from their images: `python benchmarks/dispersion.py FOLDER …`, of run folders.

Runs that err independently on every image would differ by √Σ p(1 - p) images, p each image's rate of being right over
the seeds (Jordan, 2024, arXiv 2304.01910). A quasi-binomial model has the variance of runs that times a dispersion that
settings of one training length share. Printed for each setting with two runs or more that kept predictions: seeds, the
sd over them, what the images predict, and the dispersion with its 95% interval (chi-squared, seeds - 1 degrees of
freedom); for each length the common dispersion, and Bartlett's p that it is common. (Of one data set at a time.)
"""

import argparse
import math
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import special

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from recipe.ladder.comparing.borrowing import ALIKE  # noqa: E402
from recipe.ladder.comparing.pooling import bartlett  # noqa: E402
from recipe.ladder.reading import predictions  # noqa: E402
from recipe.ladder.reading.collect import collect  # noqa: E402
from recipe.ladder.reading.settings import groups  # noqa: E402


class Seen(NamedTuple):
    """What the seeds of one setting were right about."""

    name: str
    images_trained: float  # mean of a run
    acc1: np.ndarray  # (seeds,) percent
    right: np.ndarray  # (images,): seeds that are right

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the variance over seeds."""
        return len(self.acc1) - 1

    @property
    def variance(self) -> float:
        """Over seeds, points squared; never less than that of one image, a count's step."""
        return max(float(self.acc1.var(ddof=1)), (100 / len(self.right)) ** 2)

    @property
    def predicted(self) -> float:
        """The variance that images which err independently would make, points squared."""
        seeds, rate = len(self.acc1), self.right / len(self.acc1)
        return float((rate * (1 - rate)).sum()) * seeds / (seeds - 1) * (100 / len(self.right)) ** 2

    @property
    def dispersion(self) -> float:
        """One over the other."""
        return self.variance / self.predicted


def interval(dispersion: float, freedom: int) -> tuple[float, float]:
    """The 95% interval of a dispersion."""
    low, high = special.chdtri(freedom, [0.025, 0.975])  # upper quantile first
    return freedom * dispersion / float(low), freedom * dispersion / float(high)


def of_runs(folder: Path) -> list[Seen]:
    """The settings of a folder of runs; of evaluations of one training, the first alone."""
    found, trained = [], set()
    for setting in (each for group in groups(collect([folder])) for each in group):
        runs = list(setting.runs.values())
        hashes = {str((run.result or {}).get("training_hash")) for run in runs}
        known = predictions.correct(runs, [])
        if len(runs) < 2 or known is None or hashes & trained:
            continue
        trained |= hashes
        right = known[0]
        images = float(np.mean([(run.result or {}).get("images_seen", math.nan) for run in runs]))
        found.append(Seen(setting.recipe, images, 100 * right.mean(1), right.sum(0)))
    return found


def lines(these: list[Seen]) -> list[str]:
    """A table of the settings, and what each training length has in common, as markdown."""
    found = [
        "| setting | images trained on | seeds | sd over seeds | images predict | dispersion [95%] |",
        "|---|---|---|---|---|---|",
    ]
    for one in sorted(these, key=lambda each: each.images_trained):
        low, high = interval(one.dispersion, one.freedom)
        spread = f"{math.sqrt(one.variance):.2f} | {math.sqrt(one.predicted):.2f}"
        found.append(
            f"| {one.name} | {one.images_trained:,.0f} | {len(one.acc1)} | {spread} "
            f"| {one.dispersion:.2g} [{low:.2g}, {_rounded(high)}] |"
        )
    return [*found, "", *(_of_length(group) for group in by_length(these))]


def by_length(these: list[Seen]) -> list[list[Seen]]:
    """The settings, those together that train on about as many images, as the report has it."""
    ordered = sorted(these, key=lambda one: one.images_trained)
    found: list[list[Seen]] = []
    for one in ordered:
        if found and one.images_trained <= ALIKE * found[-1][-1].images_trained:
            found[-1].append(one)
        else:
            found.append([one])
    return found


def _of_length(these: list[Seen]) -> str:
    freedom = sum(one.freedom for one in these)
    common = sum(one.freedom * one.dispersion for one in these) / freedom
    low, high = interval(common, freedom)
    name = f"{these[0].images_trained:,.0f} to {these[-1].images_trained:,.0f} images"
    text = f"{name}: common dispersion {common:.2g} [{low:.2g}, {_rounded(high)}] ({freedom} degrees of freedom)"
    if len(these) < 2:
        return text
    of = [
        float(bartlett(np.array([value(one) for one in these]), np.array([one.freedom for one in these])))
        for value in (lambda one: one.dispersion, lambda one: one.variance)
    ]
    return f"{text}; Bartlett's p that it is common {of[0]:.2g}, that the variances are {of[1]:.2g}"


def _rounded(value: float) -> str:
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def main() -> None:
    """Read and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    print("\n".join(lines([one for folder in parser.parse_args().folders for one in of_runs(folder)])))


if __name__ == "__main__":
    main()
