"""Words in any locale, and names of files that are no UTF-8, wherever they can stand."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PHOTO_RUN
from photos import save_photos
from safetensors import safe_open

from recipe import encoding
from recipe.data.folder import scan_folder
from recipe.files import write_atomically
from recipe.plan.compose import PROJECT, Plan

Recipe = Callable[..., int]
Capture = pytest.CaptureFixture[str]
ODD = os.fsdecode(b"caf\xe9")  # a folder from a disk of former times
TINY = (  # noqa: SIM905
    "scale=demo scale.resolution=0.15 data.workers=0 model.name=shufflenet_v2_x0_5 batch_size=16 micro_batch_size=8 "
    "epochs=1 log.images=false schedule.warmup_epochs=0"
).split()


@pytest.fixture(scope="module", params=["locale", "latin-1", "ascii"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One in which letters are lacking: a real locale where it can be made, or what Python is told."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    clean = {**clean, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    if request.param != "locale":
        return {**clean, "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": request.param}
    return {**clean, **latin_1(tmp_path_factory.mktemp("locales"))}


def latin_1(folder: Path) -> dict[str, str]:
    if shutil.which("localedef") is None:
        pytest.skip("localedef is not installed")
    name = "de_DE.ISO-8859-1"
    subprocess.run(["localedef", "-i", "de_DE", "-f", "ISO-8859-1", folder / name], capture_output=True, check=False)
    variables = {"LOCPATH": str(folder), "LC_ALL": name}
    code = "import sys; print(sys.stdout.encoding, sys.getfilesystemencoding())"
    if output([sys.executable, "-c", code], {**os.environ, **variables})[1].split() != ["iso8859-1", "iso8859-1"]:
        pytest.skip("localedef has no sources to make a Latin-1 locale of (Debian: locales)")
    return variables


def output(command: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, timeout=240, check=False)
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


def test_a_screen_without_our_letters_ends_nothing(environment: dict[str, str], tmp_path: Path) -> None:
    code = "import sys; print(sys.stdout.encoding)"
    assert output([sys.executable, "-c", code], environment)[1].strip() in ("iso8859-1", "latin-1", "ascii")
    status, said, errors = output([sys.executable, "-m", "recipe", "explain", "v2"], environment)
    assert (status, errors) == (0, "")
    assert "->" in said
    assert "\\u2192" not in said
    environment = {**environment, "RECIPE_OUTPUTS": str(tmp_path)}
    status, said, errors = output([sys.executable, "train.py", "-m", "+recipe=größe", "seed=0,1"], environment)
    assert said == "Composing and checking all jobs ...\n"
    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith("Error: ")


def test_data_are_the_same_in_every_locale(tmp_path: Path) -> None:
    """The names of the classes, the fingerprints, and UTF-8 in every file."""
    for split, count in (("train", 16), ("val", 4)):
        for label, name in enumerate(("größe", "猫", ODD)):
            save_photos(tmp_path / "data" / split / name, label, count)
    environment = {**os.environ, **latin_1(tmp_path), "OMP_NUM_THREADS": "1"}
    where = f"data.root={tmp_path / 'data'}", f"hydra.run.dir={tmp_path / 'run'}"
    command = [sys.executable, "train.py", "+recipe=v1", "data=imagefolder", *TINY, *where]
    status, said, errors = output(command, environment)
    assert status == 0, errors
    assert "größe 16, caf\\xe9 16, \\u732b 16" in said or "caf\\xe9 16, größe 16, \\u732b 16" in said
    about = json.loads((tmp_path / "run" / "environment.json").read_text("utf-8"))
    train_set = scan_folder(tmp_path / "data" / "train")
    assert about["classes"] == train_set.classes
    assert about["data"]["train"] == train_set.fingerprint
    assert "größe 16" in (tmp_path / "run" / "train.log").read_text("utf-8")


@pytest.mark.slow
def test_sweep_ends_and_its_consoles_are_utf_8(environment: dict[str, str], tmp_path: Path) -> None:
    for label, name in enumerate(("größe", "猫")):
        save_photos(tmp_path / "data" / name, label, 20)
    environment = {**environment, "RECIPE_OUTPUTS": str(tmp_path)}
    data = "data=imagefolder", f"data.root={tmp_path / 'data'}", "data.val_fraction=0.2"
    status, _, errors = output([sys.executable, "train.py", "-m", "+recipe=v1", *data, *TINY, "seed=0,1"], environment)
    assert status == 0, errors
    consoles = [path.read_text("utf-8") for path in tmp_path.glob("multirun_outputs/*/*/console.log")]
    assert len(consoles) == 2
    assert all("größe 16, 猫 16" in console for console in consoles)


@pytest.fixture(scope="module")
def odd_run(tmp_path_factory: pytest.TempPathFactory, plan: Callable[..., Plan]) -> Path:
    """A run whose class folders, and bad photos in all sets, have names that are no UTF-8."""
    from recipe.run.run import train

    root = tmp_path_factory.mktemp("odd")
    for split, count in (("train", 16), ("val", 7), ("test", 4)):
        for label, name in enumerate((ODD, "größe", "猫")):
            save_photos(root / "data" / split / name, label, count)
        (root / "data" / split / ODD / os.fsdecode(b"b\xe4d.jpg")).write_bytes(b"no photo")
    encoding.any_locale()  # as train.py begins
    options = "epochs=1", "log.images=true", "data.on_corrupt=skip", f"data.root={root / 'data'}"
    given = [*(option for option in PHOTO_RUN if not option.startswith(("epochs", "log."))), *options]
    composed = plan("+recipe=v2", *given)
    train(replace(composed, folder=root / "run"))
    return root / "run"


def text_files(folder: Path) -> list[Path]:
    kinds = {".json", ".jsonl", ".txt", ".log", ".yaml", ".csv", ".md", ".html", ".svg"}
    return [path for path in folder.rglob("*") if path.suffix in kinds]


def test_names_of_any_bytes_pass_through_a_training(odd_run: Path) -> None:
    assert (
        json.loads((odd_run / "environment.json").read_text())["classes"] == [ODD, "größe", "猫"]
        or ODD in (json.loads((odd_run / "environment.json").read_text())["classes"])
    )
    assert "caf\\xe9/b\\xe4d.jpg" in (odd_run / "unreadable.txt").read_text("utf-8")
    assert "caf\\xe9 17" in (odd_run / "train.log").read_text("utf-8")
    assert {path.name for path in text_files(odd_run)} >= {"train.log", "result.json", "unreadable.txt"}
    for path in text_files(odd_run):
        path.read_text("utf-8")


def test_names_of_any_bytes_pass_through_the_commands(
    odd_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture
) -> None:
    data = odd_run.parent / "data"
    assert recipe("evaluate", odd_run, "split=test", "data.on_corrupt=skip", "--report", "--out", tmp_path / "e") == 0
    assert "caf\\xe9" in capsys.readouterr().out
    files = "--csv", tmp_path / "t.csv", "--annotate", tmp_path / "annotated"
    assert recipe("predict", odd_run, data / "test", *files) == 2
    said = capsys.readouterr()
    assert "caf\\xe9/0.jpg" in said.out
    assert "caf\\xe9/b\\xe4d.jpg" in said.err
    assert "caf\\xe9/0.jpg" in (tmp_path / "t.csv").read_text("utf-8")
    assert len(list((tmp_path / "annotated").iterdir())) == 12
    assert recipe("export", odd_run, "--out", tmp_path / "m.safetensors") == 0
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert ODD in json.loads(file.metadata()["classes"])
    assert recipe("report", odd_run, "--out", tmp_path / "report") == 0
    assert recipe("data", "verify", data / "test", "--json") == 2
    assert "b\\udce4d.jpg" in capsys.readouterr().out
    for rule in (("--fractions", "0.5,0.5"), ("--first", "3")):
        assert recipe("data", "split", data / "train", tmp_path / "split", *rule) == 0
        assert "caf\\xe9" in capsys.readouterr().out
        assert len(list((tmp_path / "split" / "train" / ODD).iterdir())) >= 3
        shutil.rmtree(tmp_path / "split")
    for path in text_files(tmp_path):
        path.read_text("utf-8")


def test_a_library_that_takes_utf_8_alone_is_said_in_one_line(
    odd_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture
) -> None:
    """TensorBoard, of its folder."""
    assert recipe("report", odd_run, "--out", tmp_path / ODD) == 2
    errors = capsys.readouterr().err
    assert "caf\\xe9" in errors
    assert "not UTF-8" in errors
    assert errors.count("\n") == 1


def test_text_is_written_in_utf_8_and_read_back(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", f"größe 猫 {ODD}")
    assert (tmp_path / "a.txt").read_bytes() == "größe 猫 caf\\xe9".encode()
    kept = encoding.as_json_text(json.dumps(["größe", ODD], ensure_ascii=False))
    assert json.loads(kept.encode().decode()) == ["größe", ODD]
    assert "größe" in kept
