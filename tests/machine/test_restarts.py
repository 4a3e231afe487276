"""What a command has begun, and what was there before it."""

import json
from pathlib import Path

import pytest

from recipe.machine.restarts import begun_by_this_command, identity


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)


def begin(folder: Path, command: str) -> None:
    (folder / "environment.json").write_text(json.dumps({"starts": [{"by": identity(command)}]}))


def test_a_command_knows_what_it_has_begun(tmp_path: Path) -> None:
    assert not begun_by_this_command(tmp_path, "one")
    begin(tmp_path, "one")
    assert begun_by_this_command(tmp_path, "one")
    assert not begun_by_this_command(tmp_path, "other")
    assert not begun_by_this_command(tmp_path, None)


def test_a_requeued_job_is_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    begin(tmp_path, "one")
    assert not begun_by_this_command(tmp_path, "other")  # twice in one allocation
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert begun_by_this_command(tmp_path, "other")
    begin(tmp_path, "other")
    assert not begun_by_this_command(tmp_path, "third")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert not begun_by_this_command(tmp_path, "third")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"starts": []}', '{"starts": [{}]}', '{"starts": [{"by": 1}]}'])
def test_folders_of_older_versions_and_broken_ones_are_of_before(tmp_path: Path, content: str) -> None:
    (tmp_path / "environment.json").write_text(content)
    assert not begun_by_this_command(tmp_path, "one")
