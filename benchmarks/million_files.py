"""How soon a million files begin: `python benchmarks/million_files.py [+recipe=v2 KEY=VALUE...]`, see --help.

Writes a folder of 1,000 classes x 1,000 JPEGs (hard links of a few) and scans it. Then, in fresh processes: reading the
cached index, the order of the first epoch, and the first micro-batch; and what the index takes of a worker's memory.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from multiprocessing import active_children
from pathlib import Path
from statistics import median
from typing import Any

LINKS = 60_000  # of a file; ext4 allows 65,000
STAGES = {
    "imports": "imports, not counted",
    "config": "config, not counted",
    "index": "(a) index",
    "order": "(b) order of epoch 0",
    "first_read": "(c) until a worker reads its first image",
    "first_batch": "(c) first micro-batch, that included",
    "sum": "(a) + (b) + (c)",
}


def main() -> None:
    """Write the files, start on them, delete them; or, as a process of its own, be such a start."""
    if sys.argv[1:2] == ["--start"]:
        print(json.dumps(start(int(sys.argv[2]), bool(int(sys.argv[3])), sys.argv[4:])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--where", default=None, help="folder for the temporary one (the system's)")
    parser.add_argument("--photos", default=None, help="a folder of JPEGs to link to (20 synthetic ones)")
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--files", type=int, default=1000, help="training images of a class (1000)")
    parser.add_argument("--val-files", type=int, default=50, help="validation images of a class (50)")
    parser.add_argument("--repeats", type=int, default=3, help="starts of each kind (3)")
    parser.add_argument("--cold", action="store_true", help="empty the system's file caches before each start, as root")
    given, overrides = parser.parse_known_args()

    with tempfile.TemporaryDirectory(prefix="million-", dir=given.where) as folder:
        root = Path(folder)
        begin = time.monotonic()
        sources = _sources(root / "sources", given.photos, given.classes * (given.files + given.val_files))
        for split, files in (("train", given.files), ("val", given.val_files)):
            _link(root / split, sources, given.classes, files)
        print(f"{given.classes * given.files:,} files in {given.classes:,} folders: {_since(begin):.0f} s to write")

        recipe = [] if any(override.startswith("+recipe=") for override in overrides) else ["+recipe=v2"]
        arguments = [*recipe, "data=imagefolder", f"data.root={root}", *overrides]
        environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}
        scan = _started(environment, given.cold, 1, False, arguments)
        bytes_cached = sum(file.stat().st_size for file in (root / "cache").rglob("*.npz"))
        print(f"scan without a cache: {scan['index']:.1f} s; the index takes {bytes_cached / 1e6:.0f} MB of disk\n")

        for workers in (1, 2):
            found = [_started(environment, given.cold, workers, False, arguments) for _ in range(given.repeats)]
            print(f"{workers} worker{'s'[: workers - 1]}, first micro-batch of {found[0]['images']} images, ", end="")
            print(f"{found[0]['task']} to a task: s, median of {given.repeats} (most)")
            for stage, name in STAGES.items():
                seconds = [each[stage] for each in found]
                print(f"  {name:<42}{median(seconds):7.3f} ({max(seconds):.3f})")

        memory = _started(environment, given.cold, 2, True, arguments)
        print(f"\nMB, after each of 2 workers has read all {given.classes * given.files:,} names and labels")
        print(f"  the index in memory: {memory['index_mb']:.0f}; the main process: {memory['main_mb']:.0f} PSS")
        for worker in memory["workers"]:
            print(f"  a worker: {worker['pss']:.0f} PSS, {worker['uss']:.0f} of its own; ", end="")
            print(f"of the index {worker['index_read']:.0f} read, {worker['index_own']:.1f} copied")
        begin = time.monotonic()
    print(f"\n{_since(begin):.0f} s to delete")


def start(workers: int, touch: bool, overrides: list[str]) -> dict[str, Any]:
    """A run's way to its first micro-batch, timed. `touch`: each worker goes through the whole index first."""
    seconds: dict[str, Any] = {}
    begin = time.monotonic()
    import torch

    from recipe.data import dataset as datasets
    from recipe.data.loader import TrainLoader
    from recipe.data.order import make_order
    from recipe.machine.distributed import Ranks
    from recipe.plan import compose

    torch.set_num_threads(1)
    seconds["imports"], begin = _since(begin), time.monotonic()
    config = compose.plan_of([*overrides, f"data.workers={workers}"]).config
    seconds["config"], begin = _since(begin), time.monotonic()

    train_set, _ = datasets.load(config.data)
    seconds["index"], begin = _since(begin), time.monotonic()

    order = make_order(config, len(train_set))
    order.images(0)
    seconds["order"], begin = _since(begin), time.monotonic()

    watched: Any = _watched(train_set, touch)
    loader = TrainLoader(watched, order, config, Ranks(0, 1, 0, 1, torch.device("cpu")), (0, 0))
    _, batches = next(loader.epoch(0))
    batch = next(batches)
    seconds["first_batch"] = _since(begin)
    assert watched.first_read.value, "the loader opens images in another way now"
    seconds["first_read"] = watched.first_read.value - begin
    seconds["sum"] = seconds["index"] + seconds["order"] + seconds["first_batch"]
    seconds["images"] = len(batch.images)
    seconds["task"] = f"{1 + len(loader._loaded)} micro-batch" + ("es" if loader._loaded else "")
    if touch:
        list(batches)
        arrays = (train_set.paths, train_set.labels)  # type: ignore[attr-defined]
        for _, batches in loader.epoch(0, 1):
            list(batches)
            if all(watched.touched):
                break
        seconds["index_mb"] = sum(array.nbytes for array in arrays) / 1e6
        seconds["main_mb"] = _memory("self")["Pss"]
        seconds["workers"] = [_worker_memory(worker.pid, arrays) for worker in active_children()]
    loader.close()
    return seconds


