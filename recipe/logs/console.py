"""What a run says about itself: lines of text, at its beginning, after an epoch, at its end."""

import math
import os
import shutil
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from recipe.config import Config
from recipe.data import notices
from recipe.data.cache.images import CachedImages
from recipe.data.dataset import Dataset
from recipe.data.formats import FORMATS
from recipe.data.known import described
from recipe.data.store import store_of
from recipe.ingredients.resizing import in_words
from recipe.ingredients.schedule import Plateau
from recipe.logs import disk, estimate
from recipe.logs.advice import other_network, other_preprocessing, what_next
from recipe.logs.estimate import seconds_left
from recipe.logs.journal import TITLE, duration
from recipe.logs.run_view import RunView
from recipe.machine.signals import nohup_in_vain
from recipe.network import definition
from recipe.network.compiling import cache_folder
from recipe.network.pretrained import Start
from recipe.output import count
from recipe.plan import published as of_source
from recipe.plan.compose import Plan
from recipe.plan.scaling import fitted_step
from recipe.training.evaluate import METRICS, Evaluation

LISTED_CLASSES = 20  # with more, only the fewest and the most images are told
LISTED_TENSORS = 12  # of those that weights and network do not have in common
MUCH_WAITING = 0.2  # share of an epoch, from which on a faster pipeline would shorten the training
LONG = 60  # seconds that a run takes, from which on that matters
IMBALANCED = 3  # times as many images in the largest class as in the smallest


