"""`recipe data store` ends with the same store whatever stopped it, and refuses in one message what it cannot do."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from photos import encoded, photo
from PIL import Image
from processes import children, ended, killed, when

from recipe import __main__
from recipe.data.prepare.store import prepare

IMAGES = 400


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos that take a process some seconds, and one that is not to be re-encoded."""
    root = tmp_path_factory.mktemp("data") / "photos"
    for name in ("train/ant", "train/bee", "val/ant", "val/bee"):
        (root / name).mkdir(parents=True)
        (root / name / "small.jpg").write_bytes(encoded(photo(40, 50), "JPEG"))
    large = [encoded(photo(600, 900 + number), "JPEG") for number in range(4)]
    for number in range(IMAGES):
        (root / "train" / ("ant", "bee")[number % 2] / f"{number:03}.jpg").write_bytes(large[number % 4])
    return root


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "recipe", "data", "store", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def images(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for split in ("train", "val")
        for path in (folder / split).rglob("*")
        if path.is_file()
    }


def done(folder: Path) -> Iterator[Path]:
    return (path for path in (folder / "train").rglob("[0-9]*.jpg"))


@pytest.mark.slow
def test_interrupted_store_ends_as_an_undisturbed_one(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, stopped, shot = (source.with_name(name) for name in ("whole", "stopped", "shot"))
    by_hand, by_force = (started(source, target, "--max-side", 300, "--workers", 1) for target in (stopped, shot))
    with ThreadPoolExecutor() as both:  # whichever begins first
        waiting = both.submit(when, lambda: any(done(stopped)), by_hand)
        waiting.add_done_callback(lambda _: os.killpg(by_hand.pid, signal.SIGINT))  # as a terminal does it: to all
        when(lambda: any(done(shot)), by_force)
        workers = children(by_force)
        os.kill(by_force.pid, signal.SIGKILL)
    waiting.result()
    by_force.communicate(timeout=60)
    outcome = ended(by_hand, 60)
    assert outcome.returncode == 130
    assert outcome.stdout.endswith("the same command goes on.\n")
    assert outcome.stderr == "Error: stopped by hand.\n"

    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}/task").exists() for pid in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)
    for target in (stopped, shot):
        assert 0 < sum(1 for _ in done(target)) < IMAGES
        assert (target / "store.unfinished.json").exists()
        assert not (target / "store.json").exists()
        for path in done(target):
            with Image.open(path) as picture:
                picture.load()
                assert max(picture.size) == 300
    assert not list(stopped.rglob("*.tmp"))

    facts = prepare(source, whole, None, 300, 90, 2, False)
    prepare(source, stopped, None, 300, 90, 2, False)
    command = json.loads((shot / "store.unfinished.json").read_text())["command"].split()
    assert command[:3] == ["recipe", "data", "store"]
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", command)
    __main__.main()
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"images  {IMAGES + 2}: {IMAGES} re-encoded, 2 as they were\n" in printed.out
    assert re.search(r"size +\d+\.\d MB before, \d+\.\d MB now\ntime +0:00:\d\d\n", printed.out)
    assert "compare results only with runs on this same store" in printed.out
    assert printed.out.endswith(f"data.root={shot}\n")
    for target in (stopped, shot):
        assert images(target) == images(whole)
        assert json.loads((target / "store.json").read_text()) == facts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b", "--quality", "101"], "--quality: 101: must be a whole number from 1 to 100"),
        (["a", "b", "--max-side", "0"], "--max-side: 0: must be a whole number from 8 to 65500"),
        (["a", "b", "--workers", "-1"], "--workers: -1: must be a whole number"),
        (["a"], "required: DST"),
        (["nowhere", "b"], "Error: there is no folder nowhere\n"),
    ],
)
def test_wrong_arguments_are_one_message(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", "data", "store", *arguments])
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_wrong_arguments_do_not_wait_for_pytorch() -> None:
    lines = "import sys, recipe.__main__ as m\ntry: m.main()\nexcept SystemExit: print(*sys.modules)"
    command = [sys.executable, "-c", lines, "data", "store", "a", "b", "--quality=high"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "--quality: high" in outcome.stderr
    assert "torch" not in outcome.stdout.split()


def test_store_that_another_process_prepares_is_left_to_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("recipe.files.LOCK_SECONDS", 0.1)
    monkeypatch.setattr(sys, "argv", ["recipe", "data", "store", str(source), str(tmp_path)])
    hold = f"import fcntl, time; f = open({str(tmp_path / '.lock')!r}, 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print()"
    command = [sys.executable, "-uc", f"{hold}; time.sleep(60)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(SystemExit):
                __main__.main()
        finally:
            killed(other)
    assert capsys.readouterr().err == f"Error: another process is preparing {tmp_path}\n"
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_disk_that_refuses_is_one_message(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recipe", "data", "store", str(source), "/proc/store"])
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    assert stopped.value.code == 2
    message = "Error: /proc/store: No such file or directory. What is done stays: the same command goes on\n"
    assert capsys.readouterr().err == message


def test_killed_worker_is_one_message(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("recipe.data.prepare.store._encode", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    monkeypatch.setattr(sys, "argv", ["recipe", "data", "store", str(source), str(tmp_path), "--workers", "2"])
    with pytest.raises(SystemExit) as stopped:
        __main__.main()
    assert stopped.value.code == 2
    assert re.fullmatch(r"Error: a worker process was killed, .*--workers 1 in less\n", capsys.readouterr().err)
    assert (tmp_path / "store.unfinished.json").exists()
