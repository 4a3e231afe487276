"""One training run: builds the parts from a plan, trains epoch by epoch, evaluates, saves, writes the result."""

import math
import sys
import time
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from recipe.data import dataset as datasets
from recipe.data.dataset import Dataset, path_of
from recipe.data.order import Order, make_order
from recipe.data.prepare.fetch import fetch
from recipe.errors import RunError, rank_local
from recipe.files import write_atomically
from recipe.ingredients.ema import REFERENCE_IMAGES
from recipe.logs import console, faults, tensorboard
from recipe.logs.journal import Journal, NotFiniteError
from recipe.logs.pace import evaluates
from recipe.machine import distributed, restarts
from recipe.machine.distributed import Agreement, Ranks
from recipe.machine.signals import Stopped, StopSignal
from recipe.network import pretrained
from recipe.network.freeze import freeze
from recipe.network.model import check_resolution, make_model
from recipe.plan.compose import Plan
from recipe.plan.scaling import ema_steps
from recipe.run import folder as run_folder
from recipe.run import shared_training
from recipe.run.checkpoint import Writer, load_checkpoint, save_checkpoint, save_tensors
from recipe.run.parts import build
from recipe.run.progress import Progress, check_identity, restore, state_of
from recipe.training.loop import Evaluation, evaluate, evaluate_grid, train_one_epoch

SAVING_SHARE = 0.01  # of the time, at most, for the saves at the ends of epochs


def train(plan: Plan) -> None:
    """Train what the plan says, from the last checkpoint of its folder if there is one.

    Raises UserError, and Stopped when a signal asked the run to stop and it has saved.
    """
    if plan.config.resume == "auto" and _finished_before(plan):
        return
    with StopSignal(at_once=True) as stop:
        try:
            ranks = distributed.start(plan.config.runtime)
            with run_folder.claimed(plan.folder, ranks):
                anew = plan.config.resume == "never" and not _begun_by_this_command(plan, ranks)
                if anew or plan.config.resume == "auto" or not _finished_before(plan):
                    _train(plan, ranks, stop, anew)
        except torch.OutOfMemoryError as error:
            raise rank_local(RunError(faults.out_of_memory(plan.config))) from error
        except RuntimeError as error:
            if "DataLoader worker" in str(error):
                raise rank_local(RunError(faults.dead_worker(error))) from error
            if distributed.lost_a_process(error):
                raise RunError(faults.LOST_A_PROCESS) from error
            raise
        except Stopped:
            distributed.stop()
            raise
        except KeyboardInterrupt as error:
            if plan.config.resume == "auto" and (plan.folder / "checkpoints" / "last.pt").exists():
                error.add_note("The same command goes on from the last checkpoint.")
            raise
        distributed.stop()


def _finished_before(plan: Plan) -> bool:
    result = run_folder.finished(plan)
    if result is not None and distributed.is_first():
        run_folder.drop_checkpoints(plan)  # if it was killed between its result and that
        print(f"Finished already: top-1 {result['acc1']:.2f}, in {plan.folder}\nTo train it again: resume=never")
    return result is not None


def _begun_by_this_command(plan: Plan, ranks: Ranks) -> bool:
    begun: bool = ranks.on_first(lambda: restarts.begun_by_this_command(plan.folder, ranks.command))
    return begun


def _train(plan: Plan, ranks: Ranks, stop: StopSignal, anew: bool) -> None:
    if plan.config.model.sync_batch_norm and ranks.world_size > 1 and ranks.device.type != "cuda":
        raise RunError("model.sync_batch_norm=true needs GPUs, and this run is on a CPU: PyTorch has none of it there")
    ranks.on_first(lambda: fetch(plan.config.data))
    train_set, val_set = datasets.load(plan.config.data, run_folder.begun_with(plan))
    plan = fit_to_data(plan, train_set)
    order = make_order(plan.config, len(train_set))
    network = make_model(plan.config, len(train_set.classes))
    freeze(network, plan.config.model)
    check_resolution(network, plan.config, len(train_set.classes))
    start = pretrained.load(network, plan.config, ranks, train_set.classes)
    if anew:
        ranks.on_first(lambda: run_folder.set_aside(plan.folder))
    fingerprints = {"train": train_set.fingerprint, "val": val_set.fingerprint}
    source = ranks.on_first(lambda: shared_training.find(plan, fingerprints))
    about_start = asdict(start) if start is not None else None
    ranks.on_first(lambda: run_folder.open_folder(plan, ranks, fingerprints, train_set.classes, about_start))
    if source is not None and plan.config.resume == "auto":
        shared_training.evaluate_for(plan, ranks, val_set, source)
        return
    run = Run(plan, ranks, (train_set, val_set), order, network, stop)
    try:
        for line in console.opening(run, start):
            run.journal.say(line)
        tensorboard.show_beginning(run)
        found: dict[str, Evaluation] = {}
        for epoch in range(run.progress.epoch, run.epochs):
            run.train_epoch(epoch)
            if evaluates(run, epoch):
                found = run.validate(epoch)
            if run.stopped_early:
                break
        run.finish(found)
        run.agreement.wait()
    finally:
        run.close()


