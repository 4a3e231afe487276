"""Every image of archives decoded once, as `verify` does with those of a folder."""

from functools import partial
from pathlib import Path

from recipe.data.image_files import IMAGE_SUFFIXES, is_image, left_out
from recipe.data.packed import imagenet
from recipe.data.packed.entries import Entry, is_sidecar
from recipe.data.packed.members import content_of
from recipe.data.packed.opening import LOOK
from recipe.data.packed.patterns import complete, is_archive, is_pattern, shards_of
from recipe.data.packed.scanning import scan
from recipe.data.prepare.chunks import in_chunks
from recipe.data.prepare.verify import Verified
from recipe.data.walk import walk
from recipe.errors import DataError

Place = tuple[Path, Entry]  # an archive, and an image of it


def archives_at(root: Path) -> list[Path]:
    """The archives that a data root is or holds, sorted; none where it is a folder that holds images."""
    if root.is_file() or (not root.is_dir() and is_pattern(str(root))):
        return shards_of(root) if is_archive(root.name) else []
    if not root.is_dir():
        return []
    names = [name for name, _ in walk(root).files]
    return [] if any(map(is_image, names)) else [root / name for name in names if is_archive(name)]


def base_of(root: Path) -> Path:
    """The folder that names in what is found are relative to."""
    return root if root.is_dir() else root.parent


def verify_archives(root: Path, archives: list[Path], workers: int) -> Verified:
    """What decoding all images of archives shows. Raises DataError for an archive that is not whole.

    Args:
        root: what they are at; names in what is found are relative to `base_of` it.
    """
    for folder in sorted({archive.parent for archive in archives}):
        complete([archive for archive in archives if archive.parent == folder])
    look = {suffix: [archive for archive in archives if archive.suffix.lower() == suffix] for suffix in LOOK}
    places: list[Place] = []
    strays: list[str] = []
    for suffix, own in look.items():
        plain = [archive for archive in own if archive.name != imagenet.TRAIN]
        entries = scan([(archive,) for archive in plain], LOOK[suffix])
        entries += [imagenet.train_images(archive)[0] for archive in own if archive.name == imagenet.TRAIN]
        ordered = plain + [archive for archive in own if archive.name == imagenet.TRAIN]
        for archive, files in zip(ordered, entries, strict=True):
            places += [(archive, entry) for entry in files if not entry.kind and is_image(entry.name)]
            strays += [entry.name for entry in files if not entry.kind and not is_image(entry.name)]
    if not places:
        raise DataError(f"{root} has no images ({', '.join(IMAGE_SUFFIXES)}) in its archives")
    strays = [name for name in strays if not is_sidecar(name)]
    found = Verified(others=len(strays), left_out=list(left_out(root, strays)))
    for some in in_chunks(partial(_look_at, base_of(root)), places, workers):
        found += some
    found.bad = dict(sorted(found.bad.items()))
    return found


def _look_at(base: Path, places: list[Place]) -> Verified:
    found = Verified(images=len(places))
    for archive, entry in places:
        with archive.open("rb") as file:
            name = f"{archive.relative_to(base)}: {entry.name}"
            found.look(name, Path(entry.name), partial(content_of, file.fileno(), entry))
    found.odd = +found.odd
    return found
