"""60,000 photos read through once in a random order from shards and a zip: memory and open files are bounded."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from archives import opened, real_photos, tar, zipped
from photos import encoded

from recipe.data.packed.members import MOST_OPEN

COUNT, CLASSES, KINDS = 60_000, 100, 500
MOST = 900_000  # kB of memory at the peak, most of it PyTorch's own


def make(folder: Path) -> None:
    """Class folders of small photos, in 120 shards and in a zip; KINDS of them differ."""
    real = real_photos()
    boxes = [(number % 97, number % 89, number % 97 + 150, number % 89 + 150) for number in range(KINDS)]
    photos = [encoded(real[i % len(real)].resize((24, 24), box=box), "JPEG") for i, box in enumerate(boxes)]
    files = [(f"{number % CLASSES:03}/{number:05}.jpg", photos[number % KINDS]) for number in range(COUNT)]
    for number in range(120):
        tar(folder / "shards" / f"{number:04}.tar", files[number::120])
    zipped(folder / "photos.zip", files)


@pytest.mark.slow
def test_memory_and_descriptors_are_bounded(tmp_path: Path) -> None:
    """Of the second start, which has the index."""
    if not real_photos():
        pytest.skip("ImageNet's photos (imagenet-photos-200.tar) are not at hand")
    make(tmp_path)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    found = {}
    for name in ("shards", "photos.zip"):
        for start in ("first", "second"):
            done = subprocess.run(
                [sys.executable, __file__, str(tmp_path / name)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=600,
                check=True,
            )
            found[name, start] = json.loads(done.stdout)
    print(found)
    assert len({each["fingerprint"] for each in found.values()}) == 1
    assert len({each["sum"] for each in found.values()}) == 1
    for (name, start), each in found.items():
        assert each["memory"] < MOST, (name, start)
        assert each["files"] <= MOST_OPEN, (name, start)
        assert each["images"] == COUNT


def read_through(root: str) -> dict[str, object]:
    """Memory in kB at its peak, files open at the end, seconds to open the set, and all images' bytes."""
    before, begin = len(os.listdir("/proc/self/fd")), time.monotonic()
    sets = opened(root, val_fraction=0.1)
    seconds, total = time.monotonic() - begin, 0
    for images in sets:
        assert images.members is not None
        for index in np.random.default_rng(0).permutation(len(images)):
            total += len(images.members.read(images.name(int(index))))
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    memory = int(line.split()[1])
    files = len(os.listdir("/proc/self/fd")) - before
    facts = {"fingerprint": sets[0].fingerprint, "images": sum(map(len, sets)), "sum": total}
    return {**facts, "memory": memory, "files": files, "seconds": round(seconds, 2)}


if __name__ == "__main__":
    print(json.dumps(read_through(sys.argv[1])))