def fit_to_data(plan: Plan, train_set: Dataset) -> Plan:
    """The plan with the values that depend on the training set filled in: classes, EMA steps."""
    config = deepcopy(plan.config)
    config.data.num_classes = len(train_set.classes)
    if "ema.steps" not in plan.literal:
        batch_factor = 1.0 if "batch_size" in plan.literal else config.scale.batch_size
        config.ema.steps = ema_steps(config.ema.steps, batch_factor, len(train_set), REFERENCE_IMAGES)
    return replace(plan, config=config)


class Run:
    """The parts of one run and what it has come to; what is done with it: train, save, evaluate, finish."""

    def __init__(
        self,
        plan: Plan,
        ranks: Ranks,
        data: tuple[Dataset, Dataset],
        order: Order,
        network: nn.Module,
        stop: StopSignal,
    ) -> None:
        self.plan, self.config, self.ranks, self.order, self.stop = plan, plan.config, ranks, order, stop
        self.train_set, self.val_set = data
        self.folder = plan.folder
        self.checkpoints = plan.folder / "checkpoints"
        self.steps = min(self.config.epochs * order.steps, self.config.max_steps or sys.maxsize)  # of the whole run
        self.epochs = -(-self.steps // order.steps)  # begun
        self.speed, self.data_wait = math.nan, math.nan  # images/s over all ranks, and share of time, in the last epoch
        self.unreadable: set[str] = set()  # images left out (data.on_corrupt=skip), by their paths
        self.told_of_guesses = False  # about the values of deep images
        self.evaluation_seconds = math.nan  # of the last evaluation
        self.stopped_early: dict[str, Any] | None = None  # the last epoch, and why; None: the whole length

        self.identity = {
            **plan.hashes,
            "training set": self.train_set.fingerprint,
            "validation set": self.val_set.fingerprint,
        }
        state, self.refused = load_checkpoint(self.checkpoints)
        self.progress = Progress(**state["progress"]) if state is not None else Progress()
        if not ranks.all_equal((self.progress.epoch, self.progress.step, self.identity)):
            raise RunError(
                f"the processes found different checkpoints or different data: {self.folder} and data.root must be "
                "the same folders on every machine"
            )
        if state is not None:
            check_identity(state, self.identity, plan.former_hashes)
        metrics_bytes = state["metrics_bytes"] if state is not None else 0
        self.journal = Journal(self.folder, ranks, metrics_bytes, self.progress.steps_done(order.steps))
        self.training = build(self, network)
        if state is not None:
            restore(state, self.training)
        self.writer, self.agreement = Writer(), Agreement(ranks)
        self.began = self.saved = self.counted = time.monotonic()
        self.compiling = self.config.runtime.compile  # until this process's first step is done

    def train_epoch(self, epoch: int) -> None:
        """One epoch of training; mid-way through it where the run goes on from there. Saved before its evaluation."""
        self.stop.at_once = False
        meter, steps = self.training.meter, self._steps_of(epoch)
        done = self.progress.step if self.progress.epoch == epoch else 0
        if done == steps:  # stopped between the epoch's last step and the end of its evaluation
            return
        self.journal.start_bar(f"epoch {epoch + 1}/{self.config.epochs}", steps, done)
        meter.start_epoch(epoch, self.training.loader)
        try:
            train_one_epoch(self.training, epoch, done)
        except NotFiniteError as error:
            raise self._not_finite(error) from error
        self.journal.end_bar()
        self.speed, self.data_wait = meter.images_per_second(), meter.data_wait()
        if (epoch + 1) % self.config.evaluate.every or epoch + 1 == self.epochs:
            self.journal.say(console.epoch_line(self, epoch))
        self.progress.epoch, self.progress.step = epoch, steps
        cheap = time.monotonic() - self.saved > self.writer.seconds / SAVING_SHARE
        last = epoch + 1 == self.epochs or self.training.early_stopping.may_end_next()
        if last or self.ranks.on_first(lambda: cheap):
            self.save(epoch, steps)

    def after_step(self, epoch: int, step: int) -> None:
        """At each step boundary: save and end where any rank was asked to stop; save where it is time to."""
        if self.compiling:
            self.journal.say(console.compiled(time.monotonic() - self.began))
            self.compiling = False
        due = self.ranks.first and time.monotonic() - self.saved > 60 * self.config.checkpoint.every_minutes
        stop, save = self.agreement.reach(self.stop.name is not None, due)
        if stop or (save and step < self._steps_of(epoch)):
            self.save(epoch, step)
        if stop:
            self.writer.wait()
            self.ranks.wait()  # torchrun ends all ranks when one exits
            stopped = Stopped(f"after step {step} of epoch {epoch + 1}")
            self.journal.note(f"Stopped {stopped.where}, and saved.")  # who lost the terminal finds it there
            raise stopped

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
        """Evaluate raw and averaged weights, log the figures, keep the best."""
        c = self.config.resolution
        models = self._models()
        begin = time.monotonic()
        found = evaluate(models, self.val_set, self.config, self.ranks, c.val_resize, c.val_crop)
        self.evaluation_seconds = time.monotonic() - begin
        self.unreadable.update(path_of(self.val_set, name) for name in found["raw"].unreadable)
        self._tell_guesses(found["raw"].guessed)
        lowers = self.training.plateau.update(found["raw"].loss)
        self.journal.record(min((epoch + 1) * self.order.steps, self.steps), epoch, console.figures(found))
        primary = list(found)[-1]
        by = self.config.checkpoint.best_by
        if self.progress.is_better(found[primary].figures(), by):
            self.progress.best = {**found[primary].figures(), "epoch": epoch, "weights": primary, "by": by}
            if self.ranks.first:
                best = {**self.progress.best, "model": models[primary].state_dict()}
                self.writer.write(lambda copy: save_tensors(self.checkpoints / "best.pt", copy), best)
        if epoch + 1 < self.epochs:
            accuracies = "  ".join(f"{name} {evaluation.acc1:.2f}" for name, evaluation in found.items())
            self.journal.say(f"{console.epoch_line(self, epoch)}  top-1 {accuracies}")
            for line in console.lowered(self.training.plateau, self.config) if lowers else ():
                self.journal.say(line)
        self.progress.epoch, self.progress.step = epoch + 1, 0
        self.training.early_stopping.update(found[primary].acc1, found[primary].loss)
        reason = self.training.early_stopping.reason()
        if reason is not None and epoch + 1 < self.epochs:  # the figures, and so the end, are the same on every rank
            self.stopped_early = {"epoch": epoch, "reason": reason}
            self.epochs, self.steps = epoch + 1, (epoch + 1) * self.order.steps
            self.journal.say(f"stopped early, after epoch {epoch + 1} of {self.config.epochs}: {reason}")
        return found

    def finish(self, found: dict[str, Evaluation]) -> None:
        """Predictions, weights, and last of all result.json. `found`: the evaluation of the last epoch."""
        # After max_steps the statistics of batch norm may not be fit to evaluate with yet.
        if self.config.max_steps is None and not math.isfinite(found["raw"].loss):
            raise RunError(
                f"the validation loss is {found['raw'].loss} at the end of the training: the network has diverged. "
                "A lower optimizer.lr, a longer warm-up or optimizer.grad_clip may help"
            )
        grid = evaluate_grid(self._models(), self.val_set, self.config, self.ranks)
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
        tensorboard.show_end(self, found[list(found)[-1]])
        run_folder.write_result(self.plan, self._models(), found, grid, about)
        for line in console.closing(self, found):
            self.journal.say(line)

    def close(self) -> None:
        """End workers, logs, and what is still being written."""
        self.training.loader.close()
        try:
            self.writer.wait()  # it brings the journal's figures to the disk: before they are closed
        finally:
            self.journal.close()

    def _tell_guesses(self, in_validation: list[str]) -> None:
        """Once: images the range of whose values nothing tells. Every rank calls it."""
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

    def _models(self) -> dict[str, nn.Module]:
        """The models to evaluate; the last is the one whose figures count."""
        models = {"raw": self.training.network}
        if self.training.ema.model is not None:
            models["ema"] = self.training.ema.model
        return models

    def _not_finite(self, error: NotFiniteError) -> RunError:
        path = self.folder / "not_finite.json"
        if self.ranks.first:
            faults.write_images_of_step(path, self.train_set, self.order, error.step)
        return RunError(faults.not_finite(error.step, path))
