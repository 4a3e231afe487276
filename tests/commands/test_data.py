"""`recipe data prepare`, `split` and `verify` as commands: what they print, refuse and end with."""

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from photos import encoded, photo

from recipe import __main__
from recipe.commands.data import NAMES
from recipe.data.prepare.originals import ORIGINALS
from recipe.plan import hashes
from recipe.plan.checks import check
from recipe.plan.compose import PROJECT, Plan

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `recipe data …`: exit code, output, errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["recipe", "data", *map(str, arguments)])
        code = 0
        try:
            __main__.main()
        except SystemExit as stopped:
            code = stopped.code if isinstance(stopped.code, int) else 1
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("bear", "chimp", "dog"):
        (tmp_path / "all" / name).mkdir(parents=True)
        for number in range(5):
            (tmp_path / "all" / name / f"{number}.jpg").write_bytes(encoded(photo(20, 30), "JPEG"))
    return tmp_path / "all"


def test_split_prints_its_counts(command: Command, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "zoo"
    arguments = ("split", photos, out, "--first", "2,1", "--classes", "bear,chimp")
    code, printed, errors = command(*arguments)
    assert (code, errors) == (0, "")
    assert [line.split() for line in printed.splitlines()[:-1]] == [
        ["class", "train", "val", "test"],
        ["bear", "2", "1", "2"],
        ["chimp", "2", "1", "2"],
        ["2", "classes", "4", "2", "4"],
    ]
    assert printed.endswith(f"data.root={out}\n")
    code, again, _ = command(*arguments)
    assert (code, again) == (0, f"Finished already: {out}\n{printed}")
    code, _, errors = command("split", photos, out, "--fractions", "0.6,0.4")
    assert code == 2
    assert errors.startswith(f"Error: {out} was made otherwise (")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["split", "a", "b"], "one of the arguments --first --fractions is required"),
        (["split", "a", "b", "--first", "1,2,3"], "give one number, of train, or two"),
        (["split", "a", "b", "--first", "0,2"], "must be a whole number from 1"),
        (["split", "a", "b", "--fractions", "0.8,0.1"], "must be two or three shares that sum to 1"),
        (["split", "a", "b", "--fractions", "1.0"], "must be two or three shares that sum to 1"),
        (["split", "a", "b", "--fractions", "0.5,nan"], "must be two or three shares that sum to 1"),
        (["split", "nowhere", "b", "--first", "1"], "Error: there is no folder nowhere\n"),
        (
            ["prepare", "imagenete", "a", "b"],
            "must be one of tiny-imagenet, caltech256, intel, imagenet, cifar10, imagenette. Did you mean",
        ),
        (["prepare", "/data/x", "b", "c"], "recipe data store SRC DST"),
        (["prepare", "intel", "nowhere", "b"], "Error: there is no nowhere: for intel SRC is the zip of seg_train"),
        (["prepare", "intel", "nowhere", "b", "--plain-names"], "--plain-names is for caltech256"),
        (["verify", "nowhere"], "Error: there is no folder nowhere\n"),
    ],
)
def test_wrong_arguments_are_one_message(command: Command, arguments: list[str], message: str) -> None:
    code, _, errors = command(*arguments)
    assert code == 2
    assert message in errors


