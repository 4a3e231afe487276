"""What is printed cannot be shown: the work is done all the same."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from photos import CLASSES, save_photos
from processes import steps_logged, when

from recipe.plan.compose import PROJECT

RUN = (
    *("+recipe=v1", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data=synthetic"),
    *("data.size=256", "data.workers=0", "log.images=false", "max_steps=2", "log.every_steps=1"),
)
Output = Callable[[], int]  # a descriptor of its own


def no_reader() -> int:
    """A pipe whose reader has gone: EPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def no_terminal() -> int:
    """A terminal that has gone: EIO."""
    terminal, process = pty.openpty()
    os.close(terminal)
    return process


def full_disk() -> int:
    """ENOSPC."""
    return os.open("/dev/full", os.O_WRONLY)


def only_read() -> int:
    """EBADF."""
    return os.open(os.devnull, os.O_RDONLY)


def closed() -> int:
    """As `>&- 2>&-`."""
    return -1


def begun(output: Output, *arguments: object, outputs: Path, errors: Output | None = None) -> "subprocess.Popen[str]":
    """A command that prints there, and its errors too where nothing else is given."""
    out = output()
    err = out if errors is None else errors()

    def shut() -> None:
        if out == -1:
            os.closerange(0, 3)

    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=None if out == -1 else out,
        stderr=None if out == -1 else err,
        cwd=PROJECT,
        env={**os.environ, "RECIPE_OUTPUTS": str(outputs), "OMP_NUM_THREADS": "1"},
        text=True,
        preexec_fn=shut,
    )
    for descriptor in {out, err} - {-1}:
        os.close(descriptor)
    return process


def code(process: "subprocess.Popen[str]") -> int:
    try:
        return process.wait(240)
    finally:
        process.kill()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for label, name in enumerate(CLASSES):
        save_photos(folder / name, label, 4)
    return folder


@pytest.mark.parametrize("output", [no_reader, no_terminal, full_disk, only_read, closed])
def test_command_writes_its_files(photos: Path, tmp_path: Path, output: Output) -> None:
    split = ("-m", "recipe", "data", "split", photos, tmp_path / "split", "--fractions", "0.5,0.5")
    assert code(begun(output, *split, outputs=tmp_path)) == 0
    assert len(list((tmp_path / "split").glob("*/*/*"))) == 12


def test_command_that_only_prints_says_that_it_could_not(tmp_path: Path) -> None:
    """`recipe explain v2 > file` on a full disk is no success; `recipe explain v2 | head` is."""
    for output, expected in ((full_disk, 1), (no_reader, 0)):
        reader, writer = os.pipe()
        process = begun(output, "-m", "recipe", "explain", "v2", outputs=tmp_path, errors=partial(int, writer))
        with os.fdopen(reader) as file:
            said = file.read()
        assert code(process) == expected
        assert said == ("Not all that was printed could be shown: No space left on device\n" if expected else "")


def test_training_goes_on_when_its_terminal_closes_and_train_log_cannot_be_written(tmp_path: Path) -> None:
    """With bars: they are drawn on the terminal as long as it is there."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "train.log").symlink_to("/dev/full")
    terminal, other = pty.openpty()
    process = begun(partial(int, other), "train.py", *RUN, "max_steps=12", f"hydra.run.dir={folder}", outputs=tmp_path)
    when(lambda: steps_logged(folder) >= 2, process)
    os.set_blocking(terminal, False)
    said = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    assert code(process) == 0
    assert (folder / "result.json").exists()
    assert "train.log cannot be written (No space left on device)" in said


@pytest.mark.slow
@pytest.mark.parametrize("output", [no_reader, no_terminal, full_disk, closed])
def test_training_goes_on_to_its_end(tmp_path: Path, output: Output) -> None:
    assert code(begun(output, "train.py", *RUN, f"hydra.run.dir={tmp_path / 'run'}", outputs=tmp_path)) == 0
    assert (tmp_path / "run" / "result.json").exists()
    assert "top-1" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("output", [no_reader, no_terminal, full_disk, closed])
def test_sweep_goes_on_to_its_end(tmp_path: Path, output: Output) -> None:
    assert code(begun(output, "train.py", "-m", *RUN, "seed=0,1", outputs=tmp_path)) == 0
    assert len(list((tmp_path / "multirun_outputs").glob("*/seed=*/result.json"))) == 2


@pytest.mark.slow
def test_sweep_goes_on_when_its_terminal_closes(tmp_path: Path) -> None:
    """In the middle of its live block."""
    terminal, other = pty.openpty()
    process = begun(
        partial(int, other), "train.py", "-m", *RUN, "max_steps=null", "epochs=3", "seed=0,1", outputs=tmp_path
    )
    when(lambda: any(map(steps_logged, (tmp_path / "multirun_outputs").glob("*/seed=*"))), process)
    os.close(terminal)
    assert code(process) == 0
    assert len(list((tmp_path / "multirun_outputs").glob("*/seed=*/result.json"))) == 2


def test_predictions_are_written(photo_run: Path, tmp_path: Path) -> None:
    photos = photo_run.parent / "data" / "val"
    table, folder = tmp_path / "table.csv", tmp_path / "annotated"
    command = ("-m", "recipe", "predict", photo_run, photos, "--csv", table, "--annotate", folder)
    assert code(begun(no_terminal, *command, outputs=tmp_path)) == 0
    assert len(table.read_text().splitlines()) == 1 + 3 * len(list(folder.rglob("*.jpg"))) == 1 + 3 * 21
