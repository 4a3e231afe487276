"""What is wrong with the class folders of a data set: empty ones, missing ones, and names that look alike."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

from recipe.data.folder import NOT_CLASSES

PARTS = ("train", "val", "valid", "validation", "test")


class Problems(NamedTuple):
    """A line each."""

    wrong: list[str]  # what training or evaluating refuses
    alike: list[str]  # pairs of names that some disks and eyes take for one


def look_at_classes(folders: Iterable[str], images: Iterable[str]) -> Problems:
    """The problems of a data set.

    Args:
        folders, images: all names below its root, with `/`.
    """
    counts = Counter("/".join(name.split("/")[:2]) for name in images if name.count("/") > 1)
    counts.update(name.partition("/")[0] for name in images if "/" in name)
    folders = [name for name in folders if name.rpartition("/")[2] not in NOT_CLASSES]
    parts = [part for part in PARTS if part in folders]
    classes = {part: [name for name in folders if _parent(name) == part and name] for part in parts or [""]}
    wrong = [f"empty class: {name} has no images" for names in classes.values() for name in names if not counts[name]]
    own = {part: {name.rpartition("/")[2] for name in names} for part, names in classes.items()}
    alike = [f"alike: {one} and {other} {how}" for names in classes.values() for one, other, how in _alike(names)]
    first = parts[0] if parts else ""
    for part in parts[1:]:
        for has, lacks in ((first, part), (part, first)):
            for name in sorted(own[has] - own[lacks]):
                twin = next((other for other in own[lacks] if _folded(other) == _folded(name)), None)
                hint = f" ({name} and {twin} {_difference(name, twin)})" if twin else ""
                wrong.append(f"missing class: {lacks} has no {name}, which {has} has{hint}")
    return Problems(wrong, alike)


def look_alikes(names: Iterable[str]) -> list[str]:
    """Names that differ in the spelling of their letters, in capitals or in spaces alone, in words."""
    groups = defaultdict(list)
    for name in names:
        groups[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    return [_in_words(some) for some in groups.values() if len(some) > 1]


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _alike(names: list[str]) -> Iterator[tuple[str, str, str]]:
    """Pairs of names that are one but for case, or but for how their letters are put together."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_folded(name), []).append(name)
    for group in groups.values():
        for one, other in combinations(sorted(group), 2):
            yield one, other, _difference(one, other)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()


def _difference(one: str, other: str) -> str:
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        return "differ only in how their accents are stored (NFC and NFD)"
    return "differ only in case or blanks"


def _in_words(names: list[str]) -> str:
    """Names that look alike; with the form of their letters, where that is all that tells them apart."""
    forms = {name: "NFC" if unicodedata.is_normalized("NFC", name) else "NFD" for name in names}
    if len({unicodedata.normalize("NFC", name) for name in names}) == 1:
        return " and ".join(f"{name} ({form})" for name, form in forms.items())
    return " and ".join(f"'{name}'" for name in names)
