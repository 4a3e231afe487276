"""Letters on pictures: those that are always there, those of a font of the system, and those that nobody has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from recipe.logs import lettering
from recipe.logs.lettering import Letters
from recipe.plan.compose import PROJECT

ALWAYS = (
    "ABCxyz 0123 %.,-_()…",
    "éèêëçñüößåøæœąćęłńóśźżčďěňřšťůžğışőűţșāēģķļņūđħŋþÿ",  # of the languages written in Latin
    "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρσςτυφχψωάέήίόύώϊϋ",
    "АБВГДЕЁЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдеёжзийклмнопрстуфхцчшщъыьэюяєіїґўјљњћџ",
)


@pytest.fixture(autouse=True)
def _anew() -> None:
    for remembered in (lettering._source, lettering._at_hand, lettering._of_the_system):
        remembered.cache_clear()


def pixels(text: str) -> bytes:
    picture = Image.new("L", (400, 40))
    Letters(20).draw(ImageDraw.Draw(picture), 2, 2, text, "white")
    return picture.tobytes()


def test_latin_greek_and_cyrillic_are_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the core's packages bring, on a machine without fonts and without matplotlib."""
    monkeypatch.setattr(lettering, "_matplotlibs", list)
    monkeypatch.setattr(lettering, "FOLDERS", ())
    monkeypatch.setenv("XDG_DATA_HOME", "/nowhere")
    monkeypatch.setenv("XDG_DATA_DIRS", "/nowhere")
    assert lettering.missing(ALWAYS) is None
    every = "".join(ALWAYS).replace(" ", "")
    box = pixels("猫")
    assert len({pixels(letter) for letter in every} - {box}) > 0.85 * len(every)  # Α is A; none is a box
    assert not any(pixels(letter) == box for letter in every)


def test_composed_and_decomposed_letters_look_alike() -> None:
    assert pixels("cafe\u0301") == pixels("café")
    assert pixels("caf\udce9") == pixels("caf\\xe9")


def test_letters_that_no_font_has_are_named_with_the_package_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "_of_the_system", tuple)
    line = lettering.missing(["dog", "猫", "犬 と 猫", "ไก่"])
    assert line is not None
    assert "猫犬" in line or ("猫" in line and "犬" in line)
    assert "fonts-noto-cjk" in line
    assert "fonts-noto-core" in line
    assert "\n" not in line


def cat_font(folder: Path) -> None:
    """A font that has 猫, a filled square, and nothing else."""
    builder = pytest.importorskip("fontTools.fontBuilder").FontBuilder(1000)
    pen_of = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord("猫"): "cat"})
    glyphs = {}
    for name, side in ((".notdef", 300), ("cat", 700)):
        pen = pen_of(None)
        pen.moveTo((0, 0))
        for corner in ((0, side), (side, side), (side, 0)):
            pen.lineTo(corner)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Cat CJK", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    folder.mkdir(parents=True)
    builder.save(folder / "CatCJK-Regular.ttf")


def test_fonts_of_the_system_are_found_and_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lettering, "FOLDERS", ())
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert lettering.missing(["猫"]) is not None
    box = pixels("猫")
    cat_font(tmp_path / "fonts" / "deep" / "er")
    _forget()
    assert lettering.missing(["猫 cat"]) is None
    assert pixels("猫") != box
    assert lettering.files(["猫", "dog"]) == [tmp_path / "fonts" / "deep" / "er" / "CatCJK-Regular.ttf"]


def test_confusion_has_letters_of_the_system_and_says_which_are_missing(tmp_path: Path) -> None:
    """In a process of its own: matplotlib remembers the fonts that it was given."""
    pytest.importorskip("matplotlib")
    cat_font(tmp_path / "data" / "fonts")
    script = f"""
import sys, numpy as np
sys.path.insert(0, {str(PROJECT / "tests")!r})
from pathlib import Path
from recipe.finished.evaluation import measures, report
names = ["猫", "犬", "a$b$", "caf\\udce9", "Größe"]
labels = np.repeat(np.arange(5), 2)
logits = np.eye(5, dtype=np.float16)[labels]
about = measures.describe("run", {{"split": "val", "weights": "raw", "val_resize": 8, "val_crop": 8}}, names,
    {{"acc1": 100.0, "acc5": 100.0, "balanced_acc1": 100.0, "loss": 0.0}}, (logits, labels, labels >= 0),
    (np.arange(0, 10, 2), np.arange(1, 10, 2)))
print(report.write(about, Path({str(tmp_path / "out")!r})))
"""
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error::UserWarning", "-c", script]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "猫" not in done.stdout
    assert "犬" in done.stdout or len(list(lettering._of_the_system())) > 1  # unless this machine has such fonts
    assert (tmp_path / "out" / "confusion.png").stat().st_size > 1000
    (tmp_path / "out" / "classes.csv").read_text("utf-8")


def _forget() -> None:
    for remembered in (lettering._source, lettering._of_the_system):
        remembered.cache_clear()
