"""`recipe data …`: what is done with data sets before training."""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipe.errors import DataError, RunError
from recipe.guesses import did_you_mean
from recipe.machine import limits
from recipe.output import count

if TYPE_CHECKING:
    from recipe.data.prepare.verify import Size

NAMES = {  # of recipe.data.prepare.originals → of conf/data
    "tiny-imagenet": "tiny_imagenet",
    "caltech256": "caltech",
    "intel": "intel",
    "imagenet": "imagenet",
    "cifar10": "cifar10",
    "imagenette": "imagenette",
}


def add_to(parsers: Any) -> None:
    """The command's own commands, and their arguments."""
    parser = parsers.add_parser(
        "data", help="prepare, split and verify data sets", description="What is done with data sets."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_prepare(commands)
    add_split(commands)
    add_verify(commands)
    add_store(commands)


def add_prepare(commands: Any) -> None:
    """The arguments of `recipe data prepare`."""
    parser = commands.add_parser(
        "prepare",
        help="a known data set's download, as class folders",
        description=f"Make DST with train/CLASS/FILE and val/CLASS/FILE, and predict/FILE where images have no labels, "
        f"from the original download of {', '.join(NAMES)}. The images are counted. (A store of smaller training "
        "images is made by `recipe data store`.)",
        epilog="Example: recipe data prepare tiny-imagenet tiny-imagenet-200.zip /data/tiny-imagenet",
    )
    parser.add_argument("name", metavar="NAME", type=known_name, help=", ".join(NAMES))
    parser.add_argument("source", type=Path, metavar="SRC", help="the archive, or a folder with it or its content")
    parser.add_argument("target", type=Path, metavar="DST", help="a new folder")
    parser.add_argument("--plain-names", action="store_true", help="caltech256: llama instead of 134.llama-101")
    parser.add_argument("--any-count", action="store_true", help="take what there is, however many images it is")
    parser.add_argument("--copy", action="store_true", help="copy the files of a folder instead of linking them")
    parser.set_defaults(run=prepare)


def add_split(commands: Any) -> None:
    """The arguments of `recipe data split`."""
    parser = commands.add_parser(
        "split",
        help="a folder of class folders into train, val and test",
        description="Make DST with train/CLASS, val/CLASS and test/CLASS, of links to the images of SRC, or copies "
        "where the disk has no links.",
        epilog="Example: recipe data split photos photos-split --fractions 0.8,0.1,0.1",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="a folder of class folders")
    parser.add_argument("target", type=Path, metavar="DST", help="a new folder")
    rule = parser.add_mutually_exclusive_group(required=True)
    rule.add_argument(
        "--first",
        type=first_numbers,
        metavar="N[,N]",
        help="60,10: the first 60 of each class, sorted by name, are train, the next 10 val, the rest test",
    )
    rule.add_argument(
        "--fractions", type=fractions, metavar="F,F[,F]", help="shares of each class for train, val and test, drawn"
    )
    parser.add_argument("--seed", type=whole_number(0, 2**63 - 1), default=0, metavar="N", help="of that draw (0)")
    parser.add_argument(
        "--classes", type=lambda text: text.split(","), metavar="NAME,…", help="take these classes alone"
    )
    parser.add_argument("--copy", action="store_true", help="copy the images instead of linking them")
    parser.set_defaults(run=split)


def add_verify(commands: Any) -> None:
    """The arguments of `recipe data verify`."""
    parser = commands.add_parser(
        "verify",
        help="decode every image, and name those that cannot be read",
        description="Decode every image below ROOT as training does, name those that cannot be read, and count those "
        "out of the ordinary, which can. The exit code is 2 where one cannot be read.",
        epilog="Example: recipe data verify /data/imagenet",
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="a folder of images, at any depth; or archives")
    parser.add_argument("--workers", type=whole_number(1, 1024), metavar="N", help="processes (one a core)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=verify)


def add_store(commands: Any) -> None:
    """The arguments of `recipe data store`."""
    parser = commands.add_parser(
        "store",
        help="a copy with smaller training images, which decode faster",
        description="Make a store: the training images as JPEGs of at most --max-side pixels, which decode faster and "
        "are not the same pixels; all other files, validation images above all, are linked, or copied where the disk "
        "has no links. What is stopped goes on with the same command.",
        epilog="Example: recipe data store /data/imagenet /data/imagenet-400, then data.root=/data/imagenet-400",
    )
    parser.add_argument("source", type=Path, metavar="SRC", help="a data root, or one folder of class folders")
    parser.add_argument("target", type=Path, metavar="DST", help="a new folder")
    parser.add_argument("--train-dir", metavar="DIR", help="SRC's training folder (train, where there is one)")
    side = whole_number(8, 65_500)  # the most that JPEG can hold, in libjpeg
    parser.add_argument("--max-side", type=side, default=400, metavar="PIXELS", help="of the longer side (400)")
    parser.add_argument("--quality", type=whole_number(1, 100), default=90, metavar="N", help="of the JPEGs (90)")
    parser.add_argument("--workers", type=whole_number(1, 1024), metavar="N", help="processes (one a core)")
    parser.add_argument("--skip-corrupt", action="store_true", help="leave out images that cannot be read")
    parser.set_defaults(run=store)


def prepare(arguments: argparse.Namespace) -> None:
    """Make the class folders, and say how many images they hold. Raises DataError."""
    from recipe.data.prepare.arrange import arrange  # PyTorch, once the arguments are known to be right

    a = arguments
    if a.plain_names and a.name != "caltech256":
        raise DataError("--plain-names is for caltech256, whose folders carry numbers")
    with stopping_is_no_loss(a.target):
        made = arrange(a.name, a.source, a.target, a.plain_names, a.any_count, a.copy)
    say_what_is_there(a.target, *made, NAMES[a.name])


def split(arguments: argparse.Namespace) -> None:
    """Split the folder, and say how many images the parts have. Raises DataError."""
    from recipe.data.prepare.split_folder import split_folder

    a = arguments
    with stopping_is_no_loss(a.target):
        made = split_folder(a.source, a.target, a.first, a.fractions, a.seed, a.classes, a.copy)
    say_what_is_there(a.target, *made)


def say_what_is_there(
    target: Path, counts: dict[str, dict[str, int]], there_before: bool, option: str = "imagefolder"
) -> None:
    """The table of counts, and how to train on it."""
    from recipe.data.prepare.whole_folder import table

    if there_before:
        print(f"Finished already: {target}")
    print(table(counts))
    alone = " data.val_fraction=0.2, or split it: recipe data split" if "val" not in counts else ""
    print(f"To train on it: data={option} data.root={target}{alone}")


def verify(arguments: argparse.Namespace) -> None:
    """Decode everything and say what was seen. Raises DataError where an image cannot be read."""
    from recipe.data.prepare import verify as images
    from recipe.data.prepare.verify_archives import archives_at, base_of, verify_archives

    workers, archives = arguments.workers or limits.workers(), archives_at(arguments.root)
    base = base_of(arguments.root) if archives else arguments.root
    try:
        found = (
            verify_archives(arguments.root, archives, workers) if archives else images.verify(arguments.root, workers)
        )
    except BrokenProcessPool as error:
        raise DataError("a worker process was killed, perhaps for want of memory: try --workers 1") from error
    if arguments.json:
        bad = [{"file": name, "reason": reason} for name, reason in found.bad.items()]
        facts = {"root": os.fspath(arguments.root), "images": found.images, "bad": bad, "odd": dict(found.odd)}
        sizes = {which: {"width": s.width, "height": s.height, "file": s.name} for which, s in found.sizes().items()}
        more = {"left_out": found.left_out, "sizes": sizes, "classes": found.classes._asdict()}
        print(json.dumps({**facts, "other_files": found.others, **more}, indent=2))
    else:
        print(f"{count(found.images, 'image')} decoded, {count(found.others, 'other file')}")
        for line in found.left_out:
            print(line)
        for line in _sizes(base, found.sizes()):
            print(line)
        for name, times in found.odd.most_common():
            print(f"{times:>9,}  {name}")
        for line in (*found.classes.wrong, *found.classes.alike):
            print(line)
        for name, reason in found.bad.items():
            print(f"bad: {base / name}: {reason}")
    wrong = []
    if found.bad:
        links = f", which leaves out none of the {found.broken:,} broken links" if found.broken else ""
        wrong.append(
            f"{len(found.bad):,} of {found.images + found.broken:,} images in {arguments.root} cannot be read: replace "
            f"them, or train with data.on_corrupt=skip{links}"
        )
    if found.classes.wrong:
        wrong.append(f"class folders of {arguments.root} are empty or missing, as named above: training refuses that")
    if wrong:
        raise DataError("; ".join(wrong))


def _sizes(root: Path, sizes: "dict[str, Size]") -> Iterator[str]:
    if len({size.name for size in sizes.values()}) == 1:
        yield f"all of {sizes['median'].width:,} x {sizes['median'].height:,} px"
        return
    for which, size in sizes.items():
        yield f"{which:9} {size.width:,} x {size.height:,} px: {root / size.name}"


def store(arguments: argparse.Namespace) -> None:
    """Make the store, and say what it is. Raises DataError."""
    from recipe.data.prepare import store as stores
    from recipe.logs.journal import duration

    begin, a = time.monotonic(), arguments
    workers = a.workers or limits.workers()
    try:
        with stopping_is_no_loss(a.target):
            facts = stores.prepare(a.source, a.target, a.train_dir, a.max_side, a.quality, workers, a.skip_corrupt)
    except BrokenProcessPool as error:
        fewer = f"--workers {max(1, workers // 2)}"
        raise DataError(
            f"a worker process was killed, perhaps for want of memory: the same command goes on, with {fewer} in less"
        ) from error
    left_out = f", {facts['left_out']:,} left out" if facts["left_out"] else ""
    root = os.fspath(a.target)
    print(f"images  {facts['images']:,}: {facts['re_encoded']:,} re-encoded, {facts['kept']:,} as they were{left_out}")
    print(f"size    {size(facts['bytes_before'])} before, {size(facts['bytes_after'])} now")
    print(f"time    {duration(time.monotonic() - begin)}")
    print("The pixels are not those of the originals: compare results only with runs on this same store.")
    print(f"To train on it: data.root={root}" + (" data.val_fraction=0.2" if facts["train_dir"] == "." else ""))


@contextmanager
def stopping_is_no_loss(target: Path) -> Iterator[None]:
    """What ends such a command, in words. Raises DataError."""
    try:
        yield
    except KeyboardInterrupt:
        print("What is done stays: the same command goes on.")
        raise
    except RunError as error:
        raise DataError(f"another process is preparing {target}") from error
    except OSError as error:
        if error.filename is None:
            raise
        raise DataError(f"{error.filename}: {error.strerror}. What is done stays: the same command goes on") from error


def size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """What argparse is to accept."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text}: must be a whole number from {least} to {most}")
        return int(text)

    return parse


def known_name(text: str) -> str:
    """The name of a data set that can be prepared."""
    if text not in NAMES:
        hint = did_you_mean(text, list(NAMES)) or " A store of smaller images is made by: recipe data store SRC DST"
        raise argparse.ArgumentTypeError(f"{text}: must be one of {', '.join(NAMES)}.{hint}")
    return text


def first_numbers(text: str) -> list[int]:
    """One or two numbers of images."""
    numbers = [whole_number(1, 10**9)(number) for number in text.split(",")]
    if len(numbers) > 2:
        raise argparse.ArgumentTypeError(f"{text}: give one number, of train, or two, of train and val")
    return numbers


def fractions(text: str) -> list[float]:
    """Two or three shares that sum to 1."""
    try:
        shares = [float(share) for share in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) not in (2, 3) or not all(0 < share < 1 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise argparse.ArgumentTypeError(f"{text}: must be two or three shares that sum to 1, as in 0.8,0.1,0.1")
    return shares
