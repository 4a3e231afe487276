"""Folders with whatever links and things that are no files: walked once, ended, and named."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from photos import encoded, photo

from recipe.data.folder import scan_folder
from recipe.data.prepare.archives import members
from recipe.data.prepare.store import prepare
from recipe.data.prepare.verify import verify
from recipe.data.walk import walk
from recipe.errors import DataError
from recipe.finished.prediction import find_photos

IMAGE = encoded(photo(20, 30), "PNG")
COUNT = 6  # images, in all


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("ant", "bee", "bee/young"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(COUNT // 3):
            (tmp_path / "photos" / name / f"{number}.png").write_bytes(IMAGE)
    return tmp_path / "photos"


def loop_to_root(root: Path) -> list[str]:
    (root / "ant" / "loop").symlink_to(root)
    return ["ant/loop (the same folder as .)"]


def two_loops(root: Path) -> list[str]:
    (root / "ant" / "bees").symlink_to(root / "bee")
    (root / "bee" / "ants").symlink_to(root / "ant")
    return ["ant/bees (the same folder as bee)", "bee/ants (the same folder as ant)"]


def link_to_a_folder_in_another_class(root: Path) -> list[str]:
    (root / "ant" / "borrowed").symlink_to(root / "bee" / "young")
    return ["ant/borrowed (the same folder as bee/young)"]


def loop_beside(root: Path) -> list[str]:
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere" / "back").symlink_to(root.parent)
    (root / "bee" / "out").symlink_to(root.parent / "elsewhere")
    return ["bee/out/back/photos (the same folder as .)", "bee/out/back/elsewhere (the same folder as bee/out)"]


def named_pipe(root: Path) -> list[str]:
    os.mkfifo(root / "ant" / "pipe.png")
    return ["ant/pipe.png (a named pipe)"]


def open_socket(root: Path) -> list[str]:
    here = os.getcwd()
    os.chdir(root / "bee")  # the name of a socket may have 107 bytes
    try:
        socket.socket(socket.AF_UNIX).bind("talk.png")
    finally:
        os.chdir(here)
    return ["bee/talk.png (a socket)"]


def device(root: Path) -> list[str]:
    (root / "ant" / "zero.png").symlink_to("/dev/zero")
    return ["ant/zero.png (a device)"]


TROUBLE = [loop_to_root, two_loops, link_to_a_folder_in_another_class, loop_beside, named_pipe, open_socket, device]


@pytest.mark.parametrize("make", TROUBLE)
def test_everything_that_reads_a_folder_ends_and_names_what_it_leaves_out(
    root: Path, tmp_path: Path, make: Callable[[Path], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    before = scan_folder(root).fingerprint
    named = sorted(make(root))
    images = scan_folder(root)
    assert (len(images), images.fingerprint) == (COUNT, before)
    assert images.not_files == named
    assert walk(root).not_files == named

    found = verify(root, 1)
    assert (found.images, found.bad, found.others) == (COUNT, {}, 0)
    assert named[0] in found.left_out[0]

    said: list[str] = []
    files, nothing = find_photos([str(root)], said)
    assert (len(files), nothing) == (COUNT, [])
    assert named[0] in said[0]

    facts = prepare(root, tmp_path / "store", None, 16, 90, 1, False)
    assert facts["images"] == COUNT
    assert named[0] in capsys.readouterr().out
    assert len(list(members(root, lambda name: name.endswith("0.png")))) >= 3


def test_links_to_folders_elsewhere_are_followed(root: Path, tmp_path: Path) -> None:
    (root / "bee").rename(tmp_path / "bees")
    (root / "bee").symlink_to(tmp_path / "bees")
    images = scan_folder(root)
    assert (images.classes, len(images), images.not_files) == (["ant", "bee"], COUNT, [])
    assert images.name(COUNT - 1) == "bee/young/1.png"


def test_class_that_is_the_folder_of_another_is_refused(root: Path) -> None:
    (root / "bumblebee").symlink_to(root / "bee")
    with pytest.raises(DataError, match=r"bumblebee has no images \(the same folder as bee\)"):
        scan_folder(root)


@pytest.mark.parametrize("target", ["nowhere", "cat"], ids=["missing", "itself"])
@pytest.mark.parametrize("place", ["", "ant"])
def test_link_that_leads_nowhere_is_named(root: Path, place: str, target: str) -> None:
    link = root / place / "cat"
    link.symlink_to(target)
    with pytest.raises(DataError, match=f"{link} is a link to something that is not there"):
        scan_folder(root)
    assert verify(root, 1).bad == {str(link.relative_to(root)): "a link to something that is not there"}
    assert len(find_photos([str(root)])[0]) == COUNT


def test_images_beside_the_class_folders_are_told(root: Path) -> None:
    (root / "lost.png").write_bytes(IMAGE)
    (root / "README.txt").write_text("about these photos")
    assert scan_folder(root).strays == ["lost.png"]