def opening(
    run: RunView,
    start: Start | None = None,
    refused: Sequence[str] = (),
    thread_counts: Sequence[int] = (),
    compiling: str | None = None,
) -> Iterator[str]:
    """Lines on what will be trained, in the units of the experiment.

    Args:
        start: what the network took over from model.weights.
        refused: newer checkpoints than the one that the run goes on from, each with what is wrong with it.
        thread_counts: threads of a rank in all starts of the run so far, each count once.
        compiling: what runtime.compile_mode=auto has chosen, and why.
    """
    c, order, ranks, ema = run.config, run.order, run.ranks, run.training.ema
    network = run.training.network
    parameters = sum(parameter.numel() for parameter in network.parameters())
    trainable = sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
    images = f"{len(run.train_set):,} training, {len(run.val_set):,} validation images"
    threads = torch.get_num_threads()
    yield _row("run", f"{run.plan.name}, seed {c.seed}")
    yield _row("folder", _path(run.folder))
    for number, line in enumerate(disk.lines(run)):
        yield _row("" if number else "disk", line)
    yield _row("data", f"{c.data.name}: {images}")
    if store := store_of(c.data.root):
        settings = f"max side {store['max_side']}, quality {store['quality']}"
        yield _row("", f"a store of {settings} (pixels differ from the originals)")
    if c.data.fold is not None:
        yield _row("", f"fold {c.data.fold + 1} of {c.data.folds} (data.fold={c.data.fold})")
    if isinstance(run.train_set, CachedImages):
        yield _row("cache", f"memory: {run.train_set.said}")
    yield from _classes(run.train_set)
    yield from _strays(run.train_set, run.val_set)
    if ranks.first:
        new = run.at_its_beginning  # else train.log has it, of the first start
        for line in notices.noticed(c, run.train_set, run.val_set, order, ranks.world_size, compare=new):
            yield _row("notice", line)
    made_with = f", {definition.written(shown)}" if (shown := definition.shown(c.model)) else ""
    yield _row("model", f"{c.model.name}, {parameters / 1e6:.1f} M parameters{made_with}")
    if trainable < parameters:
        yield _row("", f"{trainable:,} of {parameters:,} parameters train (model.freeze={c.model.freeze})")
    yield from _start(start)
    for line in (*other_network(c), *other_preprocessing(c, run.plan.literal)):
        yield _row("", line)
    batch = f"{c.batch_size} = {order.micro_batches} micro-batches x {c.micro_batch_size}"
    yield _row("batch", f"{batch} over {count(ranks.world_size, 'rank')}")
    yield _row("length", f"{count(c.epochs, 'epoch')} x {count(order.steps, 'step')}")
    if (fitted := fitted_step(c, run.plan.differences, run.plan.literal)) is not None:
        yield _row("", fitted)
    if run.steps < c.epochs * order.steps:
        last = run.steps - (run.epochs - 1) * order.steps
        yield _row("", f"max_steps={c.max_steps}: it ends after step {last} of epoch {run.epochs}")
    if order.repetitions > 1:
        of = f"{-(-order.positions // order.repetitions):,} of the {order.num_images:,} images"
        yield _row("", f"an epoch takes {of}, each {order.repetitions} times (repeated augmentation)")
    if order.labels is not None:
        yield _row("", "images are drawn with replacement, every class as often as any other (sampler.draw=balanced)")
    if order.dropped:
        yield _row("", f"the last {order.dropped} positions of each epoch are too few for a step and left out")
    sizes = c.resolution
    of = f" of {sizes.train_resize}" if sizes.train_resize is not None else ""
    yield _row("pixels", f"train {in_words(c)}{of}, validate {sizes.val_crop} of {sizes.val_resize}")
    if c.early_stopping.patience is not None:
        evaluations = count(c.early_stopping.patience, "evaluation")
        below = c.early_stopping.loss_below
        once = f", once the loss was below {below:g}" if below is not None else ""
        yield _row("early stop", f"after {evaluations} without a better top-1{once}")
    if ema.model is not None:
        copy = " (a copy: too few steps to average over)" if ema.alpha == 1 else ""
        yield _row("EMA", f"every {count(ema.steps, 'step')}, alpha {ema.alpha:.6g}{copy}")
    yield _row("device", f"{device_name(ranks.device)}, {c.runtime.precision}, {count(threads, 'thread')} a rank")
    if compiling is not None:
        yield _row("compile", compiling)
    if c.runtime.compile:
        minutes = "the first step, and the first of another size, may take minutes"
        yield _row("", minutes) if compiling is not None else _row("compile", f"{c.runtime.compile_mode}: {minutes}")
        yield _row("", f"kept for later starts in {cache_folder()}")
    if len(thread_counts) > 1 and not run.at_its_beginning:
        counts = " and ".join(map(str, thread_counts))
        yield _row("", f"run with {counts} threads a rank so far: the last bits are not those of one run throughout")
    if nohup_in_vain():
        yield _row("nohup", "torchrun takes it back: when the terminal closes, this run saves and ends. To go on then:")
        yield _row("", "nohup torchrun --signals-to-handle=SIGTERM,SIGINT,SIGQUIT …")
    for line in refused:
        yield _row("checkpoint", line)
    if not run.at_its_beginning:
        at = f"epoch {run.epoch + 1}, step {run.step}"
        yield _row("resumed", f"going on from the checkpoint at {at}")
        if run.training.plateau.factor < 1:
            lr = run.training.plateau.lowered(c.optimizer.lr)
            yield _row("", f"schedule=plateau has lowered the learning rate to {lr:.4g} so far")
    yield ""


def _classes(train_set: Dataset) -> Iterator[str]:
    """How many images each class has, or the fewest and the most."""
    counts = np.bincount(train_set.labels, minlength=len(train_set.classes))
    fewest, most = int(counts.argmin()), int(counts.argmax())
    if len(counts) <= LISTED_CLASSES:
        each = ", ".join(f"{name}\u00a0{images:,}" for name, images in zip(train_set.classes, counts, strict=True))
        width = max(40, min(120, shutil.get_terminal_size().columns) - TITLE)
        for number, line in enumerate(textwrap.wrap(f"{len(counts)}: {each}", width, break_on_hyphens=False)):
            yield _row("classes" if number == 0 else "", line.replace("\u00a0", " "))
    else:
        ends = f"{counts[fewest]:,} ({train_set.classes[fewest]}) to {counts[most]:,} ({train_set.classes[most]})"
        yield _row("classes", f"{len(counts):,}, of {ends} training images")
    if counts[most] >= IMBALANCED * counts[fewest]:
        yield _row("", "imbalanced: the balanced accuracy counts each class alike, top-1 each image")


