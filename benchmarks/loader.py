"""The table of docs/PERFORMANCE.md: `python benchmarks/loader.py PHOTOS.tar [SECONDS]`, 600 without.

Unpacks the photos, links each into class folders as often as makes an epoch of a few thousand, makes a store of them,
and runs what `recipe bench loader +recipe=v2` runs, with more in the same rounds: ours without nvImageCodec,
and ours on the store.
"""

import contextlib
import io
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from recipe.commands.bench import loader, pipelines
from recipe.commands.bench.command import table
from recipe.data import region
from recipe.data.folder import scan_folder
from recipe.data.prepare import store
from recipe.files import unpack as unpack_archive
from recipe.machine.limits import cores
from recipe.plan import compose

IMAGES = 4800  # in an epoch, about
ROUND = 4096
MAX_SIDE, QUALITY = 400, 90


def main() -> None:
    """Prepare, measure, print."""
    archive, seconds = Path(sys.argv[1]), float((*sys.argv[2:], "600")[0])
    with tempfile.TemporaryDirectory() as folder:
        root, smaller = Path(folder, "photos"), Path(folder, "store")
        unpack(archive, root)
        with contextlib.redirect_stdout(io.StringIO()):
            store.prepare(root, smaller, "train", MAX_SIDE, QUALITY, cores(), False)
        config = compose.plan_of(["+recipe=v2", "data=imagefolder", f"data.root={root}"]).config
        images = loader.image_files(config)
        alone = replace(config, sampler=replace(config.sampler, repetitions=1))
        on_device = replace(alone, augment=replace(alone.augment, policy_on="device"))
        rounds = loader.pipelines_of(config, images, ROUND)
        name = f"{loader.OURS}, device policy, "
        rounds[f"{name}no nvImageCodec", "training"] = without_regions(pipelines.ours(images, on_device, ROUND))
        rounds[f"{loader.OURS}, no nvImageCodec", "evaluation"] = without_regions(
            pipelines.ours_eval(images, alone, ROUND)
        )
        stored = scan_folder(smaller / "train")
        rounds[f"{name}store", "training"] = pipelines.ours(stored, on_device, ROUND)
        measured = loader.measure(rounds, loader.stages_of(alone, images), seconds, lambda text: None)
        print("\n".join(table(config, measured, None)))
        shared, single = (
            measured.row(f"{loader.OURS}, device policy{what}", "training") for what in (", 4 repeats", "")
        )
        assert shared is not None
        assert single is not None
        print(f"\n4 repeats, each image decoded once: {shared.times(single):.2f} times one draw of each image")


def unpack(archive: Path, root: Path) -> None:
    """The archive's files as train/CLASS/… and val/CLASS/…, in two classes each, linked again and again in train."""
    with tarfile.open(archive) as files:
        names = [member.name for member in files if member.isfile()]
        unpack_archive(files, root / "original")
    for copy in range(max(1, IMAGES // len(names))):
        for number, name in enumerate(names):
            for part in ("train", "val") if copy == 0 else ("train",):
                link = root / part / "ab"[number % 2] / f"{copy}-{Path(name).name}"
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(root / "original" / name, link)


def without_regions(load: pipelines.Round) -> pipelines.Round:
    """The same where the library that decodes regions is not installed."""

    def load_without(number: int) -> int:
        library: Callable[[], object] = region._library
        region._library = lambda: "off"  # type: ignore[assignment]
        try:
            return load(number)
        finally:
            region._library = library  # type: ignore[assignment]

    return load_without


if __name__ == "__main__":
    main()
