"""Letters on pictures, of every script that this machine has a font for.

Latin, Greek and Cyrillic are Roboto's, whose files TensorBoard brings; Pillow's own font has ASCII alone. Other letters
come from matplotlib's font where it is installed, else from the first of the system's fonts that has them.
"""

import io
import os
import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from itertools import chain, groupby, islice
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from PIL import ImageDraw, ImageFont

from recipe.encoding import shown

Source = Path | bytes | None  # a font's file, or its content; None: Pillow's own

NOWHERE = "\U0010ffff"  # no font has it: it is drawn as a box, or as nothing
FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "/Library/Fonts", "/System/Library/Fonts")
SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
LIKELY = ("cjk", "wqy", "droidsansfallback", "noto", "unifont", "dejavu", "freesans")  # looked into first
PLAIN = ("regular", "sans", "medium")
MOST_FILES = 5000  # that are looked for
NAMED = 12  # letters in a message


class Letters:
    """Text of one size."""

    def __init__(self, size: int) -> None:
        """`size`: in pixels, of an em."""
        self.size = size
        self.above, self.below = _font(_at_hand()[0], size).getmetrics()

    @property
    def height(self) -> int:
        """Of a line."""
        return self.above + self.below

    def length(self, text: str) -> float:
        """The width of a line of text."""
        return sum(_font(source, self.size).getlength(part) for source, part in _parts(text))

    def draw(self, canvas: ImageDraw.ImageDraw, left: float, top: float, text: str, fill: str) -> None:
        """A line of text from its upper left corner."""
        for source, part in _parts(text):
            font = _font(source, self.size)
            canvas.text((left, top + self.above), part, fill=fill, font=font, anchor="ls")
            left += font.getlength(part)

    def cut(self, text: str, width: float) -> str:
        """As much of the text as fits, with … at its end where that is not all."""
        while len(text) > 1 and self.length(text) > width:
            text = text[:-2].rstrip("…") + "…"
        return text


def missing(texts: Iterable[str]) -> str | None:
    """What to say of letters that no font here has; None where there are none."""
    letters = sorted({letter for text in texts for letter in drawn(text) if _source(letter) is _NO_FONT})
    if not letters:
        return None
    some = "".join(letters[:NAMED]) + ("…" if len(letters) > NAMED else "")
    packages = " ".join(dict.fromkeys(map(_package, letters)))
    what = "1 letter" if len(letters) == 1 else f"{len(letters)} letters"
    boxes = f"no font here has {what} of the class names ({some}): boxes stand for them"
    return f"{boxes}. On Debian: apt install {packages}"


def files(texts: Iterable[str]) -> list[Path]:
    """The font files that hold letters beyond Roboto's."""
    sources = (_source(letter) for text in texts for letter in drawn(text))
    return list(dict.fromkeys(source for source in sources if isinstance(source, Path) and source is not _NO_FONT))


_NO_FONT = Path()  # as a source: of a letter that none has


def drawn(text: str) -> str:
    """What is drawn: composed (macOS keeps é as two letters), and without what has no form of its own."""
    composed = unicodedata.normalize("NFC", shown(text))
    return "".join(letter for letter in composed if unicodedata.category(letter) not in ("Cc", "Cf"))


def _parts(text: str) -> list[tuple[Source, str]]:
    """The text in pieces of one font each."""
    sources = {letter: _source(letter) for letter in drawn(text)}
    found = [(_at_hand()[0] if sources[letter] is _NO_FONT else sources[letter], letter) for letter in drawn(text)]
    return [(source, "".join(letter for _, letter in some)) for source, some in groupby(found, lambda pair: pair[0])]


@cache
def _source(letter: str) -> Source:
    """Whose letter it is."""
    if letter.isspace():
        return _at_hand()[0]
    for source in (*_at_hand(), *_of_the_system()):
        if _has(source, letter):
            return source
    return _NO_FONT


def _has(source: Source, letter: str) -> bool:
    try:
        forms = [_font(source, 16).getmask(one) for one in (letter, NOWHERE)]
    except (OSError, ValueError):  # no font, or one of fixed sizes
        return False
    one, other = ((form.size, bytes(form)) for form in forms)
    return one != other


@cache
def _font(source: Source, size: int) -> ImageFont.FreeTypeFont:
    if source is None:
        font = ImageFont.load_default(size)
        assert isinstance(font, ImageFont.FreeTypeFont)
        return font
    return ImageFont.truetype(io.BytesIO(source) if isinstance(source, bytes) else source, size)


@cache
def _at_hand() -> tuple[Source, ...]:
    """Fonts that installed packages bring."""
    return tuple(source for source in (*_roboto(), *_matplotlibs(), None) if _opens(source))


def _opens(source: Source) -> bool:
    try:
        _font(source, 16)
    except OSError:  # a Pillow that cannot read WOFF 2
        return False
    return True


def _roboto() -> list[bytes]:
    """The regular Roboto, Latin first: web fonts that TensorBoard has for its own pages, one for each script."""
    found = []
    with suppress(OSError, KeyError, BadZipFile), ZipFile(_folder_of("tensorboard") / "webfiles.zip") as archive:
        for face in re.findall("@font-face.*?}", archive.read("font-roboto/roboto.html").decode(), re.DOTALL):
            if all(part in face for part in ("'Roboto'", "style: normal", "weight: 400")):
                name = face.partition("url(/")[2].partition(")")[0]
                found.append(("U+0000" not in face, archive.read(name)))
    return [content for _, content in sorted(found, key=lambda pair: pair[0])]


def _matplotlibs() -> list[Path]:
    path = _folder_of("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return [path] if path.is_file() else []


def _folder_of(package: str) -> Path:
    """Of an installed package, which is not imported; a folder that is not there where it is not installed."""
    spec = find_spec(package)
    return Path(*(spec.submodule_search_locations or ["."])[:1]) if spec is not None else Path("no", package)


@cache
def _of_the_system() -> tuple[Path, ...]:
    """Font files, the likeliest first."""
    data = [os.environ.get("XDG_DATA_HOME") or "~/.local/share", *os.environ.get("XDG_DATA_DIRS", "").split(":")]
    folders = [*(f"{folder}/fonts" for folder in data if folder), *FOLDERS]
    below = (os.walk(os.path.expanduser(folder)) for folder in dict.fromkeys(folders))
    every = (Path(folder, name) for folder, _, names in chain.from_iterable(below) for name in sorted(names))
    fonts = (path for path in every if path.suffix.lower() in SUFFIXES and "lastresort" not in path.name.lower())

    def rank(path: Path) -> tuple[int, bool, str]:
        name = path.name.lower()
        likely = next((number for number, part in enumerate(LIKELY) if part in name), len(LIKELY))
        return likely, not any(part in name for part in PLAIN), str(path)

    return tuple(sorted(islice(fonts, MOST_FILES), key=rank))


def _package(letter: str) -> str:
    """The Debian package that has it."""
    name = unicodedata.name(letter, "")
    if name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")):
        return "fonts-noto-cjk"
    return "fonts-symbola" if unicodedata.category(letter) == "So" else "fonts-noto-core"
