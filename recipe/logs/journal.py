"""What a run says while it trains: the console, train.log, metrics.jsonl and TensorBoard. Rank 0 speaks alone."""

import json
import math
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor
from tqdm import tqdm

from recipe.encoding import shown
from recipe.files import flush
from recipe.machine.distributed import Ranks
from recipe.output import Shown, as_text, opened

TITLE = 13  # characters before the words of a row


class Journal:
    """One run's log. On ranks other than 0 every method does nothing."""

    def __init__(self, folder: Path, ranks: Ranks, metrics_bytes: int, steps_done: int) -> None:
        """Continue the log of a run folder.

        Args:
            metrics_bytes: length of metrics.jsonl at the checkpoint that the run goes on from; what follows is cut.
            steps_done: optimizer steps behind that checkpoint. TensorBoard's points from there on are hidden, and
                those that metrics.jsonl has of that step itself are written again.
        """
        self.on = ranks.first
        if not self.on:
            return
        from recipe.logs.events import EventFile  # seconds to import, and only this rank needs it

        log = opened(folder / "train.log", "a")
        self._log: TextIO = as_text(log)
        self._metrics = (folder / "metrics.jsonl").open("a+b")
        cut_off = self._metrics.tell() < metrics_bytes
        self._metrics.truncate(min(metrics_bytes, self._metrics.tell()))
        self._metrics.seek(0)
        rows = [json.loads(line) for line in self._metrics]
        self._events = EventFile(folder, purge_step=steps_done)
        self._shown: dict[str, Shown] = {"train.log": log, "TensorBoard's file": self._events.file}
        for row in rows:
            if row["step"] >= steps_done > 0:
                self._draw(**row)
        self._bar: tqdm[Any] | None = None
        if cut_off:
            self.say(f"{folder / 'metrics.jsonl'} is shorter than it was at the checkpoint: steps are missing there")

    def say(self, text: str) -> None:
        """Write a line on the console and in train.log."""
        if self.on:
            tqdm.write(wrapped(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text, sys.stdout)
            sys.stdout.flush()
            self.note(text)
            for name, file in list(self._shown.items()):
                if file.lost is not None:
                    del self._shown[name]
                    self.say(f"{name} cannot be written ({file.lost.strerror}). The training goes on without")

    def note(self, text: str) -> None:
        """Write a line in train.log alone."""
        if self.on:
            print(text, file=self._log)

    def draw(self, lines: Iterable[str]) -> None:
        """Write lines on the console alone: a drawing, which no file is for."""
        if self.on:
            for line in lines:
                tqdm.write(line, sys.stdout)
            sys.stdout.flush()

    def record(self, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        """Write named figures after `step` optimizer steps: a line of metrics.jsonl, and points in TensorBoard."""
        if self.on:
            finite = {
                name: value if math.isfinite(value) else None for name, value in figures.items()
            }  # JSON has no NaN
            with self._naming_metrics():
                self._metrics.write(json.dumps({"step": step, "epoch": epoch, **finite}).encode() + b"\n")
                self._metrics.flush()
            self._draw(step, epoch, **figures)

    def _draw(self, step: int, epoch: int, **figures: float | None) -> None:
        for name, value in figures.items():
            self._events.scalar(name, math.nan if value is None else value, step)

    def text(self, name: str, markdown: str) -> None:
        """Write a card of text in TensorBoard."""
        if self.on:
            self._events.text(name, shown(markdown))

    def picture(self, name: str, step: int, pixels: Tensor) -> None:
        """Write a picture in TensorBoard: (3, H, W) uint8."""
        if self.on:
            self._events.image(name, pixels, step)

    def hyperparameters(self, values: Mapping[str, Any], final: Mapping[str, float], step: int) -> None:
        """Write TensorBoard's HParams, in this run's own event file: what was set, and the final figures.

        (`SummaryWriter.add_hparams` would make a second run, named after the clock.)
        """
        if self.on:
            from torch.utils.tensorboard.summary import hparams

            settings = {key: shown(value) if isinstance(value, str) else value for key, value in values.items()}
            for summary in hparams(settings, dict.fromkeys(final, 0.0)):
                self._events.add(summary)
            for name, value in final.items():
                self._events.scalar(name, value, step)

    def metrics_bytes(self) -> int:
        """Length of metrics.jsonl now, in bytes."""
        return self._metrics.tell() if self.on else 0

    def sync(self) -> None:
        """Bring metrics.jsonl to the disk."""
        if self.on:
            with self._naming_metrics():
                flush(self._metrics.fileno())

    def start_bar(self, description: str, total: int, done: int = 0) -> None:
        """Show a progress bar, on a terminal."""
        if self.on and sys.stderr.isatty():
            self._bar = tqdm(desc=description, total=total, initial=done, leave=False, dynamic_ncols=True, unit="step")

    def advance_bar(self, note: str | None = None) -> None:
        """Move the progress bar one step further."""
        if self.on and self._bar is not None:
            if note is not None:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update()

    def end_bar(self) -> None:
        """Take the bar away."""
        if self.on and self._bar is not None:
            self._bar.close()
            self._bar = None

    def close(self) -> None:
        """End the log."""
        if self.on:
            self.end_bar()
            self._events.close()
            self._log.close()
            with self._naming_metrics():
                self._metrics.close()

    @contextmanager
    def _naming_metrics(self) -> Iterator[None]:
        """Add the file's name to an OSError: the disk does not say for which file it has no space."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or self._metrics.name
            raise


def wrapped(text: str, columns: int) -> str:
    """Lines that fit of a row of a title and words, joined by newlines; words are kept whole, and stand below words.

    A line of an epoch is parted between two of its parts, which two spaces are between.
    """
    if len(text) <= columns:
        return text
    if of_epoch := re.match(r"epoch +\d+/\d+  ", text):
        return _between_parts(of_epoch[0], text[of_epoch.end() :].split("  "), columns)
    below = " " * TITLE if text[TITLE - 1 : TITLE] == " " else ""
    lines = textwrap.wrap(text, columns, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def _between_parts(title: str, parts: list[str], columns: int) -> str:
    lines = [title + parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 2 + len(part) <= columns:
            lines[-1] += "  " + part
        else:
            lines.append(" " * len(title) + part)
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as in 0:03:12."""
    return str(timedelta(seconds=round(seconds)))
