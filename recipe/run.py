"""One training run: builds the parts from a plan, trains epoch by epoch, evaluates, writes the result."""

import math
import sys
import time
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from recipe import compose, console, distributed, pictures, run_folder, shared_training
from recipe.checkpoint import FORMAT, load_checkpoint, save_checkpoint, save_weights
from recipe.checks import leaves
from recipe.compose import Plan
from recipe.config import Config
from recipe.data import dataset as datasets
from recipe.data.dataset import Dataset
from recipe.data.loader import TrainLoader
from recipe.data.order import Order, make_order
from recipe.distributed import Ranks
from recipe.errors import RunError, rank_local
from recipe.files import write_atomically
from recipe.ingredients.ema import REFERENCE_IMAGES, Ema
from recipe.ingredients.loss import make_loss
from recipe.ingredients.optimizer import make_optimizer
from recipe.ingredients.schedule import Plateau
from recipe.logs import Journal, TrainMeter
from recipe.loop import Evaluation, Training, channel_statistics, evaluate, evaluate_grid, train_one_epoch
from recipe.model import check_resolution, make_model
from recipe.scaling import ema_steps


def train(plan: Plan) -> None:
    """Train what the plan says, from the last checkpoint of its folder if there is one. Raises UserError."""
    result = run_folder.finished(plan) if plan.config.resume == "auto" else None
    if result is not None:
        if distributed.is_first():
            print(f"Finished already: top-1 {result['acc1']:.2f}, in {plan.folder}\nTo train it again: resume=never")
        return
    ranks = distributed.start(plan.config.runtime)
    try:
        _train(plan, ranks)
    except torch.OutOfMemoryError as error:
        raise rank_local(RunError(_out_of_memory(plan.config))) from error
    except BaseException as error:
        if plan.config.resume == "auto" and (plan.folder / "checkpoints" / "last.pt").exists():
            error.add_note("The same command goes on from the last checkpoint.")
        raise
    distributed.stop()


