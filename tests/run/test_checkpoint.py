"""A checkpoint comes back as it was saved; what is damaged is noticed; killed in any moment, a whole one is left."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from recipe.errors import RunError
from recipe.run.checkpoint import FORMAT, load_checkpoint, load_tensors, save_checkpoint, save_tensors


def state_of(epoch: int) -> dict[str, Any]:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "format": FORMAT,
        "epoch": epoch,
        "name": "a run",
        "losses": [0.5, None],
        "weights": dict(model.state_dict()),
        "momentum": [entry["momentum_buffer"] for entry in optimizer.state_dict()["state"].values()],
    }


def newest(folder: Path) -> dict[str, Any]:
    state = load_checkpoint(folder).state
    assert state is not None
    return state


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    state, folder = state_of(3), tmp_path / "new" / "folder"
    save_checkpoint(folder, state, keep=1)
    loaded = newest(folder)
    for name in ("weights", "momentum"):
        torch.testing.assert_close(loaded.pop(name), state.pop(name), rtol=0, atol=0)
    assert loaded == state


def test_checkpoint_is_refused_that_would_run_code(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"format": FORMAT, "code": Path}, keep=1)
    with pytest.raises(RunError, match=r"last\.pt"):
        load_checkpoint(tmp_path)


def test_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path).state is None
    assert load_checkpoint(tmp_path / "missing").state is None


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_newest_checkpoints_are_kept(tmp_path: Path, keep: int) -> None:
    for epoch in range(5):
        save_checkpoint(tmp_path, {"format": FORMAT, "epoch": epoch}, keep)
    files = ["last.pt", "last.1.pt", "last.2.pt"][:keep]
    assert names(tmp_path) == sorted(files)
    assert [torch.load(tmp_path / name)["epoch"] for name in files] == [4, 3, 2][:keep]
    assert newest(tmp_path)["epoch"] == 4


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def nothing(content: bytes) -> bytes:
    return b""


def flip(content: bytes, byte: int) -> bytes:
    return content[:byte] + bytes([content[byte] ^ 1]) + content[byte + 1 :]


@pytest.mark.parametrize("damage", [cut, nothing])
def test_damaged_newest_checkpoint_is_named_and_the_one_before_used(tmp_path: Path, damage: Any) -> None:
    for epoch in range(2):
        save_checkpoint(tmp_path, state_of(epoch), keep=2)
    last = tmp_path / "last.pt"
    last.write_bytes(damage(last.read_bytes()))
    state, refused = load_checkpoint(tmp_path)
    assert state is not None
    assert state["epoch"] == 0
    assert len(refused) == 1
    assert str(last) in refused[0]


def test_every_flipped_bit_of_the_contents_is_noticed(tmp_path: Path) -> None:
    """Of all bytes of a file: either it is refused, or what it holds is what was written (padding, say)."""
    state = {"weight": torch.arange(5.0), "epoch": 3, "losses": [0.5, None]}
    save_tensors(tmp_path / "whole", state)
    content = (tmp_path / "whole").read_bytes()
    refused = 0
    for byte in range(len(content)):
        (tmp_path / "flipped").write_bytes(flip(content, byte))
        try:
            loaded = load_tensors(tmp_path / "flipped")
        except Exception:
            refused += 1
            continue
        torch.testing.assert_close(loaded, state, rtol=0, atol=0)
    assert refused > 20 + 100  # the tensor's bytes, the checksum, the names and the structure
    weight = content.index(torch.arange(5.0).numpy().tobytes())
    for byte in range(weight, weight + 20):
        (tmp_path / "flipped").write_bytes(flip(content, byte))
        with pytest.raises(Exception, match=r"checksum|crc|CRC"):
            load_tensors(tmp_path / "flipped")


def test_no_whole_checkpoint_at_all_is_told(tmp_path: Path) -> None:
    for epoch in range(2):
        save_checkpoint(tmp_path, state_of(epoch), keep=2)
    for name in ("last.pt", "last.1.pt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(RunError, match=r"last\.pt is not whole.*last\.1\.pt is not whole.*resume=never"):
        load_checkpoint(tmp_path)


def killed_at(call: int, before: bool, save: Callable[[], None]) -> bool:
    """Do something in a process of its own, which SIGKILL ends before or after its n-th fsync or rename."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
            def call_it(*arguments: Any) -> Any:
                nonlocal count
                count += 1
                if count == call and before:
                    os.kill(os.getpid(), signal.SIGKILL)
                this = count
                try:
                    return function(*arguments)
                finally:
                    if this == call:
                        os.kill(os.getpid(), signal.SIGKILL)

            return call_it

        for name in ("replace", "fsync", "unlink"):
            setattr(os, name, deadly(getattr(os, name)))
        try:
            save()
            os._exit(0)
        finally:
            os._exit(1)  # after an error too: the other tests are not this process's
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.parametrize(
    "before", [pytest.param(True, id="before", marks=pytest.mark.slow), pytest.param(False, id="after")]
)
def test_whatever_moment_of_a_save_is_its_last_a_newest_checkpoint_is_left(tmp_path: Path, before: bool) -> None:
    """And never one older than the save before."""
    kept = 3
    for call in range(1, 100):
        folder = tmp_path / str(call)
        for epoch in range(kept):
            save_checkpoint(folder, state_of(epoch), kept)
        state = state_of(kept)  # not in a fork: where there is a GPU, a fork cannot take gradients
        was_killed = killed_at(call, before, partial(save_checkpoint, folder, state, kept))
        written = (folder / "next.pt").exists() or not was_killed
        loaded, refused = load_checkpoint(folder)
        assert loaded is not None
        assert not refused
        assert loaded["epoch"] in ((kept,) if written else (kept - 1, kept))
        save_checkpoint(folder, state_of(9), kept)
        assert newest(folder)["epoch"] == 9
        if not was_killed:
            break
    assert call >= 7  # flush, rename, flush the folder, and three renames: all of them were the last once


