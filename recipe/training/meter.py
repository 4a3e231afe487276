"""What is measured while a network trains: loss, gradient norm, speed, waiting time; and that gradients are finite.

These are the figures train/…; val/… and ema/… come from evaluations (recipe/training/evaluate.py).
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from recipe.data.loader import TrainLoader
from recipe.machine.distributed import Ranks
from recipe.training.pace import SETTLED, Pace

QUIET_SECONDS = 60.0  # without a terminal: between two lines of progress within an epoch


class Log(Protocol):
    """What a meter tells its figures: a run's journal (recipe.logs.journal)."""

    def say(self, text: str) -> None:
        """Write a line on the console."""

    def record(self, step: int, epoch: int, figures: Mapping[str, float]) -> None:
        """Write named figures after `step` optimizer steps of the run."""

    def advance_bar(self, note: str | None = None) -> None:
        """Move the progress bar one step further."""


class NotFiniteError(Exception):
    """The gradient of a step is not finite. Every rank raises it, at the same step."""

    def __init__(self, step: int) -> None:
        self.step = step  # of the run, from 1: the first such one


class TrainMeter:
    """Training loss, gradient norm, speed and waiting time. They stay on the device between two log entries."""

    def __init__(self, log: Log, ranks: Ranks, steps: int, every: int, last: int, overflows: bool = False) -> None:
        """`steps`: optimizer steps in an epoch; `every`: between two entries; `last`: in the whole run.

        `overflows`: whether a loss scale is searched for, so that some gradients are not finite.
        """
        self.loss = math.nan  # mean over the steps between the last two entries
        self.pace = Pace()
        self._log, self._ranks, self._steps, self._every, self._last = log, ranks, steps, every, last
        self._loss_sum: Tensor = torch.zeros((), device=ranks.device)
        self._steps_summed = 0
        self._overflows = overflows
        self._norm: Tensor = torch.zeros((), device=ranks.device)  # of the last step's gradient
        self._found: Tensor = torch.zeros((), device=ranks.device)  # 1 from the first gradient on that is not finite
        self._since: Tensor = torch.zeros((), device=ranks.device)  # steps from there to the last, both included, or 0
        self._one: Tensor = torch.ones((), device=ranks.device)
        self._total = 0  # steps of the run by now
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
        """Take in a micro-batch: its mean loss, (), its share of the step's images, and its number of images."""
        with torch.no_grad():
            self._loss_sum += loss if share == 1 else loss * share
        self._images += images
        self._images_of_step += images

    def shows(self, epoch: int, step: int) -> bool:
        """Whether an entry is written after this step. It holds the norm of the step's gradient."""
        return (epoch * self._steps + step + 1) % self._every == 0 or self._ends(epoch, step)

    def watch(self, parameters: Sequence[nn.Parameter], norm: Tensor | None) -> None:
        """Notice gradients that are not finite, without a wait. With fp16's loss scaling they are left alone.

        Args:
            parameters: with the step's gradients.
            norm: of the gradients, (), which is as finite as they are; None: not computed.
        """
        if norm is not None:
            self._norm = norm
        if not self._overflows:
            watched = [p.grad for p in parameters if p.grad is not None] if norm is None else [norm]
            # The loss scaler's operation: reads all in one pass and multiplies them, here by 1.
            torch._amp_foreach_non_finite_check_and_unscale_(watched, self._found, self._one)
            self._since += self._found

    def step_done(self, epoch: int, step: int, lr: float) -> None:
        """Take in an optimizer step; write an entry after every so many. Raises NotFiniteError."""
        self._steps_summed += 1
        self._steps_done += 1
        self._total = total = epoch * self._steps + step + 1
        ends = self._ends(epoch, step)
        if self._steps_done == SETTLED and not ends:
            self._mark_speed()
        note = None
        if self.shows(epoch, step):
            self.check()
            self._record(epoch, total, lr)
            note = f"loss {self.loss:.3f}, lr {lr:.4f}"
            between = step + 1 < self._steps and not sys.stderr.isatty()
            if between and time.monotonic() - self._last_line > QUIET_SECONDS:
                self._last_line = time.monotonic()
                self._log.say(f"  epoch {epoch + 1}, step {step + 1}/{self._steps}: {note}")
        self.pace.step_done(self._images_of_step * self._ranks.world_size)  # a GPU is waited for by now, if at all
        self._images_of_step = 0
        self._log.advance_bar(note)

    def check(self) -> None:
        """Raise NotFiniteError if any step's gradient was not. Waits for the device."""
        if (since := int(self._since)) > 0:
            raise NotFiniteError(self._total - since + 1)

    def state_dict(self) -> dict[str, Any]:
        """State between two entries, for a checkpoint: every rank's sum of losses, and the steps in it."""
        return {"loss_sums": self._ranks.every(self._loss_sum.item()), "steps_summed": self._steps_summed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint. With another number of ranks, rank 0 takes the whole sum."""
        sums = state["loss_sums"]
        same = len(sums) == self._ranks.world_size
        own = sums[self._ranks.rank] if same else sum(sums) * self._ranks.first
        self._loss_sum.fill_(own)
        self._steps_summed = state["steps_summed"]

    def images_per_second(self) -> float:
        """Images per second over all ranks, since the start of the epoch; without the first steps of the process."""
        images = (self._images - self._images_marked) * self._ranks.world_size
        return images / (time.perf_counter() - self._marked)

    def data_wait(self) -> float:
        """The share of that time spent waiting for data."""
        assert self._loader is not None
        return (self._loader.wait_seconds - self._wait_marked) / (time.perf_counter() - self._marked)

    def _ends(self, epoch: int, step: int) -> bool:
        """Whether the step is the last of its epoch or of the run."""
        return step + 1 == self._steps or epoch * self._steps + step + 1 == self._last

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
        self._log.record(total, epoch, figures)
        self._loss_sum.zero_()
        self._steps_summed = 0
        self._restart_clock()

    def _restart_clock(self) -> None:
        assert self._loader is not None
        self._begin, self._images_before = time.perf_counter(), self._images
        self._wait_before = self._loader.wait_seconds
