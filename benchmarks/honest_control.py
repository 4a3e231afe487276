"""How often a report calls nothing a gain, on real runs: `python benchmarks/honest_control.py RUNS [--splits 1000]`.

RUNS holds one recipe's runs, 20 seeds of it or so. They are split at random into groups, which are reported as if
they were the rungs of a ladder. As all are one recipe, whatever the report calls a help or a hurt is a false call:
that should be so in about 5% of the splits, or fewer.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from recipe.errors import RunError
from recipe.ladder.comparing.compare import compare
from recipe.ladder.reading.collect import collect
from recipe.ladder.reading.records import RunRecord

DESIGNS = ((2, 3), (2, 5), (2, 10), (3, 5), (4, 5), (6, 3))  # rungs, runs of each


def main() -> None:
    """Print a line for each design that there are enough runs for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--splits", type=int, default=1000)
    arguments = parser.parse_args()
    runs = [run for run in collect([arguments.runs]) if run.problem is None]
    if len({run.name for run in runs}) != 1:
        raise RunError(f"{arguments.runs} must hold the finished runs of one setting")
    print(f"{len(runs)} runs of {runs[0].name}, {arguments.splits} splits")
    for rungs, seeds in DESIGNS:
        if rungs * seeds <= len(runs):
            called = false_calls(runs, rungs, seeds, arguments.splits)
            print(f"{rungs} rungs of {seeds}: {called / arguments.splits:.1%} of the splits have a false call")


def false_calls(runs: Sequence[RunRecord], rungs: int, seeds: int, splits: int) -> int:
    """In how many random splits the report calls any gain, over the rung below, a help or a hurt."""
    draw, called = random.Random(0), 0
    for _ in range(splits):
        chosen = draw.sample(list(runs), rungs * seeds)
        ladder = [_as_rung(run, number // seeds, number % seeds) for number, run in enumerate(chosen)]
        (comparison,) = compare(ladder)
        verdicts = [row.gain.verdict for row in comparison.rows if row.gain is not None]
        assert len(verdicts) == rungs - 1
        called += any(verdict in ("helps", "hurts") for verdict in verdicts)
    return called


def _as_rung(run: RunRecord, rung: int, seed: int) -> RunRecord:
    """The run as if it were one of a ladder's rung."""
    name = f"rung{rung}"
    about = {"name": name, "chain": ["rung0", name][-1 - (rung > 0) :], "index": rung, "published": None}
    config = {**run.environment["config"], "seed": seed}
    environment = {**run.environment, "name": name, "rung": about, "config": config, "differences": {}}
    environment["overrides"] = [f"+recipe={name}", f"seed={seed}"]
    return replace(run, name=name, recipe=name, unit=(seed, None), environment=environment)


if __name__ == "__main__":
    main()