def _strays(*sets: Dataset) -> Iterator[str]:
    """What is in the folders and in no set, and images that were not found there until more suffixes were known."""
    for images in {str(images.root): images for images in sets}.values():
        for line in images.remarks():
            yield _row("", line)


def _start(start: Start | None) -> Iterator[str]:
    """What the network starts from, and every tensor that it does not take from there."""
    if start is None:
        return
    yield _row("weights", f"{start.weights}: {start.taken} tensors")
    for title, names in (("from the seed instead", start.fresh), ("of the weights, not used", start.unused)):
        if names:
            more = f" and {len(names) - LISTED_TENSORS} more" if len(names) > LISTED_TENSORS else ""
            yield _row("", f"{title} ({start.why}): {', '.join(names[:LISTED_TENSORS])}{more}")


def guessed(files: Collection[str]) -> Iterator[str]:
    """Lines where images hold values of a range that nothing tells.

    Args:
        files: each with the range that was taken.
    """
    if files:
        yield _row("deep images", f"the range of their values was guessed: {min(files)}{' …' * (len(files) > 1)}")
        yield _row("", f"({count(len(files), 'image')} so far; docs/DATA.md says how)")


def lowered(plateau: Plateau, c: Config) -> Iterator[str]:
    """Line that the learning rate has just been lowered, from what to what; none where it was at its lowest."""
    before, now = (f"{plateau.lowered(c.optimizer.lr, back):.4g}" for back in (1, 0))
    evaluations = count(c.schedule.patience + 1, "evaluation")
    if before != now:
        yield f"learning rate lowered from {before} to {now}: {evaluations} without a lower loss (schedule=plateau)"


def compiled(seconds: float) -> str:
    """Line on what compiling took."""
    return _row("compiled", f"the first step was done after {seconds:.0f} s")


def epoch_line(run: RunView, epoch: int, found: Mapping[str, Evaluation] | None = None) -> str:
    """Line on an epoch (from 0) and where the run stands after it; two spaces stand between its parts.

    Args:
        found: its evaluations, by kind of weights.
    """
    training, done = run.training.meter.of_epoch, f"{epoch + 1:{len(str(run.config.epochs))}}"
    parts = [f"epoch {done}/{run.config.epochs}"]
    if training.steps:
        parts.append(f"train loss {training.loss:.3f} top-1 {training.acc1:.2f}")
    for kind, evaluation in (found or {}).items():
        name = METRICS[kind]["loss"].partition("/")[0]
        parts.append(f"{name} loss {evaluation.loss:.3f} top-1 {evaluation.acc1:.2f}")
    looked_at = max((len(evaluation.labels) for evaluation in (found or {}).values()), default=0)
    if 0 < looked_at < len(run.val_set) and run.midway and run.midway.epoch == epoch:
        parts.append(f"(val: {looked_at:,} of {len(run.val_set):,} images)")
    if not math.isnan(run.images_per_second):  # else evaluated, not trained, since the run was started again
        parts += [_seconds(run.epoch_seconds), f"{run.images_per_second:.0f} images/s"]
    left = seconds_left(run, epoch)
    if left is not None:
        most = "at most " if run.config.early_stopping.patience is not None else ""
        parts.append(f"{most}{duration(left)} left")
    return "  ".join(parts)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def closing(run: RunView, found: Mapping[str, Evaluation], unreadable: int) -> Iterator[str]:
    """Lines on what came out, where it is, and after max_steps what the whole run would take.

    Args:
        found: the final evaluations, by kind of weights.
        unreadable: images that were left out.
    """
    yield ""
    yield from accuracies(found)
    yield from published(run.plan, run.train_set.classes, described(val=run.val_set, train=run.train_set))
    yield _row("best epoch", f"top-1 {run.best['acc1']:6.2f}   (epoch {run.best['epoch'] + 1}, by {run.best['by']})")
    yield _row("time", f"{duration(run.seconds)} on {run.ranks.world_size} x {device_name(run.ranks.device)}")
    if run.config.max_steps is not None and math.isfinite(run.images_per_second):
        pace = run.training.meter.pace
        speed = pace.images_per_second()
        yield _row("speed", f"{speed:,.0f} images/s, {run.data_wait:.0%} of the time waiting for data")
        if not pace.known:
            yield _row("", "the first steps are the slowest, and there were no others: max_steps=50 says more")
        measured = estimate.Speed(speed, run.evaluation_seconds, len(run.val_set))
        for title, text in estimate.lines(run.plan, run.ranks, len(run.train_set), measured):
            yield _row(title, text)
    if run.data_wait > MUCH_WAITING and run.seconds > LONG:
        yield _row(
            "waiting", f"{run.data_wait:.0%} of the last epoch was spent waiting for images: `recipe bench loader`"
        )
        yield _row("", "says what this machine loads, docs/PERFORMANCE.md what would help")
    if unreadable:
        yield _row("left out", f"{count(unreadable, 'image')} that cannot be read: see unreadable.txt")
    folder = _path(run.folder)
    yield _row("folder", folder)
    all_runs = run.folder.parent.parent if run.folder.parent.name == run.plan.name else run.folder
    yield _row("curves", f"tensorboard --logdir {_path(all_runs)}")
    yield _row("", f"recipe curves {folder}   (as pictures)")
    for number, command in enumerate(what_next(folder, run.config)):
        yield _row("" if number else "what next", command)