def test_fewer_are_kept_when_fewer_are_wanted(tmp_path: Path) -> None:
    for epoch in range(3):
        save_checkpoint(tmp_path, state_of(epoch), keep=3)
    save_checkpoint(tmp_path, state_of(3), keep=1)
    assert names(tmp_path) == ["last.pt"]


def test_removing_the_newest_goes_on_from_the_one_before(tmp_path: Path) -> None:
    for epoch in range(2):
        save_checkpoint(tmp_path, state_of(epoch), keep=2)
    (tmp_path / "last.pt").unlink()
    assert newest(tmp_path)["epoch"] == 0


def test_checkpoint_of_another_format_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "last.pt", {"format": FORMAT + 1})
    with pytest.raises(RunError, match=rf"last\.pt has format {FORMAT + 1}.*reads format {FORMAT}"):
        load_checkpoint(tmp_path)


def test_save_that_fails_leaves_the_checkpoints_before_it(tmp_path: Path) -> None:
    for epoch in range(2):
        save_checkpoint(tmp_path, state_of(epoch), keep=2)
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(tmp_path, {"format": FORMAT, "cannot be pickled": lambda: None}, keep=2)
    assert names(tmp_path) == ["last.1.pt", "last.pt"]
    assert newest(tmp_path)["epoch"] == 1
    assert torch.load(tmp_path / "last.1.pt")["epoch"] == 0


def test_tensors_are_saved_in_one_file(tmp_path: Path) -> None:
    weights = {"weight": torch.arange(4.0), "epoch": 3}
    save_tensors(tmp_path / "best" / "weights.pt", weights)
    loaded = torch.load(tmp_path / "best" / "weights.pt", weights_only=True)
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["weight"], torch.arange(4.0))
    assert names(tmp_path / "best") == ["weights.pt"]
