"""What a run says while it trains: the console, train.log, metrics.jsonl and TensorBoard. Rank 0 speaks alone."""

import json
import math
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor
from tqdm import tqdm

from recipe.data.loader import TrainLoader
from recipe.encoding import shown
from recipe.files import flush
from recipe.logs.pace import SETTLED, Pace
from recipe.machine.distributed import Ranks
from recipe.output import Shown, as_text, opened

TITLE = 13  # characters before the words of a row
QUIET_SECONDS = 60.0  # without a terminal: between two lines of progress within an epoch


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
        self._board = EventFile(folder, purge_step=steps_done)
        self._shown: dict[str, Shown] = {"train.log": log, "TensorBoard's file": self._board.file}
        for row in rows:
            if row["step"] >= steps_done > 0:
                self._draw(**row)
        self._bar: tqdm[Any] | None = None
        if cut_off:
            self.say(f"{folder / 'metrics.jsonl'} is shorter than it was at the checkpoint: steps are missing there")

    def say(self, text: str) -> None:
        """A line on the console and in train.log."""
        if self.on:
            tqdm.write(wrapped(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text, sys.stdout)
            sys.stdout.flush()
            self.note(text)
            for name, file in list(self._shown.items()):
                if file.lost is not None:
                    del self._shown[name]
                    self.say(f"{name} cannot be written ({file.lost.strerror}). The training goes on without")

    def note(self, text: str) -> None:
        """A line in train.log alone."""
        if self.on:
            print(text, file=self._log)

    def record(self, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        """Named figures after `step` optimizer steps: a line of metrics.jsonl, and points in TensorBoard."""
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
            self._board.scalar(name, math.nan if value is None else value, step)

    def text(self, name: str, markdown: str) -> None:
        """A card of text in TensorBoard."""
        if self.on:
            self._board.text(name, shown(markdown))

    def picture(self, name: str, step: int, pixels: Tensor) -> None:
        """A picture in TensorBoard: (3, H, W) uint8."""
        if self.on:
            self._board.image(name, pixels, step)

    def hyperparameters(self, values: Mapping[str, Any], final: Mapping[str, float], step: int) -> None:
        """TensorBoard's HParams, in this run's own event file: what was set, and the final figures.

        (`SummaryWriter.add_hparams` would make a second run, named after the clock.)
        """
        if self.on:
            from torch.utils.tensorboard.summary import hparams

            settings = {key: shown(value) if isinstance(value, str) else value for key, value in values.items()}
            for summary in hparams(settings, dict.fromkeys(final, 0.0)):
                self._board.add(summary)
            for name, value in final.items():
                self._board.scalar(name, value, step)

    def metrics_bytes(self) -> int:
        """The length of metrics.jsonl now."""
        return self._metrics.tell() if self.on else 0

    def sync(self) -> None:
        """Bring metrics.jsonl to the disk."""
        if self.on:
            with self._naming_metrics():
                flush(self._metrics.fileno())

    def start_bar(self, description: str, total: int, done: int = 0) -> None:
        """A progress bar, on a terminal."""
        if self.on and sys.stderr.isatty():
            self._bar = tqdm(desc=description, total=total, initial=done, leave=False, dynamic_ncols=True, unit="step")

    def advance_bar(self, note: str | None = None) -> None:
        """One step further."""
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
            self._board.close()
            self._log.close()
            with self._naming_metrics():
                self._metrics.close()

    @contextmanager
    def _naming_metrics(self) -> Iterator[None]:
        """The disk does not say which file it has no room for."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or self._metrics.name
            raise


class NotFiniteError(Exception):
    """The gradient of a step is not finite. Every rank raises it, at the same step."""

    def __init__(self, step: int) -> None:
        self.step = step  # of the run, from 1: the first such one


class TrainMeter:
    """Training loss, gradient norm, speed and waiting time. They stay on the device between two log entries."""

    def __init__(
        self, journal: Journal, ranks: Ranks, steps: int, every: int, last: int, overflows: bool = False
    ) -> None:
        """`steps`: optimizer steps in an epoch; `every`: between two entries; `last`: in the whole run.

        `overflows`: whether a loss scale is searched for, so that some gradients are not finite.
        """
        self.loss = math.nan  # mean over the steps between the last two entries
        self.pace = Pace()
        self._journal, self._ranks, self._steps, self._every, self._last = journal, ranks, steps, every, last
        self._loss_sum: Tensor = torch.zeros((), device=ranks.device)
        self._steps_summed = 0
        self._overflows = overflows
        self._norm: Tensor = torch.zeros((), device=ranks.device)  # of the last step's gradient
        self._not_finite: Tensor = torch.zeros((), dtype=torch.int64, device=ranks.device)  # first such step, or 0
        self._steps_done = 0  # by this process
        self._images = 0  # that this rank has trained on, since the start of the process
        self._images_of_step = 0
        self._loader: TrainLoader | None = None

    def start_epoch(self, epoch: int, loader: TrainLoader) -> None:
        """Begin to measure: an evaluation in between does not count as training time."""
        self._loader = loader
        self.pace.start_epoch()
        self._mark_speed()
        self._last_line = time.monotonic()
        self._restart_clock()

    def add(self, loss: Tensor, share: float, images: int) -> None:
        """A micro-batch's mean loss, its share of the step's images, and its images."""
        self._loss_sum += loss.detach() * share
        self._images += images
        self._images_of_step += images

    def step_done(self, epoch: int, step: int, lr: float, norm: Tensor) -> None:
        """After each optimizer step; writes an entry every so many. Raises NotFiniteError.

        Args:
            norm: of the step's gradient, (). With fp16's loss scaling, steps whose gradient overflows are left out.
        """
        self._steps_summed += 1
        self._steps_done += 1
        total = epoch * self._steps + step + 1
        self._norm = norm
        if not self._overflows:
            first = self._not_finite.eq(0) & ~norm.isfinite()
            self._not_finite = torch.where(first, total, self._not_finite)
        ends = step + 1 == self._steps or total == self._last
        if self._steps_done == SETTLED and not ends:
            self._mark_speed()
        note = None
        if total % self._every == 0 or ends:
            self.check()
            self._record(epoch, total, lr)
            note = f"loss {self.loss:.3f}, lr {lr:.4f}"
            between = step + 1 < self._steps and not sys.stderr.isatty()
            if between and time.monotonic() - self._last_line > QUIET_SECONDS:
                self._last_line = time.monotonic()
                self._journal.say(f"  epoch {epoch + 1}, step {step + 1}/{self._steps}: {note}")
        self.pace.step_done(self._images_of_step * self._ranks.world_size)  # a GPU is waited for by now, if at all
        self._images_of_step = 0
        self._journal.advance_bar(note)

    def check(self) -> None:
        """Raise NotFiniteError if any step's gradient was not. Waits for the device."""
        if (step := int(self._not_finite)) > 0:
            raise NotFiniteError(step)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps, between two entries: every rank's sum of losses, and the steps in it."""
        return {"loss_sums": self._ranks.every(self._loss_sum.item()), "steps_summed": self._steps_summed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint. With another number of ranks, rank 0 takes the whole sum."""
        sums = state["loss_sums"]
        same = len(sums) == self._ranks.world_size
        own = sums[self._ranks.rank] if same else sum(sums) * self._ranks.first
        self._loss_sum.fill_(own)
        self._steps_summed = state["steps_summed"]

    def images_per_second(self) -> float:
        """Over all ranks, since the start of the epoch; without the first steps of the process."""
        images = (self._images - self._images_marked) * self._ranks.world_size
        return images / (time.perf_counter() - self._marked)

    def data_wait(self) -> float:
        """The share of that time spent waiting for data."""
        assert self._loader is not None
        return (self._loader.wait_seconds - self._wait_marked) / (time.perf_counter() - self._marked)

    def _mark_speed(self) -> None:
        assert self._loader is not None
        self._marked, self._images_marked = time.perf_counter(), self._images
        self._wait_marked = self._loader.wait_seconds

    def _record(self, epoch: int, total: int, lr: float) -> None:
        assert self._loader is not None
        self.loss = self._ranks.sum(self._loss_sum).item() / self._steps_summed
        seconds = time.perf_counter() - self._begin
        figures = {
            "train/loss": self.loss,
            "train/lr": lr,
            "train/grad_norm": self._norm.item(),
            "train/images_per_second": (self._images - self._images_before) * self._ranks.world_size / seconds,
            "train/data_wait": (self._loader.wait_seconds - self._wait_before) / seconds,
        }
        if not math.isfinite(self.loss):
            raise NotFiniteError(total)
        self._journal.record(total, epoch, figures)
        self._loss_sum.zero_()
        self._steps_summed = 0
        self._restart_clock()

    def _restart_clock(self) -> None:
        assert self._loader is not None
        self._begin, self._images_before = time.perf_counter(), self._images
        self._wait_before = self._loader.wait_seconds


def wrapped(text: str, columns: int) -> str:
    """A row of a title and words, in lines that fit; words are kept whole, and stand below words."""
    if len(text) <= columns:
        return text
    below = " " * TITLE if text[TITLE - 1 : TITLE] == " " else ""
    lines = textwrap.wrap(text, columns, subsequent_indent=below, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """As in 0:03:12."""
    return str(timedelta(seconds=round(seconds)))
