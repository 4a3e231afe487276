"""At a run's end a terminal shows its curves, where they rise and fall as the figures do; no file has the drawing."""

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from synthetic import write_run

from recipe.logs.text_curves import drawn, of_run, shows_braille
from recipe.plan.compose import PROJECT

RISING = {"val/acc1": {1: 20.0, 2: 40.0, 3: 60.0, 4: 80.0}, "val/loss": {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0}}
RUN = (
    *("+recipe=v1", "scale=demo", "scale.resolution=0.0715", "model.name=shufflenet_v2_x0_5", "data=synthetic"),
    *("data.size=64", "data.workers=0", "log.images=false", "epochs=3", "evaluate.every=1", "ema.decay=null"),
    *("batch_size=32", "micro_batch_size=32", "schedule.warmup_epochs=1"),
)
TIMEOUT = 240  # seconds


def heights(lines: list[str], left: int, right: int) -> list[float]:
    """The mean height of the dots in each column of letters, in dots from below; of lines without title and axis."""
    found = []
    for column in range(left, right):
        set_dots = []
        for row, line in enumerate(reversed(lines)):
            code = max(0, ord(line.ljust(right)[column]) - 0x2800)
            for place, bits in enumerate((0xC0, 0x24, 0x12, 0x09)):  # of a letter's lowest dots, and upwards
                set_dots += [4 * row + place] * bool(code & bits)
        found.append(sum(set_dots) / len(set_dots))
    return found


def test_lines_rise_and_fall_as_the_figures_do() -> None:
    lines = drawn(RISING, 79)
    assert len(lines) == 8
    assert lines[0].split() == ["top-1,", "%", "loss"]
    begin = lines[1].index("┤") + 1
    end = lines[1].index("val 80.0") - 1
    accuracy = heights([line[:40] for line in lines[1:7]], begin, end)
    assert accuracy == sorted(accuracy)
    assert (accuracy[0] < 1, accuracy[-1] > 22) == (True, True)
    assert accuracy[len(accuracy) // 2] == pytest.approx(11.5, abs=1)  # straight: the figures are
    begin = lines[1].index("┤", 40) + 1
    losses = heights(lines[1:7], begin, lines[6].index("val 1.00") - 1)
    assert losses == sorted(losses, reverse=True)
    assert lines[1].startswith("80.0 ┤")
    assert lines[6].startswith("20.0 ┤")
    assert "1 ─" in lines[7]
    assert lines[7].endswith("4 epochs")


@pytest.mark.parametrize("columns", [71, 79, 100, 200])
def test_it_fits(columns: int) -> None:
    long = {
        f"{kind}/{name}": {epoch: 1000.0 / epoch for epoch in range(1, 601)}
        for kind in ("val", "ema", "train")
        for name in ("acc1", "loss")
    }
    for series in (RISING, long):
        lines = drawn(series, columns)
        assert len(lines) == 8
        assert max(map(len, lines)) <= min(columns, 120)


def test_every_figure_that_is_there_is_named_and_none_that_is_not() -> None:
    """Lines that end at one height have names below one another."""
    same = {"val/acc1": {1: 1.0, 2: 50.0}, "ema/acc1": {1: 2.0, 2: 50.0}, "train/acc1": {1: 3.0, 2: 50.0}}
    text = drawn(same, 79)
    assert [name for line in text for name in ("val", "EMA", "train") if f"{name} 50.0" in line] == [
        "val",
        "EMA",
        "train",
    ]
    assert "loss" not in "\n".join(text)
    assert "train" not in "\n".join(drawn(RISING, 79))


def test_one_epoch_is_no_curve() -> None:
    assert drawn({"val/acc1": {6: 50.0}, "val/loss": {6: 1.0}}, 79) == []
    once = drawn({"val/acc1": {6: 50.0}, "val/loss": {6: 1.0}, "train/loss": {1: 2.0, 6: 0.5}}, 79)
    assert "top-1" not in once[0]
    assert any("val 1.00" in line for line in once)


@pytest.mark.parametrize(
    ("encoding", "term", "shown"),
    [
        *(("utf-8", "xterm-256color", True), ("UTF-8", "screen", True), ("utf-8", "dumb", False)),
        *(("utf-8", "linux", False), ("utf-8", "", False), ("ascii", "xterm", False), (None, "xterm", False)),
    ],
)
def test_terminals_that_have_the_letters(encoding: str | None, term: str, shown: bool) -> None:
    assert shows_braille(encoding, term) == shown


def test_nothing_is_drawn_where_it_cannot_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "runs")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    terminal, other = pty.openpty()
    with open(terminal), open(other, "w", encoding="utf-8") as screen, (tmp_path / "log").open("w") as file:
        assert len(of_run(folder, screen)) == 9
        assert of_run(folder, file) == []
        assert of_run(tmp_path, screen) == []  # no figures
        monkeypatch.setenv("COLUMNS", "71")
        assert of_run(folder, screen) == []


def test_a_run_shows_its_curves_on_a_terminal_and_in_no_file(tmp_path: Path) -> None:
    terminal, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "train.py", *RUN, f"hydra.run.dir={tmp_path / 'run'}"],
        stdin=subprocess.DEVNULL,
        stdout=other,
        stderr=subprocess.PIPE,
        cwd=PROJECT,
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm", "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"},
    )
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.extend(iter(lambda: _read(terminal), b"")))
    reader.start()
    _, errors = process.communicate(timeout=TIMEOUT)
    os.close(other)
    reader.join(TIMEOUT)
    assert process.returncode == 0, errors
    lines = b"".join(said).decode().splitlines()
    assert sum("┤" in line for line in lines) == 2
    assert any("recipe curves" in line for line in lines)
    assert "┤" not in (tmp_path / "run" / "train.log").read_text()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # its other end is closed
        return b""
