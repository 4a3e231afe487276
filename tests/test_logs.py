import json
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recipe.distributed import Ranks
from recipe.logs import Journal

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


def test_log_shorter_than_its_checkpoint_says_is_not_padded(tmp_path: Path) -> None:
    length = record(tmp_path, 0, 0, [5])
    record(tmp_path, length + 100, 5, [10])
    assert b"\0" not in (tmp_path / "metrics.jsonl").read_bytes()
