"""Why a file cannot be read as an image, in words: one place for training, predictions and all commands."""

import os
import re

from PIL import Image, UnidentifiedImageError

from recipe.data.image_files import what_is_missing
from recipe.data.walk import not_a_file

# Errors whose messages are for people; what decoders raise beside them on damaged files is told with its name.
IN_WORDS = (OSError, RuntimeError, ValueError, SyntaxError, Image.DecompressionBombError)
BUILD_PATH = re.compile(r"(?:\w+, )?(?:[A-Za-z]:)?[/\\]\S+?:\d+[,:]? ?")  # where a library was compiled: file and line
IN_MEMORY = re.compile(r"\s*<[^<>]* at 0x[0-9a-fA-F]+>")

A_BOMB = "pixels, more than any photo has: a decompression bomb? A smaller copy can be read"
WITHOUT_IT = "`recipe data verify FOLDER` finds all such files; data.on_corrupt=skip goes on without them"


def read(path: str | os.PathLike[str]) -> bytes:
    """The file's bytes. Raises OSError; ValueError for a pipe or a device, which would never end."""
    kind = not_a_file(os.stat(path).st_mode)
    if kind is not None:
        raise ValueError(f"it is no file but {kind}")
    with open(path, "rb", buffering=0) as file:
        return file.read()


def why_unreadable(error: Exception, path: str | os.PathLike[str]) -> str:
    """What is wrong with an image file, on one line, without its name."""
    if isinstance(error, UnidentifiedImageError):  # whose own message names an object in memory
        missing = what_is_missing(os.fspath(path))
        return f"not an image that Pillow reads here: it takes {missing}" if missing else "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = (str(error).strip().splitlines() or [""])[0].replace(f" {os.fspath(path)}", "")
    text = IN_MEMORY.sub("", BUILD_PATH.sub("", text)).strip()
    if isinstance(error, Image.DecompressionBombError) and (pixels := re.search(r"\d+", text)):
        return f"{int(pixels[0]):,} {A_BOMB}"
    if isinstance(error, MemoryError) or "not enough memory" in text or "can't allocate memory" in text:
        return "there is not enough memory for its pixels"
    if isinstance(error, IN_WORDS) and text:
        return text
    return f"it is damaged ({type(error).__name__}{f': {text}' if text else ''})"
