"""What is measured while a network trains: loss, top-1, gradient norm, speed, waiting time; that gradients are finite.

These are the figures train/…; val/… and ema/… come from evaluations (recipe/training/evaluate.py).
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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


@dataclass
class EpochSums:
    """Loss and top-1 of an epoch so far: the sums of its entries, each times the steps in it."""

    epoch: int = -1
    steps: int = 0
    losses: float = 0.0
    acc1s: float = 0.0

    def add(self, steps: int, loss: float, acc1: float) -> None:
        """Take in an entry over so many steps."""
        self.steps, self.losses, self.acc1s = self.steps + steps, self.losses + loss * steps, self.acc1s + acc1 * steps

    @property
    def loss(self) -> float:
        """Mean over the steps; NaN before the first entry."""
        return self.losses / self.steps if self.steps else math.nan

    @property
    def acc1(self) -> float:
        """Percent of the images, each step with the same weight; NaN before the first entry."""
        return self.acc1s / self.steps if self.steps else math.nan


class TrainMeter:
    """Training loss, top-1, gradient norm, speed, waiting time. They stay on the device between two log entries."""

    def __init__(self, log: Log, ranks: Ranks, steps: int, every: int, last: int, overflows: bool = False) -> None:
        """`steps`: optimizer steps in an epoch; `every`: between two entries; `last`: in the whole run.

        `overflows`: whether a loss scale is searched for, so that some gradients are not finite.
        """
        self.loss = math.nan  # mean over the steps between the last two entries
        self.of_epoch = EpochSums()
        self.pace = Pace()
        self._log, self._ranks, self._steps, self._every, self._last = log, ranks, steps, every, last
        self._loss_sum: Tensor = torch.zeros((), device=ranks.device)
        self._steps_summed = 0
        # Hits by an image's place in its micro-batch: (images of the largest so far,). One operation adds to them what
        # would take two to add up.
        self._hits: Tensor = torch.zeros(0, dtype=torch.int64, device=ranks.device)
        self._images_summed = 0  # of this rank
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
        if self.of_epoch.epoch != epoch:  # else the run goes on within it
            self.of_epoch = EpochSums(epoch)
        self.pace.start_epoch()
        self._mark_speed()
        self._last_line = time.monotonic()
        self._restart_clock()

    def add(self, loss: Tensor, share: float, logits: Tensor, targets: Tensor) -> None:
        """Take in a micro-batch. An image is hit where its largest logit is that of its largest target.

        Args:
            loss: its mean loss, ().
            share: its share of the step's images.
            logits, targets: (images, classes), without a graph.
        """
        images = len(targets)
        with torch.no_grad():
            self._loss_sum += loss if share == 1 else loss * share
        if images > len(self._hits):
            self._hits = torch.cat([self._hits, self._hits.new_zeros(images - len(self._hits))])
        hits = self._hits if images == len(self._hits) else self._hits[:images]
        hits += logits.argmax(1) == targets.argmax(1)
        self._images += images
        self._images_of_step += images
        self._images_summed += images

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
        """State between two entries, for a checkpoint: every rank's sums, the steps in them, and the epoch's sums."""
        own = self._loss_sum.item(), int(self._hits.sum()), self._images_summed
        losses, hits, images = zip(*self._ranks.every(own), strict=True)
        return {
            "loss_sums": list(losses),
            "hits": list(hits),
            "images": list(images),
            "steps_summed": self._steps_summed,
            "of_epoch": asdict(self.of_epoch),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint. With another number of ranks, rank 0 takes the whole sums.

        One of an earlier version has no hits: the top-1 is then that of the images since.
        """
        self._loss_sum.fill_(self._own(state["loss_sums"]))
        self._hits = self._hits.new_tensor([self._own(state.get("hits", [0]))])
        self._images_summed = int(self._own(state.get("images", [0])))
        self._steps_summed = state["steps_summed"]
        self.of_epoch = EpochSums(**state.get("of_epoch", {}))

    def images_per_second(self) -> float:
        """Images per second over all ranks, since the start of the epoch; without the first steps of the process."""
        images = (self._images - self._images_marked) * self._ranks.world_size
        return images / (time.perf_counter() - self._marked)

    def data_wait(self) -> float:
        """The share of that time spent waiting for data."""
        assert self._loader is not None
        return (self._loader.wait_seconds - self._wait_marked) / (time.perf_counter() - self._marked)

    def _own(self, sums: list[float]) -> float:
        """Part of this rank in what every rank had summed."""
        return sums[self._ranks.rank] if len(sums) == self._ranks.world_size else sum(sums) * self._ranks.first

    def _ends(self, epoch: int, step: int) -> bool:
        """Whether the step is the last of its epoch or of the run."""
        return step + 1 == self._steps or epoch * self._steps + step + 1 == self._last

    def _mark_speed(self) -> None:
        assert self._loader is not None
        self._marked, self._images_marked = time.perf_counter(), self._images
        self._wait_marked = self._loader.wait_seconds

    def _record(self, epoch: int, total: int, lr: float) -> None:
        assert self._loader is not None
        self.loss = loss = self._ranks.sum(self._loss_sum).item() / self._steps_summed
        counts = torch.stack([self._hits.sum(), self._hits.new_tensor(self._images_summed)])
        hits, images = self._ranks.sum(counts).tolist()
        acc1 = 100 * hits / images if images else math.nan
        seconds = time.perf_counter() - self._begin
        figures = {
            "train/loss": loss,
            "train/acc1": acc1,
            "train/lr": lr,
            "train/grad_norm": self._norm.item(),
            "train/images_per_second": (self._images - self._images_before) * self._ranks.world_size / seconds,
            "train/data_wait": (self._loader.wait_seconds - self._wait_before) / seconds,
        }
        if not math.isfinite(loss):
            raise NotFiniteError(total)
        self._log.record(total, epoch, figures)
        self.of_epoch.add(self._steps_summed, loss, acc1)
        self._loss_sum.zero_()
        self._hits.zero_()
        self._steps_summed = self._images_summed = 0
        self._restart_clock()

    def _restart_clock(self) -> None:
        assert self._loader is not None
        self._begin, self._images_before = time.perf_counter(), self._images
        self._wait_before = self._loader.wait_seconds
