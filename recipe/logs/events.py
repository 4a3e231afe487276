"""A run's event file, which TensorBoard reads. It shows what metrics.jsonl has: that it cannot be written ends no run.

(PyTorch's SummaryWriter raises what the disk says in a later call, and prints a traceback from its thread.)
"""

import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import summary

from recipe.output import opened

_number = itertools.count()  # of this process's files


class EventFile:
    """One start of a run: TensorBoard puts the files of a folder together."""

    def __init__(self, folder: Path, purge_step: int) -> None:
        """Begin a file. What earlier files have from `purge_step` on is hidden."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event = Event
        when, number = int(time.time()), next(_number)
        start = f"{when:010d}.{socket.gethostname()}.{os.getpid()}.{number:06}"  # files are read in this order
        name = f"events.out.tfevents.{start}"
        self.file = opened(folder / name)
        self._records = RecordWriter(self.file)
        self._write(file_version="brain.Event:2")
        self._write(step=purge_step, session_log=SessionLog(status=SessionLog.START))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Write a point of a curve."""
        self.add(summary.scalar(name, value), step)

    def text(self, name: str, markdown: str) -> None:
        """Write a card of text."""
        self.add(summary.text(name, markdown))

    def image(self, name: str, pixels: Tensor, step: int) -> None:
        """Write a picture: (3, H, W) uint8."""
        self.add(summary.image(name, pixels, dataformats="CHW"), step)

    def add(self, content: Any, step: int = 0) -> None:
        """Write one of TensorBoard's summaries."""
        self._write(summary=content, step=step)

    def close(self) -> None:
        """End the file."""
        self.file.close()

    def _write(self, **content: Any) -> None:
        if self.file.lost is None:  # behind a record that is cut off nothing can be read
            self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())
