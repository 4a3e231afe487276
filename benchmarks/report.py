"""What a report on many runs takes: `python benchmarks/report.py [SETTINGS [SEEDS]]`, 100 settings x 10 seeds without.

Writes run folders of recipes x mixup values with 1,322 validation images each, then times `recipe report` on them.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from synthetic import LADDER, write_run  # noqa: E402

RECIPES = LADDER[:10]


def main() -> None:
    """Write, report three times, print the seconds."""
    settings, seeds = (int(given) for given in (*sys.argv[1:], "100", "10")[:2])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(settings):
            value = number // len(RECIPES) / 10
            for seed in range(seeds):
                acc1 = 50 + value + (37 * number + 11 * seed) % 17 / 17
                changed = {"mix.mixup_alpha": value} if value else {}
                recipe = RECIPES[number % len(RECIPES)]
                write_run(Path(folder), recipe, seed, acc1, differences=changed, images=1322, classes=14)
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            begin = time.monotonic()
            command = [sys.executable, "-m", "recipe", "report", folder, "--no-figures"]
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            seconds = time.monotonic() - begin
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(f"{settings * seeds:,} runs: {seconds:.2f} s, {cpu:.2f} s of a core's time")


if __name__ == "__main__":
    main()
