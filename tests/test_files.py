"""Files are whole or not there, whatever the disk can do; locks die with their process; and where caches lie."""

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from synthetic import write_ladder

from recipe import files
from recipe.errors import RunError
from recipe.files import write_atomically
from recipe.run.checkpoint import FORMAT, load_checkpoint, save_checkpoint


def in_a_process(hold: Path, with_child: bool) -> int:
    """A process that holds the lock, and may have a child that lives on; its id, once it holds it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        file = files.lock(hold)
        if with_child and os.fork() == 0:
            os.write(writing, b"held")
            signal.alarm(30)
            signal.pause()
        if not with_child:
            os.write(writing, b"held")
        assert file is not None
        signal.alarm(30)
        signal.pause()
    assert os.read(reading, 4) == b"held"
    return pid


@pytest.mark.parametrize("with_child", [False, True])
def test_lock_is_held_by_a_process_and_dies_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_child: bool
) -> None:
    """Though a child of it, a data worker say, lives on."""
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.5)
    pid = in_a_process(tmp_path / ".lock", with_child)
    with pytest.raises(RunError, match=rf"process {pid} on .* is training in {tmp_path}"):
        files.lock(tmp_path / ".lock")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    held = files.lock(tmp_path / ".lock")
    assert held is not None
    assert (tmp_path / ".lock").read_text().startswith(f"process {os.getpid()} on")
    held.close()


def test_lock_can_be_taken_again_when_it_was_closed(tmp_path: Path) -> None:
    for _ in range(2):
        held = files.lock(tmp_path / ".lock")
        assert held is not None
        held.close()


WITHOUT = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF)  # what file systems say that cannot do it


@pytest.mark.parametrize("number", WITHOUT, ids=errno.errorcode.get)
@pytest.mark.parametrize("what", ["folders", "files and folders"])
def test_disk_that_cannot_flush_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, what: str
) -> None:
    """No such file system is at hand: its answer is made here."""
    fsync = os.fsync

    def refused(descriptor: int) -> None:
        if what != "folders" or stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refused)
    save_checkpoint(tmp_path, {"epoch": 3}, keep=2)
    assert load_checkpoint(tmp_path).state == {"epoch": 3, "format": FORMAT}
    files.write_atomically(tmp_path / "file", "content")
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_what_did_not_reach_the_disk_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match=os.strerror(number)):
        files.write_atomically(tmp_path / "file", "content")
    assert not list(tmp_path.iterdir())


def test_folder_that_cannot_be_opened_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that may be written but not listed; root may list any, so the answer is made here."""
    opened = os.open

    def refused(path: Path, *arguments: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", refused)
    files.write_atomically(tmp_path / "file", "content")
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP], ids=errno.errorcode.get)
def test_disk_without_locks_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refused)
    assert files.lock(tmp_path / ".lock") is None
    assert not files.is_locked(tmp_path / ".lock")


def test_lock_that_cannot_be_looked_at_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep would wait for it for ever; the job itself says what is wrong. (Root may look at any.)"""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refused)
    assert not files.is_locked(tmp_path / ".lock")


@pytest.fixture
def no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder in which even root may make nothing; the temporary one that is left."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/sys/cache" if sys.platform == "linux" else "/dev/null/cache")
    return tmp_path / "tmp" / f"recipe-ladder-{os.getuid()}"


def test_home_that_cannot_be_written_is_replaced_by_a_temporary_folder(no_home: Path) -> None:
    for _ in range(2):
        path = files.in_cache("part/file", Path.exists, lambda path: files.write_atomically(made(path), "content"))
        assert path == no_home / "part" / "file"
    assert stat.S_IMODE(no_home.stat().st_mode) == 0o700


def made(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


def test_what_lies_in_anothers_temporary_folder_is_not_taken(
    no_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("theirs")
    no_home.symlink_to(tmp_path / "theirs")
    with pytest.raises(RunError, match=r"file can be kept nowhere \(/.*XDG_CACHE_HOME=FOLDER"):
        files.in_cache("file", Path.exists, lambda path: path.write_text("ours"))
    no_home.unlink()
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    shutil.copytree(tmp_path / "theirs", no_home.with_name("recipe-ladder-54321"))
    with pytest.raises(RunError, match="can be kept nowhere"):
        files.in_cache("file", Path.exists, lambda path: path.write_text("ours"))


def test_cache_that_is_there_in_a_home_that_cannot_be_written_is_used(
    no_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "recipe-ladder").mkdir(parents=True)
    (tmp_path / "home" / "recipe-ladder" / "file").write_text("there")

    def make(path: Path) -> None:
        raise AssertionError

    assert files.in_cache("file", Path.exists, make).read_text() == "there"


def test_matplotlib_says_nothing_of_a_home_that_cannot_be_written(no_home: Path, tmp_path: Path) -> None:
    write_ladder(tmp_path / "runs", {"r00_baseline": 0.0, "r01_lr_optimizations": 3.0}, seeds=2)
    report = [sys.executable, "-m", "recipe", "report", str(tmp_path / "runs")]
    others = {key: value for key, value in os.environ.items() if key not in ("MPLCONFIGDIR", "XDG_CONFIG_HOME")}
    environment = {**others, "HOME": "/sys" if sys.platform == "linux" else "/dev/null", "TMPDIR": str(no_home.parent)}
    done = subprocess.run(report, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert any((no_home / "matplotlib").glob("fontlist*"))


def test_user_without_a_home_has_a_cache(no_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert files.cache_folders() == [no_home]


@pytest.mark.parametrize("content", ["grüß", "grüß".encode(), lambda path: path.write_text("grüß", encoding="utf-8")])
def test_file_is_written_whole(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "file"
    path.write_text("old and longer than the new one")
    write_atomically(path, content)
    assert path.read_text(encoding="utf-8") == "grüß"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise error

    with pytest.raises(error):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_file_is_on_the_disk_before_it_takes_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut cannot be tried here: the order of the calls is what there is to see."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        calls.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def noted_replace(source: Path, target: Path) -> None:
        calls.append(f"rename to {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    write_atomically(tmp_path / "file", "content")
    assert calls == [f"fsync .file.{os.getpid()}.tmp", "rename to file", f"fsync {tmp_path.name}"]