def test_prepare_says_how_to_train(command: Command, tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("seg_train/seg_train/sea", "seg_train/seg_train/forest", "seg_test/seg_test/sea"):
            archive.writestr(f"{name}/1.jpg", encoded(photo(20, 30), "JPEG"))
        archive.writestr("seg_pred/seg_pred/2.jpg", encoded(photo(20, 30), "JPEG"))
    (tmp_path / "archive.zip").write_bytes(file.getvalue())
    code, _, errors = command("prepare", "intel", tmp_path / "archive.zip", tmp_path / "out")
    assert code == 2
    assert "train has 2 images, not 14,034" in errors
    code, printed, _ = command("prepare", "intel", tmp_path / "archive.zip", tmp_path / "out", "--any-count")
    assert code == 0
    assert [line.split() for line in printed.splitlines()[:-1]] == [
        ["class", "train", "val", "predict"],
        ["forest", "1", "0", "0"],
        ["sea", "1", "1", "0"],
        ["2", "classes", "2", "1", "1"],
    ]
    assert printed.endswith(f"data=intel data.root={tmp_path / 'out'}\n")


def test_verify_ends_with_code_2_where_an_image_is_bad(command: Command, photos: Path) -> None:
    code, printed, errors = command("verify", photos)
    assert (code, printed, errors) == (0, "15 images decoded, 0 other files\nall of 30 x 20 px\n", "")
    (photos / "bear" / "3.jpg").write_bytes(b"no image")
    code, printed, errors = command("verify", photos, "--workers", 1)
    assert code == 2
    assert f"bad: {photos / 'bear' / '3.jpg'}: " in printed
    assert errors.startswith(f"Error: 1 of 15 images in {photos} cannot be read")
    code, printed, _ = command("verify", photos, "--json")
    facts = json.loads(printed)
    assert code == 2
    assert [entry["file"] for entry in facts["bad"]] == [os.path.join("bear", "3.jpg")]
    assert (facts["images"], facts["odd"], facts["other_files"]) == (15, {}, 0)


def test_verify_advises_nothing_that_training_refuses(command: Command, photos: Path) -> None:
    """data.on_corrupt=skip does not leave out links that lead to nothing."""
    (photos / "bear" / "more.jpg").symlink_to("nowhere.jpg")
    code, _, errors = command("verify", photos, "--workers", 1)
    assert code == 2
    assert errors.startswith(f"Error: 1 of 16 images in {photos} cannot be read: replace them")
    assert errors.endswith("data.on_corrupt=skip, which leaves out none of the 1 broken links\n")


def test_verify_names_sizes_and_what_is_left_out(command: Command, photos: Path) -> None:
    (photos / "bear" / "wide.png").write_bytes(encoded(photo(20, 4000), "PNG"))
    (photos / "bear" / "notes.txt").write_text("of the photographer")
    code, printed, errors = command("verify", photos)
    assert (code, errors) == (0, "")
    assert printed.splitlines() == [
        "16 images decoded, 1 other file",
        "left out, no image by its name: bear/notes.txt",
        f"(1 file in {photos}: 1 .txt)",
        f"smallest  30 x 20 px: {photos}/bear/0.jpg",
        f"median    30 x 20 px: {photos}/bear/0.jpg",
        f"largest   4,000 x 20 px: {photos}/bear/wide.png",
    ]
    facts = json.loads(command("verify", photos, "--json")[1])
    assert facts["sizes"]["largest"] == {"width": 4000, "height": 20, "file": "bear/wide.png"}
    assert facts["left_out"][0].endswith("bear/notes.txt")


def test_verify_ends_with_code_2_where_training_would_refuse_the_class_folders(command: Command, photos: Path) -> None:
    (photos / "Dog").mkdir()
    (photos / "Dog" / "1.jpg").write_bytes((photos / "dog" / "1.jpg").read_bytes())
    code, printed, errors = command("verify", photos)
    assert (code, errors) == (0, "")
    assert printed.splitlines()[-1] == "alike: Dog and dog differ only in case or blanks"
    (photos / "empty").mkdir()
    code, printed, errors = command("verify", photos)
    assert code == 2
    assert "empty class: empty has no images" in printed.splitlines()
    assert errors.startswith(f"Error: class folders of {photos} are empty or missing")


def test_every_known_data_set_has_an_option_with_its_classes(plan: Callable[..., Plan], tmp_path: Path) -> None:
    assert list(NAMES) == list(ORIGINALS)
    for name, option in NAMES.items():
        planned = plan("+recipe=v1", f"data={option}", f"data.root={tmp_path}")
        check(planned.config)
        assert planned.name == f"v1~data={option}"
        assert planned.config.data.num_classes in (None, ORIGINALS[name].classes)
        assert f"recipe data prepare {name}" in (PROJECT / "conf" / "data" / f"{option}.yaml").read_text()
    assert hashes.training_hash(plan("+recipe=v1", "data=cifar10", f"data.root={tmp_path}").config)
