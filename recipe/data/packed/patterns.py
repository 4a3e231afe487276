"""From a name with braces or wildcards, as `train-{000..146}.tar`, to the files it stands for. Imports no torch."""

import glob
import os
import re
from pathlib import Path

from recipe.errors import DataError

SUFFIXES = (".tar", ".zip")
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
LIST = re.compile(r"\{([^{}]*,[^{}]*)\}")
NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$")  # of a shard: the last digits of its name
OF = re.compile(r"-(\d+)-of-(\d+)\.")
NAMED = 3  # missing shards that a message names
MOST = 1_000_000  # files that braces may stand for


def is_pattern(name: str) -> bool:
    """Whether a name stands for several files."""
    return bool(RANGE.search(name) or LIST.search(name)) or glob.has_magic(name)


def is_archive(name: str) -> bool:
    """Whether a name is that of archives, or a pattern of such names."""
    return name.lower().endswith(SUFFIXES)


def is_there(root: str) -> bool:
    """Whether data.root is a folder, an archive, or a pattern in a folder that is there."""
    if os.path.isdir(root) or os.path.isfile(root):
        return True
    return is_archive(root) and is_pattern(root) and os.path.isdir(os.path.dirname(root) or ".")


def shards_of(pattern: Path) -> list[Path]:
    """The files that a name stands for, sorted. Raises DataError where one is missing, naming it."""
    names = braced(str(pattern))
    if len(names) > 1 or not glob.has_magic(names[0]):
        plain = [name for name in names if not glob.has_magic(name)]
        _refuse([name for name in plain if not os.path.isfile(name)], pattern)
        if len(plain) == len(names):
            return [Path(name) for name in names]
    found = sorted(Path(path) for name in names for path in glob.glob(name) if os.path.isfile(path))
    if not found:
        raise DataError(f"{pattern}: there are no such files")
    complete(found)
    return found


def braced(name: str) -> list[str]:
    """`a-{08..10}` as a-08, a-09, a-10, and `{a,b}` as a, b. Raises DataError for a range that runs backwards."""
    if match := RANGE.search(name):
        first, last = match.groups()
        if not int(first) <= int(last) <= int(first) + MOST:
            raise DataError(f"{name}: {match[0]} must run from a smaller to a larger number")
        inner = [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    elif match := LIST.search(name):
        inner = match[1].split(",")
    else:
        return [name]
    return [rest for one in inner for rest in braced(name[: match.start()] + one + name[match.end() :])]


def complete(shards: list[Path]) -> None:
    """Raise DataError where a numbered shard is missing between others, or of those that `-of-` counts."""
    numbers: dict[tuple[str, str], dict[int, str]] = {}
    missing: list[str] = []
    for path in shards:
        if counted := OF.search(path.name):
            begin, end = path.name[: counted.start(1)], path.name[counted.end(1) :]
            width = len(counted[1])
            all_of_them = [f"{begin}{number:0{width}}{end}" for number in range(int(counted[2]))]
            missing += [name for name in all_of_them if not (path.parent / name).exists()]
        elif match := NUMBER.match(path.name):
            numbers.setdefault((match[1], match[3]), {})[int(match[2])] = match[2]
    for (begin, end), there in numbers.items():
        width = min(map(len, there.values()))
        gaps = [number for number in range(min(there), max(there)) if number not in there]
        if len(gaps) < len(there):  # more gaps than shards: the numbers count something else
            missing += [f"{begin}{number:0{width}}{end}" for number in gaps]
    _refuse(sorted(set(missing)), shards[0].parent)


def _refuse(missing: list[str], where: Path) -> None:
    if missing:
        more = f" … ({len(missing):,} shards)" if len(missing) > NAMED else ""
        raise DataError(
            f"missing: {', '.join(missing[:NAMED])}{more} of {where}. To train without: name those that are there, as "
            "in data.train_dir='{000,002}.tar'"
        )
