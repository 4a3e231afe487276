"""`make soak`: kill and resume a run many times, at random moments, and compare it with one that was left alone.

Each start has another number of data workers and saves at another pace; SIGKILL goes to all its processes at once, or
to one rank alone. Exit code 0 means equal to the last bit: weights, optimizer, figures, curves, predictions.
"""

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from processes import assert_same_ending, children, ended, killed, rank_of, started, steps_logged

RUN = (
    *("+recipe=v2", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "log.images=false"),
    *("data=synthetic", "data.size=512", "batch_size=64", "micro_batch_size=16", "epochs=200", "evaluate.every=40"),
    *("ema.decay=0.9999999", "log.every_steps=7", "checkpoint.keep_after_training=true"),
)


def main() -> None:
    """Soak, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, default=0, help="ranks by torchrun; 0 for one process without it")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    moments = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as root:
        whole, folder = Path(root) / "whole", Path(root) / "run"
        soak(folder, given.kills, given.processes, moments)
        done = ended(started(Path(root), *RUN, f"hydra.run.dir={whole}", processes=given.processes), timeout=3600)
        assert done.returncode == 0, done.stderr
        assert_same_ending(whole, folder)
    print("equal")


def soak(folder: Path, kills: int, processes: int, moments: random.Random) -> None:
    """Kill the run so many times, then let it end."""
    for number in range(1, kills + 1):
        pace, workers = moments.choice(["1e-6", "0.01", "0.05"]), moments.choice([0, 1, 2])
        arguments = (*RUN, f"hydra.run.dir={folder}", f"checkpoint.every_minutes={pace}", f"data.workers={workers}")
        process = started(folder.parent, *arguments, processes=processes)
        try:
            process.wait(moments.uniform(1, 20 if processes else 14))  # two ranks take longer to start
            assert process.returncode == 0, process.communicate()
            print(f"at its end after {number - 1} kills", flush=True)
            return
        except subprocess.TimeoutExpired:
            pass
        ranks = {rank_of(pid): pid for pid in children(process)} if processes else {}
        alone = moments.choice([rank for rank in ranks if rank is not None] or [None])
        if alone is not None and moments.random() < 0.5:
            os.kill(ranks[alone], signal.SIGKILL)
            ended(process)
        else:
            killed(process)
        print(f"{time.strftime('%H:%M:%S')}  kill {number}/{kills} at step {steps_logged(folder)}", flush=True)
    done = ended(started(folder.parent, *RUN, f"hydra.run.dir={folder}", processes=processes), timeout=3600)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    main()
