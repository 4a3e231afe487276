r"""Words in any locale, and names of files whatever their bytes: files are written in UTF-8, screens get what they can.

A name on the disk is bytes. Those that are no UTF-8 are lone surrogates in Python, which neither files nor libraries
take: wherever a name is shown, such a byte stands as `\xe9`. Names that are opened again keep their bytes.
"""

import codecs
import io
import os
import sys
from pathlib import Path

SHOWN = "recipe-shown"  # an error handler: for open(errors=…) and str.encode(errors=…)
PLAIN = {"…": "...", "→": "->", "−": "-", "×": "x", "–": "-", "“": '"', "”": '"', "’": "'", "\u00a0": " "}
OURS = ("train", "recipe", "recipe.train", "recipe.__main__")  # programs that may be started again


def shown(text: str) -> str:
    """The text for files and libraries, which take no byte that is not UTF-8."""
    return text.encode("utf-8", SHOWN).decode("utf-8")


def as_json_text(text: str) -> str:
    """The same of a JSON text: such a byte becomes an escape that Python's json reads back as it was."""
    return "".join(f"\\u{ord(letter):04x}" if _is_byte(letter) else letter for letter in text)


def any_locale() -> None:
    """At the beginning of a program: no letter that a terminal lacks ends it, and files and names are UTF-8.

    Where the locale reads file names in another encoding, the program is started again, in the same process, in
    Python's UTF-8 mode: a class folder then has the same name, and a data set the same fingerprint, in every locale.
    """
    if sys.getfilesystemencoding().lower() != "utf-8" and "PYTHONUTF8" not in os.environ and _program() in OURS:
        terminal = {"PYTHONIOENCODING": os.environ.get("PYTHONIOENCODING") or f"{sys.stdout.encoding}:backslashreplace"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **terminal, "PYTHONUTF8": "1"})
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=SHOWN)


def _program() -> str:
    """What runs: the module that `python -m` was given, or the script's name."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return str(spec.name) if spec is not None else Path(getattr(main, "__file__", "")).stem


def _is_byte(letter: str) -> bool:
    return "\udc80" <= letter <= "\udcff"


def _plain(letter: str) -> str:
    if _is_byte(letter):
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode("ascii")


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)  # what is read is never guessed
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


codecs.register_error(SHOWN, _replace)
