"""What of this machine a process may use: cores, memory, and which kind of device `auto` means.

A container shows all of its machine's cores and memory. What it may use of them stands in its control groups, of which
each may have a limit: this process's own, and every one above it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from recipe.errors import ConfigError

ROOT = Path("/")  # where proc and the file systems of control groups are
DEVICES = ("auto", "cuda", "mps", "cpu")
MEMORY_PER_WORKER = 1.0  # GiB: one that loads images and what it loads take a third of it, the rest is their rank's


def cores() -> int:
    """CPU cores that this process may keep busy: by its affinity, its control groups and $RECIPE_CORES.

    Raises ConfigError where the last is no number.
    """
    there = len(affinity())
    wanted = os.environ.get("RECIPE_CORES") or str(there)
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ConfigError(f"RECIPE_CORES={wanted} in the environment: must be a number of cores, 1 or more")
    return max(1, min(there, int(wanted), int(min(_quotas(), default=there))))


def affinity() -> list[int]:
    """The cores, by number, on which the system lets this process run."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def memory() -> int:
    """Bytes of memory that this process and its children may hold."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_memory_limits()])


def free_memory() -> int:
    """Bytes of memory that are free, or that the system's copies of files would make room for."""
    machine = (line.split() for line in _lines("proc/meminfo") if line.startswith("MemAvailable:"))
    left = [int(words[1]) * 1024 for words in machine] or [memory()]
    return max(0, min([*left, *_memory_left()]))


def that_fit(gib: float) -> int:
    """How many processes of so much memory there is memory for, at least one."""
    return max(1, int(memory() / 2**30 / gib))


def workers() -> int:
    """Processes that may decode images at a time."""
    return min(cores(), that_fit(MEMORY_PER_WORKER))


def device(wanted: str) -> str:
    """`runtime.device`; in place of `auto`, what $RECIPE_DEVICE says. Raises ConfigError."""
    usual = os.environ.get("RECIPE_DEVICE") or "auto"
    if usual not in DEVICES:
        raise ConfigError(f"RECIPE_DEVICE={usual} in the environment: must be one of {', '.join(DEVICES)}")
    return usual if wanted == "auto" else wanted


def _quotas() -> Iterator[float]:
    """The numbers of cores that control groups allow."""
    for folder in _groups("cpu"):
        second, first = folder / "cpu.max", (folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
        words = _words(second) or [word for path in first for word in _words(path)]
        if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):  # not max, not -1
            yield int(words[0]) / int(words[1])


def _memory_limits() -> Iterator[int]:
    """The bytes that control groups allow."""
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            yield from (int(word) for word in _words(folder / name) if word.isdecimal() and int(word))


def _memory_left() -> Iterator[int]:
    """The bytes that control groups allow beyond what is in use."""
    for folder in _groups("memory"):
        files = ("memory.max", "memory.high", "memory.limit_in_bytes")
        limits = [int(word) for name in files for word in _words(folder / name) if word.isdecimal() and int(word)]
        in_use = _words(folder / "memory.current") or _words(folder / "memory.usage_in_bytes")
        about = _words(folder / "memory.stat")
        found = dict(zip(about[::2], map(int, about[1::2]), strict=True))
        copies = found.get("inactive_file", 0) + found.get("active_file", 0)  # of files, which the system drops
        if limits and in_use:
            yield min(limits) - int(in_use[0]) + copies


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, the innermost first; of version 2 and of version 1."""
    mounts = [line.split(" - ") for line in _lines("proc/self/mountinfo")]
    for line in _lines("proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)  # 0::/path in version 2, 4:cpu,cpuacct:/path in version 1
        wanted = ("cgroup", controller) if controllers else ("cgroup2", "")
        if controllers and controller not in controllers.split(","):
            continue
        for place, kind in mounts:
            system, *_, options = kind.split(" ")
            if system == wanted[0] and wanted[1] in (*options.split(","), ""):
                shown, at = (_unescaped(field) for field in place.split(" ")[3:5])  # which group is seen where
                inside = os.path.relpath(path, shown) if Path(path).is_relative_to(shown) else "."
                top = ROOT / at.lstrip("/")
                yield from (folder for folder in (top / inside, *(top / inside).parents) if folder.is_relative_to(top))


def _unescaped(path: str) -> str:
    return re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), path)


def _lines(name: str) -> list[str]:
    try:
        return (ROOT / name).read_text(errors="surrogateescape").splitlines()
    except OSError:  # another system than Linux
        return []


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []
