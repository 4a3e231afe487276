"""What checkpoints cost a run: `python benchmarks/saving.py +recipe=v2 scale=demo`, arguments as train.py takes them.

Trains the run in a temporary folder and says how often it saved; for how long the training was held by that, waiting
for the save before and copying to the host's memory; and how much of a core's time the thread beside it took.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from recipe.plan import compose
from recipe.run.checkpoint import Writer
from recipe.run.run import train
from recipe.run.trainer import Trainer


def main() -> None:
    """Train once, and print the shares."""
    plan = compose.plan_of(sys.argv[1:])
    writers: list[Writer] = []
    close = Trainer.close

    def keep(run: Trainer) -> None:
        close(run)
        writers.append(run.writer)

    Trainer.close = keep  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        train(replace(plan, folder=Path(folder)))
        seconds = time.monotonic() - begin
    (writer,) = writers
    print(
        f"{writer.jobs} files in {seconds:.0f} s: training held for {writer.held / seconds:.2%} of the time, "
        f"{writer.busy:.1f} s of a core's time beside it, {writer.busy / seconds:.2%}"
    )


if __name__ == "__main__":
    main()
