"""A known data set's download to class folders: train/CLASS/FILE, val/CLASS/FILE, and predict/FILE without labels."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from recipe.data.prepare.archives import Member, members
from recipe.data.prepare.originals import CALTECH_PLAIN, ORIGINALS, Original, by_rules, pattern
from recipe.data.prepare.whole_folder import Counts, make_folder, put, refuse_inside
from recipe.errors import DataError

PARTS = ("train", "val", "predict")
UNLABELLED = "predict"  # the part of images without a class


def arrange(
    name: str, source: Path, target: Path, plain_names: bool = False, any_count: bool = False, copy: bool = False
) -> tuple[Counts, bool]:
    """Images by part and class in `target`, which is made, and whether it was there already.

    Args:
        name: of ORIGINALS.
        source: the download: an archive, or the folder that holds it or what it held.
        plain_names: caltech256: classes without their numbers and without -101, llama instead of 134.llama-101.
        any_count: take what there is; otherwise the images must be as many as the data set is known to have.
        copy: files of a folder are copied, not linked.

    Raises DataError; RunError where another process is at it. What is done stays: the same command goes on.
    """
    original = ORIGINALS[name]
    if not source.exists():
        raise DataError(f"there is no {source}: for {name} SRC is {original.what}, or the folder it unpacks to")
    refuse_inside(target, source)
    plain = "without number and -101" if plain_names else False  # true in folders that have the -101 still
    settings = {"set": name, "source": os.fspath(source.resolve()), "plain_names": plain}
    place = by_rules((CALTECH_PLAIN, r"train/\1/\2")) if name == "caltech256" and plain_names else original.place

    def found(search: Callable[[str], object]) -> Iterator[Member]:
        return members(source, lambda name: bool(search(name)))

    def fill(folder: Path) -> Counts:
        search, tables = pattern(original.wanted), pattern(original.tables)
        labels = original.labels({table.name: table.read() for table in found(tables)})
        images = ((where, member, content) for member in found(search) for where, content in place(member, labels))
        counts = _put_all(images, folder, None if any_count else original.images, copy)
        _check(name, original, source, counts, any_count)
        return counts

    return make_folder(target, settings, fill)


def _put_all(
    images: Iterable[tuple[str, Member, Member | bytes]], folder: Path, most: dict[str, int] | None, copy: bool
) -> Counts:
    """Every image to its place. Raises DataError where there are more of them than `most` says for its part."""
    counts: dict[str, Counter[str]] = {}
    seen: set[str] = set()
    with tqdm(unit="image", dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:
        for where, member, content in images:
            if where in seen:
                raise DataError(f"{where} is in the download twice, the second time as {member.name}")
            seen.add(where)
            part, *between, _ = where.split("/")
            counts.setdefault(part, Counter())["".join(between)] += 1
            if most is not None and counts[part].total() > most[part]:
                raise DataError(f"more than the {most[part]:,} images of {part}: is it that data set?")
            put(folder / where, _bytes_of(content, folder / where), copy)
            bar.update()
    return {part: dict(sorted(counts[part].items())) for part in sorted(counts, key=PARTS.index)}


def _bytes_of(content: Member | bytes, target: Path) -> Path | bytes:
    """What is to be put there; of a tar's or zip's member that is there in its size already, that file itself."""
    if isinstance(content, bytes):
        return content
    if content.path is not None:
        return content.path
    there = os.path.exists(target) and target.stat().st_size == content.size
    return target if there else content.read()


def _check(name: str, original: Original, source: Path, counts: Counts, any_count: bool) -> None:
    """Refuse a download that is not whole."""
    if not counts:
        raise DataError(f"{source} holds nothing of {name}: SRC is {original.what}, or the folder it unpacks to")
    if any_count:
        return
    wrong = []
    for part, expected in original.images.items():
        images = sum(counts.get(part, {}).values())
        classes = len(counts.get(part, {}))
        if part in original.optional and not images:
            continue
        if images != expected:
            wrong.append(f"{part} has {images:,} images, not {expected:,}")
        elif part != UNLABELLED and classes != original.classes:
            wrong.append(f"{part} has {classes:,} classes, not {original.classes:,}")
    if wrong:
        raise DataError(f"{source} is not the whole of {name}: {'; '.join(wrong)}. To take what there is: --any-count")
