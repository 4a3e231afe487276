"""What a report is made of: settings, their runs, and each setting against the one it is compared with.

These are the figures alone. `reading.collect` reads them from run folders, `compare` computes them, and `telling` shows
them: `tables`, `csv_files`, `figures`, `page`, `tensorboard`.
"""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from recipe.ladder.comparing.looks import Standing
from recipe.ladder.comparing.statistics import Difference, Pooled
from recipe.ladder.reading.looks_taken import LooksTaken
from recipe.ladder.reading.records import RunRecord, Unit
from recipe.plan.published import NOTHING, Published

SAME = "not compared (the same training)"  # the verdict on two settings that are one training, evaluated alike


@dataclass
class Gain:
    """A setting over another."""

    over: str  # the other's name
    difference: Difference  # top-1 over shared units, percentage points
    adjusted: float  # p after Holm over the table's gains of this kind: of `pooled`, or paired; NaN with one unit
    verdict: str  # helps, hurts, unresolved (…)
    over_images: tuple[float, float] | None  # 95% interval over units and test images alike, points
    mcnemar: float | None  # with one shared unit: p that these two networks are right about as many images
    unpaired: float | None = None  # without shared units: p of the permutation test of the two means
    means: float = math.nan  # this setting's mean less the other's, over all runs of each, points
    pooled: Pooled | None = None  # with the spread of all the table's runs; None: the paired test counts
    paired_adjusted: float = math.nan  # p of the paired t-test, each difference by its own spread alone, after Holm
    paired_verdict: str = ""  # what that test would say
    standing: Standing | None = None  # what a sweep's looks at it came to, where such decided

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval that the verdict goes with, points; NaN with one unit."""
        return self.pooled[:2] if self.pooled else (self.difference.low, self.difference.high)


@dataclass
class Row:
    """A setting: what was run with several seeds."""

    name: str
    label: str  # short: what a table and a figure call it
    runs: dict[Unit, RunRecord]  # the finished ones, sorted
    others: list[RunRecord]  # unfinished and broken ones; not those that are told twice
    missing: list[Unit]  # units that other settings of the table have, and this one has no folder for
    acc1: list[float]  # of each finished run, percent: last epoch, in the order of `runs`
    acc5: float  # mean, percent
    best_acc1: float  # mean over the runs of the best epoch's top-1, percent; NaN where none was evaluated
    mean: float  # of acc1
    sd: float  # NaN for one run
    median: float
    highest: float
    parent: str | None  # the setting it is compared with; None for the first
    differs: list[str] = field(default_factory=list)  # the keys of which the two were trained with different values
    passed_over: tuple[str, list[str]] | None = None  # label of a nearer one that makes no contrast, and those keys
    key: tuple[Any, ...] = ()  # what it is, whatever the data: recipe, own overrides, what is left out or added
    gain: Gain | None = None  # over the parent
    total: Gain | None = None  # over the table's first row
    published: Published = NOTHING  # of the recipe, where the runs are that recipe's
    published_gain: float = math.nan  # of the recipe over the parent's, where both may be shown; points
    device_hours: float = 0.0  # mean of a run
    images: float = 0.0  # training images seen, mean of a run
    unique_images: float = 0.0
    value: float | None = None  # of the varied key, in a sweep over numbers
    hours_per_point: float = math.nan  # device-hours beyond the first row's, for each point of `total`; NaN: no gain
    on_front: bool = False  # no other setting of the table is as accurate for less

    @property
    def planned(self) -> int:
        """Units that the table has, or this setting alone."""
        return len(self.runs.keys() | {run.unit for run in self.others} | set(self.missing))


@dataclass(frozen=True)
class Beside:
    """Published figures and those of the runs, of one setting at one moment or in one evaluation."""

    setting: str  # its label
    when: str  # in words
    figures: dict[str, tuple[float, float]]  # of published.FIGURES: as published; mean over the runs here, NaN: none


@dataclass
class Comparison:
    """One table: settings that were trained on the same data, the first of them the baseline."""

    shape: str  # ladder, leave-one-out, add-one-in, sweep, folds
    title: str
    rows: list[Row]
    common: dict[str, str]  # what all rows share beside their recipe, as in `scale=demo`
    varied: list[str]  # the keys that a sweep varies
    # The smallest gain over a parent that this design finds with 80% power, as one of the table's gains (Holm), points.
    detectable: float  # inf with one unit
    correlation: float | None  # Spearman's, of the means with the published top-1; None for under 3 published rows
    classes: list[str]
    images: int  # validation images
    beside: list[Beside]  # published figures beside those of the runs, where there are more than the last epoch's top-1
    spreads_p: float = math.nan  # Bartlett's p that all rows' runs are equally far apart; NaN where nothing is pooled

    trained_on: str = ""  # fingerprint of the training images; of folds, what they are folds of
    data_folder: str | None = None  # name of the images' folder, where the command line had it
    on_test: "Comparison | None" = None  # the same settings on test images, where they were asked for
    looks: LooksTaken | None = None  # those of the sweep that its runs come from, where it took any

    @property
    def is_pooled(self) -> bool:
        """Whether any verdict rests on the spread of the whole table."""
        return any(row.gain is not None and row.gain.pooled is not None for row in self.rows)

    @property
    def has_totals(self) -> bool:
        """Whether a gain over the first row is another than that over the setting which a row is compared with."""
        return any(row.parent != self.rows[0].name for row in self.rows[1:])


class GainOnData(NamedTuple):
    """A gain on one data set."""

    n: int  # shared seeds
    gain: float  # points
    low: float  # its 95% interval over seeds, as in the data set's own table; NaN with one seed
    high: float
    error: float  # standard error over seeds, points; NaN with one
    better: float  # P(a run of the setting is more accurate than one of the other)
    verdict: str


@dataclass(frozen=True)
class MeanGain:
    """A setting over another, on the data sets that have both."""

    label: str
    over: str  # the other's label
    by_data: list[GainOnData | None]  # one for each data set; None where it was not compared
    mean: float  # points
    low: float  # 95% interval, data sets random; NaN where nothing tells their spread
    high: float
    p: float  # two-sided: that the mean over such data sets is 0
    adjusted: float  # after Holm over the settings
    verdict: str  # helps, hurts, unresolved
    better: float  # probability of improvement (Agarwal et al., 2021): mean over the data sets
    better_low: float  # its 95% interval, by resampling the runs within each data set; NaN where that tells none
    better_high: float


@dataclass(frozen=True)
class AcrossData:
    """Settings that were compared on several data sets."""

    shape: str  # as of Comparison
    data: list[str]  # labels
    gains: list[MeanGain]
    ranks: dict[str, float]  # mean rank by label, 1 the best, of the settings that all data sets have; in table order
    on_test: bool = False  # by their test images
