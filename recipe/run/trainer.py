"""The training of one run: trains and evaluates an epoch, saves, keeps the best weights, writes the result."""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from torch import nn

from recipe.config import Config
from recipe.data.dataset import Dataset, path_of
from recipe.data.order import Order
from recipe.errors import RunError
from recipe.files import write_atomically
from recipe.logs import console, faults, tensorboard, text_curves
from recipe.logs.journal import Journal
from recipe.logs.run_view import RunView
from recipe.machine.distributed import Agreement
from recipe.machine.signals import Stopped, StopSignal
from recipe.plan.compose import Plan
from recipe.run import folder as run_folder
from recipe.run.checkpoint import Writer, save_checkpoint, save_tensors
from recipe.run.progress import RunProgress, state_of
from recipe.training.evaluate import Evaluation, evaluate, evaluate_grid, evaluates, metrics, primary_weights
from recipe.training.loop import Training, train_one_epoch
from recipe.training.meter import NotFiniteError
from recipe.training.midway import midway, sample

SAVING_SHARE = 0.01  # of the time, at most, for the saves at the ends of epochs


def steps_of_run(config: Config, order: Order) -> int:
    """Optimizer steps of the whole run."""
    return min(config.epochs * order.steps, config.max_steps or sys.maxsize)


class _AskedToStopError(Exception):
    """Any rank was, during an evaluation. Every rank raises it, before the same batch."""


