"""A store: the training images as smaller JPEGs, beside links to all other files. They decode faster; pixels differ.

While it is made, its folder holds a marker that training refuses. store.json is written last.
"""

import io
import json
import os
import shlex
import shutil
from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import PIL
from PIL import Image
from torchvision.transforms.functional import to_pil_image

from recipe import __version__
from recipe.data.decode import decode_any
from recipe.data.folder import ImageFolder, scan_folder
from recipe.data.image_files import left_out
from recipe.data.prepare.chunks import in_chunks
from recipe.data.store import MARKER, STORE, read_own
from recipe.data.unreadable import read, why_unreadable
from recipe.data.walk import broken_link, walk
from recipe.errors import DataError
from recipe.files import LOCK, lock, write_atomically

FORMAT = 1
JPEG = ("JPEG", "MPO")  # Pillow's names; the latter is what many cameras write
ORIENTATION = 0x0112  # EXIF's tag
LISTED = 10  # corrupt images that are named


@dataclass(frozen=True)
class Settings:
    """What a store is made of, and how."""

    source: str  # fingerprint of the original training folder
    train_dir: str  # relative to the original data set's folder; "." where that is itself one folder of class folders
    max_side: int  # pixels
    quality: int  # as Pillow counts it
    versions: dict[str, str]


def prepare(
    source: Path, target: Path, train_dir: str | None, max_side: int, quality: int, workers: int, skip_corrupt: bool
) -> dict[str, Any]:
    """What store.json says of the store, of which everything, or what is missing, is made.

    Args:
        train_dir: the training folder below source; None: train where there is one, else source itself.
        skip_corrupt: leave out images that cannot be read, and count them.

    Raises DataError; RunError where another process is at it; OSError and BrokenProcessPool. What is done stays.
    """
    images, settings = _find(source, target, train_dir, max_side, quality)
    target.mkdir(parents=True, exist_ok=True)
    with lock(target / LOCK) or nullcontext():
        return _finished(target, settings) or _make(source, target, images, settings, workers, skip_corrupt)


def stored_name(name: str) -> str:
    """What an image is called in the store: its suffix says what it is."""
    return name if name.lower().endswith((".jpg", ".jpeg")) else f"{name}.jpg"


def _find(
    source: Path, target: Path, train_dir: str | None, max_side: int, quality: int
) -> tuple[ImageFolder, Settings]:
    """The original training images, and what the store is to be. Raises DataError where there cannot be one."""
    if not source.is_dir():
        raise DataError(f"there is no folder {source}")
    if read_own(source / STORE) or read_own(source / MARKER):
        raise DataError(f"{source} is a store itself: prepare another one from the originals")
    train_dir = train_dir or ("train" if (source / "train").is_dir() else ".")
    if os.path.isabs(train_dir) or ".." in Path(train_dir).parts:
        raise DataError(f"--train-dir {train_dir}: name a folder in {source}, relative to it")
    for folder in (source, source / train_dir):
        if target.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"{target} lies in {folder}: name a folder outside of the originals")
    images = scan_folder(source / train_dir)
    before = (read_own(target / MARKER) or read_own(target / STORE) or {}).get("source")
    if before == images.earlier != "":
        images = images.as_before()  # an earlier version began the store, which found less
    names = {images.name(number) for number in range(len(images))}
    clash = min((name for name in names if stored_name(name) != name and stored_name(name) in names), default=None)
    if clash is not None:
        raise DataError(f"{images.root / clash} and {stored_name(clash)} would have one name: rename one of them")
    versions = {"pillow": PIL.__version__, "recipe": __version__}
    return images, Settings(images.fingerprint, os.path.normpath(train_dir), max_side, quality, versions)


def _finished(target: Path, settings: Settings) -> dict[str, Any] | None:
    """What store.json says where the store is finished; None where there is something left to do.

    Raises DataError where the folder holds another store, or none and not nothing.
    """
    marker, facts = read_own(target / MARKER), read_own(target / STORE)
    before = marker or facts
    if before is None:
        if any(not path.name.startswith(".") for path in target.iterdir()):
            raise DataError(f"{target} is not empty, and no store: name another folder")
        return None
    wanted = asdict(settings)
    if not marker:
        wanted["versions"] = before.get("versions")  # what is whole may be of another version
    changed = [
        f"{name} {before.get(name)} there, {wanted[name]} here" for name in wanted if before.get(name) != wanted[name]
    ]
    if before.get("source") != settings.source:
        changed[0] = "of other training images, or these have changed since"
    if changed:
        raise DataError(f"{target} holds another store ({'; '.join(changed)}): name another folder, or delete this one")
    print(f"Going on with {target}, which was begun before" if marker else f"Finished already: {target}")
    return None if marker else facts


def _make(
    source: Path, target: Path, images: ImageFolder, settings: Settings, workers: int, skip_corrupt: bool
) -> dict[str, Any]:
    """Everything, in the order that makes the store trustworthy: marker, files, a look at them, store.json."""
    options = (f"--{name.replace('_', '-')}={getattr(settings, name)}" for name in ("train_dir", "max_side", "quality"))
    command = shlex.join(["recipe", "data", "store", *options, str(source.resolve()), str(target.resolve())])
    write_atomically(target / MARKER, json.dumps({**asdict(settings), "command": command}, indent=2) + "\n")
    for leftover in target.rglob(".*.tmp"):
        leftover.unlink()  # of a process that was killed while it wrote
    if settings.train_dir == ".":
        print(f"{source} has no training folder: all its images are re-encoded, those that will validate as well")
    others = _others(source, images, settings.train_dir)
    for name in others:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(source / name, target / name)
    print(f"{len(others):,} other files, such as validation images, are linked, or copied, as they are")
    counts, corrupt = _store_images(images, target / settings.train_dir, settings, workers)
    if counts["guessed"]:
        print(f"{counts['guessed']:,} deep images: the range of their values was guessed; how, says docs/DATA.md")
    if corrupt:
        _report_corrupt(corrupt, len(images), skip_corrupt)
    stored = scan_folder(target / settings.train_dir)
    if images.kept_out:  # they are linked as they are
        stored = stored.as_before()
    if len(stored) != counts["re_encoded"] + counts["kept"] or stored.classes != images.classes:
        raise DataError(f"{target} has lost or got files of others meanwhile: delete it and begin anew")
    figures = {name: counts[name] for name in ("re_encoded", "kept", "bytes_before", "bytes_after")}
    facts = {"format": FORMAT, **asdict(settings), "images": len(stored), "left_out": len(corrupt), **figures}
    write_atomically(target / STORE, json.dumps(facts, indent=2) + "\n")
    (target / MARKER).unlink()
    return facts


