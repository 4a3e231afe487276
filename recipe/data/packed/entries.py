"""What an archive holds: of each file its name, its size and where its bytes lie."""

from typing import NamedTuple

SIDECARS = (".cls", ".json")  # what WebDataset puts beside an image to label it
A_FILE = ""


class Entry(NamedTuple):
    """A file of an archive."""

    name: str  # with `/`; bytes that are no UTF-8 as os.fsdecode has them
    size: int  # bytes
    at: int  # where they begin in the archive
    stored: int  # bytes that they take there; fewer than `size` where they are deflated
    crc: int = -1  # of the content, where the archive has it
    deflated: bool = False
    kind: str = A_FILE  # what it is where it is no file, in words
    label: bytes = b""  # the content of a file that labels an image


def is_sidecar(name: str) -> bool:
    """Whether a file labels an image, by its name."""
    return name.lower().endswith(SIDECARS)