class Trainer:
    """The parts of one run and what it has come to; what is done with it: train, save, evaluate, finish."""

    def __init__(
        self,
        plan: Plan,
        data: tuple[Dataset, Dataset],
        training: Training,
        journal: Journal,
        progress: RunProgress,
        identity: dict[str, Any],
        agreement: Agreement,
        stop: StopSignal,
        refused: list[str],
    ) -> None:
        """Put together what `recipe.run.resume` has made.

        Args:
            data: training and validation set.
            identity: what must be the same when the run goes on: its hashes and the fingerprints of its data.
            refused: newer checkpoints than the one that the run goes on from, each with what is wrong with it.
        """
        self.plan, self.config, self.folder = plan, plan.config, plan.folder
        self.checkpoints = plan.folder / "checkpoints"
        self.train_set, self.val_set = data
        self.training, self.ranks, self.order = training, training.ranks, training.order
        training.after_step = self.step_done
        self.journal, self.progress, self.identity, self.refused = journal, progress, identity, refused
        self.agreement, self.stop, self.writer = agreement, stop, Writer()
        self.primary = primary_weights(self.config)
        self.steps = steps_of_run(self.config, self.order)
        self.epochs = -(-self.steps // self.order.steps)  # begun
        self.midway = midway(self.config, self.epochs, len(self.val_set), self.order.images_seen(self.steps))
        self.images_per_second, self.data_wait = math.nan, math.nan  # over all ranks, share of time: in the last epoch
        self.evaluation_seconds = math.nan  # of the last evaluation
        self.unreadable: set[str] = set()  # images left out (data.on_corrupt=skip), by their paths
        self.told_of_guesses = False  # about the values of deep images
        self.stopped_early: dict[str, Any] | None = None  # the last epoch, and why; None: the whole length
        self.began = self.epoch_began = self.saved = self.counted = time.monotonic()
        self.compiling = self.config.runtime.compile  # until this process's first step is done
        self.steps_here = 0  # done by this process

    def view(self) -> RunView:
        """What is shown of the run, as it is now."""
        return RunView(
            plan=self.plan,
            train_set=self.train_set,
            val_set=self.val_set,
            training=self.training,
            steps=self.steps,
            epochs=self.epochs,
            epoch=self.progress.epoch,
            step=self.progress.step,
            seconds=self.progress.seconds,
            best=self.progress.best,
            images_per_second=self.images_per_second,
            data_wait=self.data_wait,
            evaluation_seconds=self.evaluation_seconds,
            epoch_seconds=time.monotonic() - self.epoch_began,
            midway=self.midway,
        )

    def models(self) -> dict[str, nn.Module]:
        """The networks to evaluate, by kind of weights: "raw", and "ema" where weights are averaged."""
        models = {"raw": self.training.network}
        if self.training.ema.model is not None:
            models["ema"] = self.training.ema.model
        return models

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch, or the rest of one where the run goes on within it. Saves before its evaluation."""
        meter, steps, self.epoch_began = self.training.meter, self._steps_of(epoch), time.monotonic()
        done = self.progress.step if self.progress.epoch == epoch else 0
        if done == steps:  # stopped between the epoch's last step and the end of its evaluation
            return
        self.stop.in_step = True
        self.journal.start_bar(f"epoch {epoch + 1}/{self.config.epochs}", steps, done)
        meter.start_epoch(epoch, self.training.loader)
        try:
            train_one_epoch(self.training, epoch, done)
        except NotFiniteError as error:
            raise self._not_finite(error) from error
        self.journal.end_bar()
        self.images_per_second, self.data_wait = meter.images_per_second(), meter.data_wait()
        looks = self.midway is not None and self.midway.epoch == epoch
        if epoch + 1 == self.epochs or not (evaluates(self.config, epoch, self.epochs) or looks):
            self.journal.say(console.epoch_line(self.view(), epoch))
        self.progress.epoch, self.progress.step = epoch, steps
        cheap = time.monotonic() - self.saved > self.writer.seconds / SAVING_SHARE
        last = epoch + 1 == self.epochs or self.training.early_stopping.may_end_next()
        if last or self.ranks.on_first(lambda: cheap):
            self.save(epoch, steps)

    def step_done(self, epoch: int, step: int) -> None:
        """Called after each step: from the first one on, there is something to save."""
        self.steps_here += 1
        if self.steps_here == 1:
            self.stop.at_once = False
            if self.compiling:
                self.journal.say(console.compiled(time.monotonic() - self.began))
                self.compiling = False
        self.after_step(epoch, step)
        if self.steps_here == 2:  # the ranks have told each other that they have all done the first
            self.stop.heeds_others = False

    def after_step(self, epoch: int, step: int) -> None:
        """Save and end where any rank was asked to stop, save where it is time to."""
        due = self.ranks.first and time.monotonic() - self.saved > 60 * self.config.checkpoint.every_minutes
        stop, save = self.agreement.reach(self.stop.name is not None, due)
        if stop or (save and step < self._steps_of(epoch)):
            self.save(epoch, step)
        if stop:
            raise self._stopped(f"after step {step} of epoch {epoch + 1}")

    def before_batch(self) -> None:
        """Called between any two batches of an evaluation. Raises _AskedToStopError."""
        stop, _ = self.agreement.reach(self.stop.name is not None, False)
        if stop:
            raise _AskedToStopError

    def _stopped(self, where: str) -> Stopped:
        """What to raise, once what was saved is on the disk."""
        self.writer.wait()
        self.ranks.wait()  # torchrun ends all ranks when one exits
        self.journal.note(f"Stopped {where}, and saved.")  # who lost the terminal finds it there
        return Stopped(where)

    def save(self, epoch: int, step: int) -> None:
        """Write a checkpoint, beside the training: `epoch` whole epochs and `step` steps of the next are done."""
        self.saved = time.monotonic()
        try:
            self.training.meter.check()  # before weights that are not finite take the place of the last good ones
        except NotFiniteError as error:
            raise self._not_finite(error) from error
        self._count_time()
        self.progress.epoch, self.progress.step = epoch, step
        state = state_of(self.training, self.progress, self.identity, self.journal.metrics_bytes())
        if self.ranks.first:
            self.writer.write(self._write, state)

    def _write(self, state: dict[str, Any]) -> None:
        self.journal.sync()  # the file must not be shorter than the checkpoint says
        save_checkpoint(self.checkpoints, state, self.config.checkpoint.keep)

    def validate(self, epoch: int) -> dict[str, Evaluation]:
        """Evaluations of raw and averaged weights, by kind, after an epoch; logged. Every rank calls it."""
        begin = time.monotonic()
        found = self._evaluate(self.val_set, epoch)
        self.evaluation_seconds = self._evaluation_took(time.monotonic() - begin)
        self.unreadable.update(path_of(self.val_set, name) for name in found["raw"].unreadable)
        self._tell_guesses(found["raw"].guessed)
        self.journal.record(min((epoch + 1) * self.order.steps, self.steps), epoch, metrics(found))
        if epoch + 1 < self.epochs:
            self.journal.say(console.epoch_line(self.view(), epoch, found))
        return found

    def look(self, epoch: int, images: int) -> None:
        """Say how the weights do on so many of the validation images. Every rank calls it."""
        found = self._evaluate(sample(self.val_set, images), epoch)
        self.journal.say(console.epoch_line(self.view(), epoch, found))

    def _evaluate(self, images: Dataset, epoch: int) -> dict[str, Evaluation]:
        sizes = self.config.resolution
        whole = self.models(), images, self.config, self.ranks, sizes.val_resize, sizes.val_crop
        try:
            return evaluate(*whole, self.before_batch)
        except _AskedToStopError:
            self.save(epoch, self._steps_of(epoch))  # it is repeated
            raise self._stopped(f"in the evaluation after epoch {epoch + 1}") from None

    def _evaluation_took(self, seconds: float) -> float:
        """Seconds as those of later evaluations. In a start's first one a GPU's convolutions are tried out, which may
        take longer than all the rest: it counts as if its images were trained on, where that is less.
        """
        pace, first = self.training.meter.pace, math.isnan(self.evaluation_seconds)
        return min(seconds, len(self.val_set) / pace.images_per_second()) if first and pace.known else seconds

    def end_epoch(self, epoch: int, found: Mapping[str, Evaluation]) -> None:
        """Do what an epoch's evaluations ask for: keep the best weights, lower the learning rate, end the training.

        The figures, and so what is done, are the same on every rank.
        """
        self._keep_best(epoch, found[self.primary])
        lowers = self.training.plateau.update(found["raw"].loss)
        if lowers and epoch + 1 < self.epochs:
            for line in console.lowered(self.training.plateau, self.config):
                self.journal.say(line)
        self.progress.epoch, self.progress.step = epoch + 1, 0
        self.training.early_stopping.update(found[self.primary].acc1, found[self.primary].loss)
        reason = self.training.early_stopping.reason()
        if reason is not None and epoch + 1 < self.epochs:
            self.stopped_early = {"epoch": epoch, "reason": reason}
            self.epochs, self.steps = epoch + 1, (epoch + 1) * self.order.steps
            self.journal.say(f"stopped early, after epoch {epoch + 1} of {self.config.epochs}: {reason}")

    def _keep_best(self, epoch: int, evaluation: Evaluation) -> None:
        by = self.config.checkpoint.best_by
        if not self.progress.is_better(evaluation.figures(), by):
            return
        self.progress.best = {**evaluation.figures(), "epoch": epoch, "weights": self.primary, "by": by}
        if self.ranks.first:
            best = {**self.progress.best, "model": self.models()[self.primary].state_dict()}
            self.writer.write(lambda copy: save_tensors(self.checkpoints / "best.pt", copy), best)

    def finish(self, found: Mapping[str, Evaluation]) -> None:
        """Write predictions, weights, and last of all result.json. Every rank calls it. Raises RunError.

        Args:
            found: the evaluations after the last epoch, by kind of weights.
        """
        # After max_steps the statistics of batch norm may not be fit to evaluate with yet.
        if self.config.max_steps is None and not math.isfinite(found["raw"].loss):
            raise RunError(
                f"the validation loss is {found['raw'].loss} at the end of the training: the network has diverged. "
                "A lower optimizer.lr, a longer warm-up or optimizer.grad_clip may help"
            )
        try:
            grid = evaluate_grid(self.models(), self.val_set, self.config, self.ranks, self.before_batch)
        except _AskedToStopError:  # the checkpoint of the training's end is on the disk: all evaluations are repeated
            raise self._stopped("in the evaluations after the training") from None
        in_training = {path_of(self.train_set, name) for name in self.training.loader.unreadable}
        self.unreadable = self.ranks.union(self.unreadable | in_training)
        if not self.ranks.first:
            return
        self.writer.wait()
        self._count_time()
        if self.unreadable:
            write_atomically(self.folder / "unreadable.txt", "\n".join(sorted(self.unreadable)) + "\n")
        about = {
            "best": self.progress.best,
            "stopped_early": self.stopped_early,
            "epochs": self.epochs,
            "steps": self.steps,
            "images_seen": self.order.images_seen(self.steps),
            "unique_images": self.order.unique_images(self.steps),
            "seconds": self.progress.seconds,
            "device_seconds": self.progress.device_seconds,
            "unreadable": len(self.unreadable),
        }
        view = self.view()
        tensorboard.show_end(view, self.journal, found[self.primary])
        run_folder.write_result(self.plan, self.models(), found, grid, about)
        self.journal.draw(text_curves.of_run(self.folder, sys.stdout))
        for line in console.closing(view, found, len(self.unreadable)):
            self.journal.say(line)

    def close(self) -> None:
        """End workers, logs, and what is still being written."""
        self.training.loader.close()
        try:
            self.writer.wait()  # it brings the journal's figures to the disk: before they are closed
        finally:
            self.journal.close()

    def _tell_guesses(self, in_validation: list[str]) -> None:
        """Say once that there are images the range of whose values nothing tells. Every rank calls it."""
        if self.told_of_guesses:
            return
        met = {path_of(self.train_set, name) for name in self.training.loader.guessed}
        met = self.ranks.union(met | {path_of(self.val_set, name) for name in in_validation})
        for line in console.guessed(met):
            self.journal.say(line)
        self.told_of_guesses = bool(met)

    def _steps_of(self, epoch: int) -> int:
        """Steps of an epoch; max_steps may cut the last."""
        return min(self.order.steps, self.steps - epoch * self.order.steps)

    def _count_time(self) -> None:
        now = time.monotonic()
        self.progress.seconds += now - self.counted
        self.progress.device_seconds += (now - self.counted) * self.ranks.world_size
        self.counted = now

    def _not_finite(self, error: NotFiniteError) -> RunError:
        path = self.folder / "not_finite.json"
        if self.ranks.first:
            faults.write_images_of_step(path, self.train_set, self.order, error.step)
        return RunError(faults.not_finite(error.step, path))
