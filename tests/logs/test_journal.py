"""A run's log has every step once however often it was resumed, and no full disk of what is only shown ends a run."""

import io
import json
import os
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipe.logs.journal import Journal, wrapped
from recipe.machine.distributed import Ranks

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))


def record(folder: Path, metrics_bytes: int, steps_done: int, steps: list[int]) -> int:
    journal = Journal(folder, ALONE, metrics_bytes, steps_done)
    for step in steps:
        journal.record(step, 0, {"train/loss": float(step)})
    length = journal.metrics_bytes()
    journal.close()
    return length


def test_resumed_log_has_every_step_once(tmp_path: Path) -> None:
    at_checkpoint = record(tmp_path, 0, 0, [5, 10])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 15, "epoch": 0, "train/loss"')  # what a killed process left behind the checkpoint
    assert record(tmp_path, at_checkpoint, 10, []) == at_checkpoint
    record(tmp_path, at_checkpoint, 10, [15, 20])
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [5, 10, 15, 20]


def test_rows_are_wrapped_below_their_words() -> None:
    row = (
        f"{'notice':13}few steps: batch_size=128 makes 4 steps an epoch; batch_size=48 micro_batch_size=8 would make 11"
    )
    lines = wrapped(row, 80).splitlines()
    assert len(lines) == 2
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith(" " * 13 + "micro_batch_size=8")
    assert " ".join(" ".join(lines).split()) == " ".join(row.split())
    assert wrapped(row, 140) == row
    assert wrapped(f"{'folder':13}" + "x" * 90, 80).split() == ["folder", "x" * 90]  # paths stay whole


def test_lines_of_epochs_are_parted_between_their_parts() -> None:
    parts = ["train loss 2.841 top-1 11.13", "val loss 2.100 top-1 45.67", "ema loss 2.300 top-1 44.00"]
    parts += ["27 s", "1,919 images/s", "at most 0:02:35 left"]
    for title in ("epoch 3/6", "epoch   3/600"):
        line = "  ".join([title, *parts])
        lines = wrapped(line, 80).splitlines()
        assert all(len(one) <= 80 for one in lines)
        assert lines[0].startswith(f"{title}  {parts[0]}  {parts[1]}")
        assert lines[1].startswith(" " * (len(title) + 2) + parts[2])
        assert [part for one in lines for part in one.removeprefix(title).strip().split("  ")] == parts
        assert wrapped(line, 150) == line


def test_log_shorter_than_its_checkpoint_says_is_not_padded(tmp_path: Path) -> None:
    length = record(tmp_path, 0, 0, [5])
    record(tmp_path, length + 100, 5, [10])
    assert b"\0" not in (tmp_path / "metrics.jsonl").read_bytes()


def test_evaluation_repeated_at_the_checkpoint_s_own_step_is_there_once(tmp_path: Path) -> None:
    """An epoch is saved before its evaluation: killed behind it, the evaluation is done and logged again."""
    journal = Journal(tmp_path, ALONE, 0, 0)
    journal.record(5, 0, {"train/loss": 1.0})
    at_checkpoint = journal.metrics_bytes()
    journal.record(5, 0, {"val/acc1": 50.0})
    journal.close()
    journal = Journal(tmp_path, ALONE, at_checkpoint, 5)
    journal.record(5, 0, {"val/acc1": 50.0})
    journal.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [set(row) - {"step", "epoch"} for row in rows] == [{"train/loss"}, {"val/acc1"}]
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    for name in ("train/loss", "val/acc1"):
        assert [event.step for event in board.Scalars(name)] == [5]


def test_start_without_a_checkpoint_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    for _ in range(2):
        journal = Journal(tmp_path, ALONE, 0, 0)
        for step in (1, 2):
            journal.record(step, 0, {"train/loss": 1.0})
        journal.close()
    board = EventAccumulator(str(tmp_path))
    board.Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [1, 2]


def full(file: io.FileIO) -> None:
    """From here on, an open file's disk is full."""
    device = os.open("/dev/full", os.O_WRONLY)
    os.dup2(device, file.fileno())
    os.close(device)


def test_full_disk_of_what_is_only_shown_ends_nothing_and_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal(tmp_path, ALONE, 0, 0)
    journal.say("one")
    full(journal._events.file)
    for step in (5, 10):
        journal.record(step, 0, {"train/loss": 1.0})
        journal.text("text", "more")
        journal.say("two")
    journal.close()
    lost = "TensorBoard's file cannot be written (No space left on device). The training goes on without"
    assert capsys.readouterr().out.splitlines() == ["one", "two", lost, "two"]
    assert (tmp_path / "train.log").read_text().splitlines() == ["one", "two", lost, "two"]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_what_cannot_be_opened_to_be_shown_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.log").mkdir()
    journal = Journal(tmp_path, ALONE, 0, 0)
    journal.say("one")
    journal.close()
    assert (
        capsys.readouterr().out == "one\ntrain.log cannot be written (Is a directory). The training goes on without\n"
    )


def test_full_disk_of_the_figures_names_their_file(tmp_path: Path) -> None:
    """A run goes on from them: they are its result."""
    journal = Journal(tmp_path, ALONE, 0, 0)
    full(journal._metrics.raw)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="No space left") as refused:
        journal.record(5, 0, {"train/loss": 1.0})
    assert refused.value.filename == str(tmp_path / "metrics.jsonl")
    with pytest.raises(OSError, match="No space left"):
        journal.close()
