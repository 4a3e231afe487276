"""Whether the loader holds its memory: `python benchmarks/loader_memory.py [+recipe=v2 KEY=VALUE...]`, see --help.

Loads 20 epochs of photos, an evaluation after each, and says what the processes hold once all that is to be loaded
ahead is loaded: PSS (shared pages divided among those who share them) and USS (their own pages), from the kernel. Last,
what is left of the loader after it was closed.
"""

import argparse
import gc
import os
import tempfile
import time
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from recipe.data.dataset import load
from recipe.data.loader import TrainLoader, eval_batches
from recipe.data.order import make_order
from recipe.machine.distributed import Ranks
from recipe.plan import compose

OVERRIDES = ["resolution.train_crop=176", "batch_size=256", "micro_batch_size=64", "data.workers=2"]
WARM = 5  # epochs, before the slope counts
PAUSE = 0.3  # seconds without work, after which the workers have loaded all that they load ahead
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Load, print the memory of each epoch and its slope, close, print what is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", default=None, help="a folder of images (200 synthetic ones)")
    parser.add_argument("--images", type=int, default=1100, help="at least as many in an epoch (1100)")
    parser.add_argument("--epochs", type=int, default=20)
    given, overrides = parser.parse_known_args()
    recipe = [] if any(override.startswith("+recipe=") for override in overrides) else ["+recipe=v2"]
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory(prefix="loader-memory-") as folder:
        (Path(folder) / "tmp").mkdir()
        tempfile.tempdir = str(Path(folder) / "tmp")  # what the processes leave there is theirs
        _write(Path(folder), given.photos, given.images)
        arguments = [*recipe, "data=imagefolder", f"data.root={folder}", *OVERRIDES, *overrides]
        config = compose.plan_of([*arguments, f"epochs={given.epochs}"]).config
        sets, ranks = load(config.data), Ranks(0, 1, 0, 1, torch.device("cpu"))
        order, resolution = make_order(config, len(sets[0])), config.resolution
        print(f"{order.positions - order.dropped:,} training and {len(sets[1])} validation images an epoch, MB:\n")

        before = _held()
        loader = TrainLoader(sets[0], order, config, ranks, (0, 0))
        workers = [worker.pid for worker in active_children()]
        print(
            f"{'epoch':>5}{'s':>7}{'PSS: all':>10}{'main':>8}{'workers':>16}{'USS: all':>12}{'main':>8}{'workers':>16}"
        )
        totals: list[tuple[float, float]] = []
        for epoch in range(config.epochs):
            begin = time.monotonic()
            for _, batches in loader.epoch(epoch):
                for _ in batches:
                    pass
            for _ in eval_batches(sets[1], config, ranks, resolution.val_resize, resolution.val_crop):
                pass
            seconds = time.monotonic() - begin
            _wait_until_idle(workers)
            memory = [_memory(pid) for pid in (os.getpid(), *workers)]
            totals.append((sum(pss for pss, _ in memory), sum(uss for _, uss in memory)))
            print(f"{epoch + 1:>5}{seconds:>7.1f}", end="")
            for kind in range(2):
                main_process, *others = (each[kind] for each in memory)
                listed = " ".join(f"{each:.1f}" for each in others)
                print(f"{totals[-1][kind]:>{10 + 2 * kind}.1f}{main_process:>8.1f}{listed:>16}", end="")
            print(flush=True)
        if len(totals) > WARM:
            for kind, name in enumerate(("PSS", "USS")):
                own = [total[kind] for total in totals[WARM - 1 :]]
                slope = np.polyfit(range(len(own)), own, 1)[0]
                figures = f"{slope:+.2f} MB an epoch, {own[-1] - own[0]:+.1f} MB in all"
                print(f"\n{name} of all from epoch {WARM} on: {figures}", end="")
        loader.close()
        del loader, batches, _
        gc.collect()
        print("\n\nafter closing, more than before the loader was made:")
        for what, names in _held().items():
            print(f"  {what}: {len(names) - len(before[what])} {sorted(names - before[what]) or ''}")


def _held() -> dict[str, set[str]]:
    """What a loader might leave behind."""
    files = {}
    for descriptor in os.listdir("/proc/self/fd"):
        if os.path.islink(f"/proc/self/fd/{descriptor}"):  # not the one that listed them
            files[descriptor] = os.readlink(f"/proc/self/fd/{descriptor}")
    return {
        "processes": {str(child.pid) for child in active_children()},
        "files in /dev/shm": set(os.listdir("/dev/shm")),
        "open file descriptors": {f"{number} {file}" for number, file in files.items()},
        "temporary files": set(os.listdir(tempfile.gettempdir())),
    }


def _write(root: Path, photos: str | None, least: int) -> None:
    """Two class folders of the photos for validation; and for training, of as many links to them as are asked for."""
    pixels = np.random.default_rng(0)
    names = sorted(os.listdir(photos)) if photos is not None else [f"{number}.jpg" for number in range(200)]
    for number, name in enumerate(names):
        val = root / "val" / f"class{number % 2}" / name
        val.parent.mkdir(parents=True, exist_ok=True)
        if photos is not None:
            val.write_bytes((Path(photos) / name).read_bytes())
        else:
            width, height = (int(side) for side in pixels.integers(300, 600, 2))
            blobs = Image.fromarray(pixels.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            blobs.resize((width, height), Image.Resampling.BICUBIC).save(val, quality=90)
        for repeat in range(-(-least // len(names))):
            train = root / "train" / val.parent.name / f"{repeat}_{name}"
            train.parent.mkdir(parents=True, exist_ok=True)
            os.link(val, train)


def _memory(pid: int | None) -> tuple[float, float]:
    """PSS and USS of a process, MB; without files' pages, which depend on who else has them on this machine."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return (kilobytes["Pss_Anon"] + kilobytes["Pss_Shmem"]) * 1024 / 1e6, kilobytes["Private_Dirty"] * 1024 / 1e6


def _wait_until_idle(pids: list[int | None]) -> None:
    """Until the workers have loaded all that they load ahead."""
    used = -1.0
    while used < (used := _processor_seconds(pids)):
        time.sleep(PAUSE)


def _processor_seconds(pids: list[int | None]) -> float:
    """Of these processes, so far."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS


if __name__ == "__main__":
    main()