def _report_corrupt(corrupt: list[str], images: int, skip: bool) -> None:
    """Name the first ones. Raises DataError where they are not to be left out."""
    listed = "\n  ".join(["", *sorted(corrupt)[:LISTED], *(["…"] if len(corrupt) > LISTED else [])])
    if not skip:
        raise DataError(
            f"{len(corrupt)} of {images:,} images cannot be read. All others are done; the same command goes on once "
            f"these are put right, or with --skip-corrupt without them:{listed}"
        )
    print(f"{len(corrupt)} of {images:,} images are left out:{listed}")


def _others(source: Path, images: ImageFolder, train_dir: str) -> list[str]:
    """The files that are no training images, relative to source; hidden ones are left out, as in every scan.

    What is neither a file nor a folder is left out and told. Raises DataError.
    """
    found = walk(source, without="" if train_dir == "." else train_dir, aliases=True)
    if found.broken:
        raise broken_link(source, found.broken)
    names = (*images.strays, *images.kept_out)
    in_class_folders = [os.path.normpath(f"{train_dir}/{name}") for name in names if "/" in name]
    for line in left_out(images.root, names):
        print(f"{line}, of the training images")
    for line in left_out(source, [], [*found.not_files, *images.not_files]):
        print(line)
    return [*(name for name, _ in found.files), *in_class_folders]


def _link_or_copy(source: Path, target: Path) -> None:
    """The same bytes under another name: in no space, where the disk can do that."""
    if target.is_file():
        return
    try:
        os.link(os.path.realpath(source), target)
    except OSError:  # another disk, one without links, or a file that is not ours
        write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))


def _store_images(
    images: ImageFolder, target: Path, settings: Settings, workers: int
) -> tuple[Counter[str], list[str]]:
    """All training images, by several processes: what became of them, and what is wrong with those that are corrupt."""
    names = [images.name(number) for number in range(len(images))]
    for folder in {os.path.dirname(name) for name in names}:
        (target / folder).mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    corrupt: list[str] = []
    work = partial(_store_some, images.root, target, settings)
    for counted, wrong in in_chunks(work, names, workers):
        counts += counted
        corrupt += wrong
    return counts, corrupt


def _store_some(source: Path, target: Path, settings: Settings, names: list[str]) -> tuple[Counter[str], list[str]]:
    counts: Counter[str] = Counter()
    corrupt = []
    for name in names:
        original, stored = source / name, target / stored_name(name)
        try:
            kind, guessed = _store_image(original, stored, settings)
        except DataError as error:
            corrupt.append(str(error))
            continue
        counts.update(
            {kind: 1, "guessed": guessed, "bytes_before": original.stat().st_size, "bytes_after": stored.stat().st_size}
        )
    return counts, corrupt


def _store_image(original: Path, stored: Path, settings: Settings) -> tuple[str, bool]:
    """Write one image, unless it is there already. Raises DataError where it is corrupt.

    Returns:
        re_encoded or kept, and whether the range of its values was guessed.
    """
    there = stored.is_file()
    encoded = b"" if there else read(original)
    try:
        pixels, guess = (
            (None, "") if there else decode_any(encoded)
        )  # also of an image that is kept: no corrupt one comes in
        with Image.open(original) as picture:
            keep = picture.format in JPEG and max(picture.size) <= settings.max_side
            orientation = _orientation(picture)
    except Exception as error:  # decoders raise anything on damaged files
        raise DataError(f"{original}: {why_unreadable(error, original)}") from error
    if keep:
        _link_or_copy(original, stored)
    elif pixels is not None:
        write_atomically(stored, _encode(to_pil_image(pixels), orientation, settings))
    return "kept" if keep else "re_encoded", bool(guess)


def _orientation(picture: Image.Image) -> int | None:
    """What data.exif_orientation=true would go by."""
    if picture.format == "TIFF":
        return None  # Pillow turns these whether asked to or not
    if picture.format in JPEG and picture.mode != "CMYK":
        picture.info.pop("xmp", None)  # such files are read by torchvision, which looks at EXIF alone
    try:
        orientation = picture.getexif().get(ORIENTATION)
    except Exception:  # broken EXIF data: any of a dozen errors
        return None
    return orientation if orientation in range(1, 9) else None


def _encode(picture: Image.Image, orientation: int | None, settings: Settings) -> bytes:
    """The image as JPEG, its longer side max_side at most."""
    longer = max(picture.size)
    if longer > settings.max_side:
        width, height = (max(1, round(side * settings.max_side / longer)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    tag = Image.Exif()
    tag[ORIENTATION] = orientation
    file = io.BytesIO()
    options = {} if orientation is None else {"exif": tag}
    picture.save(file, "JPEG", quality=settings.quality, optimize=True, **options)
    return file.getvalue()