def _train(plan: Plan, ranks: Ranks) -> None:
    if plan.config.model.sync_batch_norm and ranks.world_size > 1 and ranks.device.type != "cuda":
        raise RunError("model.sync_batch_norm=true needs GPUs, and there is none here: PyTorch has none of it on a CPU")
    ranks.on_first(lambda: datasets.prepare(plan.config.data))
    train_set, val_set = datasets.load(plan.config.data)
    plan = fit_to_data(plan, train_set)
    order = make_order(plan.config, len(train_set))
    network = make_model(plan.config, len(train_set.classes))
    check_resolution(network, plan.config, len(train_set.classes))
    if plan.config.resume == "never":
        ranks.on_first(lambda: run_folder.set_aside(plan.folder))
    fingerprints = {"train": train_set.fingerprint, "val": val_set.fingerprint}
    source = ranks.on_first(lambda: shared_training.find(plan, fingerprints))
    ranks.on_first(lambda: run_folder.open_folder(plan, ranks, fingerprints))
    if source is not None and plan.config.resume == "auto":
        shared_training.evaluate_for(plan, ranks, val_set, source)
        return
    run = Run(plan, ranks, train_set, val_set, order, network)
    try:
        for line in console.opening(run):
            run.journal.say(line)
        run.show_beginning()
        for epoch in range(run.epoch, run.epochs):
            run.train_epoch(epoch)
            if (epoch + 1) % plan.config.evaluate.every == 0 and epoch + 1 < run.epochs:
                run.validate(epoch)
            run.save(epoch + 1, 0)
        run.finish()
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
    """The parts of one run and what it has come to: where it stands, the time it took, its best figure."""

    def __init__(
        self, plan: Plan, ranks: Ranks, train_set: Dataset, val_set: Dataset, order: Order, network: nn.Module
    ) -> None:
        self.plan, self.config, self.ranks = plan, plan.config, ranks
        self.train_set, self.val_set, self.order = train_set, val_set, order
        self.folder = plan.folder
        self.checkpoints = plan.folder / "checkpoints"
        config = plan.config
        self.steps = min(config.epochs * order.steps, config.max_steps or sys.maxsize)  # of the whole run
        self.epochs = -(-self.steps // order.steps)  # begun

        torch.use_deterministic_algorithms(config.runtime.deterministic)
        torch.backends.cudnn.benchmark = not config.runtime.deterministic
        network = network.to(ranks.device)
        if config.model.sync_batch_norm:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        ema = Ema(network, config, len(train_set))
        optimizer = make_optimizer(network, config.optimizer)
        scaler = torch.amp.GradScaler(ranks.device.type, enabled=config.runtime.precision == "fp16")

        self.epoch, self.step = 0, 0  # done: whole epochs, and steps of the next
        self.seconds, self.device_seconds = 0.0, 0.0
        self.best: dict[str, Any] = {"acc1": -1.0, "epoch": -1}
        plateau = Plateau(config.schedule)
        metrics_bytes = 0
        state = load_checkpoint(self.checkpoints)
        if state is not None:
            network.load_state_dict(state["model"])
            if ema.model is not None:
                ema.model.load_state_dict(state["ema"])
            optimizer.load_state_dict(state["optimizer"])
            scaler.load_state_dict(state["scaler"])
            plateau.load_state_dict(state["plateau"])
            self.epoch, self.step = state["epoch"], state["step"]
            self.seconds, self.device_seconds, self.best = state["seconds"], state["device_seconds"], state["best"]
            metrics_bytes = state["metrics_bytes"]

        if config.runtime.compile:
            network.compile()
        steps_done = self.epoch * order.steps + self.step
        self.journal = Journal(self.folder, ranks, metrics_bytes, steps_done)
        loader = TrainLoader(train_set, order, config, ranks, (self.epoch, self.step))
        meter = TrainMeter(self.journal, ranks, order.steps, config.log.every_steps, self.steps)
        mean, std = channel_statistics(config, ranks.device)
        self.training = Training(
            config=config,
            ranks=ranks,
            order=order,
            loader=loader,
            network=network,
            model=ranks.averaging_gradients(network),
            optimizer=optimizer,
            scaler=scaler,
            criterion=make_loss(config.loss),
            ema=ema,
            plateau=plateau,
            meter=meter,
            save_if_due=self.save_if_due,
            num_classes=len(train_set.classes),
            mean=mean,
            std=std,
        )
        self.began = self.saved = self.counted = time.monotonic()
        self.first_epoch = self.epoch
        where = (self.epoch, self.step, train_set.fingerprint, val_set.fingerprint)
        if not ranks.all_equal(where):
            raise RunError(
                f"the processes found different checkpoints or different data: {self.folder} and data.root must be "
                "the same folders on every machine"
            )
        self.speed, self.data_wait = math.nan, math.nan  # images/s over all ranks, and share of time, in the last epoch
        self.unreadable: set[str] = set()  # images left out (data.on_corrupt=skip)
        self.evaluation_seconds = math.nan  # of the last evaluation

    def show_beginning(self) -> None:
        """For TensorBoard: the config, and the first images as the network sees them. Once, from rank 0."""
        if not self.ranks.first or self.epoch or self.step:
            return
        self.journal.text("config", f"```yaml\n{compose.to_yaml(self.config)}\n```")
        if self.config.log.images:
            batch = pictures.first_training_images(self.training, self.train_set, self.order)
            self.journal.picture("train/images", 0, batch)
            self.journal.picture("val/images", 0, pictures.first_validation_images(self.config, self.val_set))
        self.journal.flush()

    def show_end(self, final: Evaluation) -> None:
        """For TensorBoard: what was set and what came of it, and the best and the worst predictions."""
        self.journal.hyperparameters(
            self._settings(), {"val/final_acc1": final.acc1, "val/final_loss": final.loss}, self.steps
        )
        if self.config.log.images:
            for name, worst in (("worst", True), ("best", False)):
                picture = pictures.predictions(self.config, self.val_set, final, worst)
                self.journal.picture(f"val/{name}_predictions", self.steps, picture)
        self.journal.flush()

    def _settings(self) -> dict[str, Any]:
        """The recipe, the seed, and every key that is not at the schema's value."""
        usual = {key: value for key, value, _ in leaves(Config())}
        settings: dict[str, Any] = {"recipe": self.plan.rung.name, "seed": self.config.seed}
        for key, value, about in leaves(self.config):
            if about["affects"] != "nothing" and value != usual[key]:
                settings[key] = value if type(value) in (int, float) else compose.text(value)
        return settings

    def train_epoch(self, epoch: int) -> None:
        """One epoch of training; mid-way through it where the run goes on from there."""
        meter, steps = self.training.meter, self.order.steps
        self.journal.start_bar(f"epoch {epoch + 1}/{self.config.epochs}", steps, self.step)
        meter.start_epoch(epoch, self.training.loader)
        train_one_epoch(self.training, epoch, self.step)
        self.journal.end_bar()
        self.epoch, self.step = epoch + 1, 0
        self.speed, self.data_wait = meter.images_per_second(), meter.data_wait()
        if (epoch + 1) % self.config.evaluate.every or epoch + 1 == self.epochs:
            self.journal.say(console.epoch_line(self, epoch))

    def validate(self, epoch: int) -> dict[str, Evaluation]:
        """Evaluate raw and averaged weights, log the figures, keep the best."""
        c = self.config.resolution
        models = self._models()
        begin = time.monotonic()
        found = evaluate(models, self.val_set, self.config, self.ranks, c.val_resize, c.val_crop)
        self.evaluation_seconds = time.monotonic() - begin
        self.unreadable.update(found["raw"].unreadable)
        self.training.plateau.update(found["raw"].loss)
        self.journal.record(min((epoch + 1) * self.order.steps, self.steps), epoch, console.figures(found))
        self.journal.flush()
        primary = list(found)[-1]
        if found[primary].acc1 > self.best["acc1"]:
            self.best = {**found[primary].figures(), "epoch": epoch, "weights": primary}
            if self.ranks.first:
                best: dict[str, Any] = {"format": FORMAT, **self.best, "model": models[primary].state_dict()}
                save_weights(self.checkpoints / "best.pt", best)
        if epoch + 1 < self.epochs:
            accuracies = "  ".join(f"{name} {evaluation.acc1:.2f}" for name, evaluation in found.items())
            self.journal.say(f"{console.epoch_line(self, epoch)}  top-1 {accuracies}")
        return found

    def save_if_due(self, epoch: int, step: int) -> None:
        """Save within an epoch where checkpoint.every_minutes have passed. Rank 0 has all that it takes."""
        if time.monotonic() - self.saved > 60 * self.config.checkpoint.every_minutes and step < self.order.steps:
            self.save(epoch, step)

    def save(self, epoch: int, step: int) -> None:
        """Write a checkpoint: `epoch` whole epochs and `step` steps of the next are done."""
        self.saved = time.monotonic()
        t = self.training
        if not self.ranks.first or not all(weight.isfinite().all() for weight in t.network.parameters()):
            return  # the meter stops a run with weights that are not finite; the last good checkpoint stays
        self._count_time()
        state: dict[str, Any] = {
            "format": FORMAT,
            "model": t.network.state_dict(),
            "ema": t.ema.model.state_dict() if t.ema.model is not None else None,
            "optimizer": t.optimizer.state_dict(),
            "scaler": t.scaler.state_dict(),
            "plateau": t.plateau.state_dict(),
            "epoch": epoch,
            "step": step,
            "seconds": self.seconds,
            "device_seconds": self.device_seconds,
            "best": self.best,
            "metrics_bytes": self.journal.metrics_bytes(),
        }
        save_checkpoint(self.checkpoints, state, self.config.checkpoint.keep)

    def finish(self) -> None:
        """The final evaluation, predictions, weights, and last of all result.json."""
        found = self.validate(self.epochs - 1)
        # After max_steps the statistics of batch norm may not be fit to evaluate with yet.
        if self.config.max_steps is None and not math.isfinite(found["raw"].loss):
            raise RunError(
                f"the validation loss is {found['raw'].loss} at the end of the training: the network has diverged. "
                "A lower optimizer.lr, a longer warm-up or optimizer.grad_clip may help"
            )
        grid = evaluate_grid(self._models(), self.val_set, self.config, self.ranks)
        self.unreadable = self.ranks.union(self.unreadable | self.training.loader.unreadable)
        if not self.ranks.first:
            return
        self._count_time()
        if self.unreadable:
            write_atomically(self.folder / "unreadable.txt", "\n".join(sorted(self.unreadable)) + "\n")
        about = {
            "best": self.best,
            "epochs": self.epochs,
            "steps": self.steps,
            "images_seen": self.order.images_seen(self.steps),
            "unique_images": self.order.unique_images(self.steps),
            "seconds": self.seconds,
            "device_seconds": self.device_seconds,
            "unreadable": len(self.unreadable),
        }
        self.show_end(found[list(found)[-1]])
        run_folder.write_result(self.plan, self._models(), found, grid, about)
        for line in console.closing(self, found):
            self.journal.say(line)

    def _count_time(self) -> None:
        now = time.monotonic()
        self.seconds += now - self.counted
        self.device_seconds += (now - self.counted) * self.ranks.world_size
        self.counted = now

    def close(self) -> None:
        """End workers and logs."""
        self.training.loader.close()
        self.journal.close()

    def _models(self) -> dict[str, nn.Module]:
        """The models to evaluate; the last is the one whose figures count."""
        models = {"raw": self.training.network}
        if self.training.ema.model is not None:
            models["ema"] = self.training.ema.model
        return models


def _out_of_memory(config: Config) -> str:
    mend = "" if config.runtime.precision in ("bf16", "fp16") else "try runtime.precision=bf16, which halves it; "
    return (
        f"the GPU's memory is too small for micro-batches of {config.micro_batch_size} images at "
        f"{config.resolution.train_crop} px: {mend}a smaller micro_batch_size fits too, but it is another experiment, "
        "since batch norm and mixup see other batches"
    )
