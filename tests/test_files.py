import os
import signal
from pathlib import Path

import pytest

from recipe import files
from recipe.errors import RunError


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