def published(plan: Plan, classes: Sequence[str], images: Mapping[str, int]) -> Iterator[str]:
    """Lines on what the source reports, where the run is the published experiment: its data and size, nothing changed.

    Where the data alone are others, a line says so.

    Args:
        classes, images: of the run's data, as `data.known.described` says the latter.
    """
    rung = plan.rung
    if not rung.published:
        return
    instead = of_source.instead(rung.on, plan.differences, classes, images)
    if instead is not None:
        others = plan.differences.keys() - {"data"} or FORMATS[plan.config.data.name].instead  # the demo, not a try
        if not others:
            yield _row("published", f"{instead}: these are other images, so that no figure is shown beside them")
        return
    yield _row("published", of_source.in_words(rung.published))
    for entry in rung.evaluated:
        figures = of_source.in_words(of_source.figures_of(entry))
        yield _row("", f"{figures} (recipe evaluate {_path(plan.folder)} {of_source.command_of(entry)})")
    if rung.source:
        yield _row("", f"in {rung.source}")
    acc1 = rung.published.get("acc1", rung.published.get("best_acc1"))
    if acc1 is not None:
        error = math.sqrt(acc1 * (100 - acc1) / images["val"])
        yield _row("", f"(on {images['val']:,} images one standard error of a run's top-1 is {error:.2f} points)")


def accuracies(found: Mapping[str, Evaluation]) -> Iterator[str]:
    """Lines of figures, of raw and of averaged weights."""
    for name, evaluation in found.items():
        accuracy = f"top-1 {evaluation.acc1:6.2f}   top-5 {evaluation.acc5:6.2f}"
        figures = f"{accuracy}   balanced {evaluation.balanced_acc1:6.2f}   loss {evaluation.loss:.3f}"
        yield _row("EMA weights" if name == "ema" else "raw weights", figures)


def device_name(device: torch.device) -> str:
    """Name of a device: a GPU's own name, else "cpu" or "mps"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _row(title: str, text: str) -> str:
    return f"{title:{TITLE}}{text}"


def _path(path: Path) -> str:
    """A path as it may be typed here: the shorter of absolute and relative."""
    return min(str(path), os.path.relpath(path), key=len)