def _watched(dataset: Any, touch: bool) -> Any:
    """The data set, which notes when it is first read, by any worker."""
    from multiprocessing import RawArray, RawValue

    from torch.utils.data import get_worker_info

    class Watched(type(dataset)):  # type: ignore[misc]
        def open(self, index: int) -> Any:
            self.first_read.value = self.first_read.value or time.monotonic()
            worker: Any = get_worker_info()
            if touch and not self.touched[worker.id]:
                for each in range(len(self)):
                    self.name(each), self.labels[each]
                self.touched[worker.id] = 1
            return super().open(index)

    watched = Watched(**vars(dataset))
    watched.first_read, watched.touched = RawValue("d"), RawArray("b", [0] * 2)
    return watched


def _memory(pid: int | str) -> dict[str, float]:
    """MB by smaps_rollup's names."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines}


def _worker_memory(pid: int | None, arrays: tuple[Any, ...]) -> dict[str, float]:
    """MB of a worker, and of the index: what it has read, and what no other process shares with it."""
    assert pid is not None
    memory = _memory(pid)
    found = {"pss": memory["Pss"], "uss": memory["Private_Dirty"] + memory["Private_Clean"]}
    page = os.sysconf("SC_PAGE_SIZE")
    read = own = 0
    with open(f"/proc/{pid}/pagemap", "rb") as pages:  # 8 bytes to a page
        for array in arrays:
            first = array.__array_interface__["data"][0]
            pages.seek(first // page * 8)
            for (bits,) in struct.iter_unpack("<Q", pages.read(-(-array.nbytes // page) * 8)):
                read += bits >> 63  # present
                own += bits >> 63 & bits >> 56  # and mapped by this process alone
    return found | {"index_read": read * page / 1e6, "index_own": own * page / 1e6}


def _sources(folder: Path, photos: str | None, links: int) -> list[Path]:
    """The files to link to, as many as the links need."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    given = sorted(Path(photos).iterdir())[:20] if photos is not None else []
    pixels = np.random.default_rng(0)
    sources = [folder / f"{number}.jpg" for number in range(max(20, -(-links // LINKS)))]
    for number, source in enumerate(sources):
        if given:
            shutil.copyfile(given[number % len(given)], source)
        else:  # as large as most of ImageNet's
            blobs = Image.fromarray(pixels.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            blobs.resize((500, 375), Image.Resampling.BICUBIC).save(source, quality=90)
    return sources


def _link(root: Path, sources: list[Path], classes: int, files: int) -> None:
    """Class folders with ImageNet's kind of names."""
    for label in range(classes):
        name = f"n{10_000_000 + 7919 * label}"
        (root / name).mkdir(parents=True)
        for number in range(files):
            source = sources[(label * files + number) % len(sources)]
            os.link(source, f"{root}/{name}/{name}_{number}.JPEG")


def _started(
    environment: dict[str, str], cold: bool, workers: int, touch: bool, arguments: list[str]
) -> dict[str, Any]:
    """What `start` says, in a fresh process."""
    if cold:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        subprocess.run([sys.executable, "-c", "import torch, torchvision, hydra"], check=True)  # not counted either
    command = [sys.executable, __file__, "--start", str(workers), str(int(touch)), *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _since(begin: float) -> float:
    return time.monotonic() - begin


if __name__ == "__main__":
    main()
