"""What the rest of a run, a whole run and a whole ladder will take: from the speed of the steps that were run."""

import math
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from recipe.config import Config
from recipe.data.order import make_order
from recipe.ingredients.resizing import pixels
from recipe.logs.run_view import RunView
from recipe.machine import limits
from recipe.machine.distributed import Ranks
from recipe.output import count
from recipe.plan import compose, hashes
from recipe.plan.compose import Plan
from recipe.training.evaluate import evaluates
from recipe.training.midway import midway


@dataclass(frozen=True)
class Speed:
    """Speed of training and evaluations, as a short run showed it."""

    images_per_second: float  # of training, over all ranks
    evaluation_seconds: float  # of one evaluation
    evaluated: int = 0  # images in it


def run_hours(config: Config, num_images: int, measured: Speed) -> float:
    """Hours that the whole run takes, evaluations included. `measured`: at the size of the first epoch's images."""
    order = make_order(config, num_images)
    seen = order.images_seen(config.epochs * order.steps)
    look = midway(replace(config, max_steps=None), config.epochs, measured.evaluated, seen)
    evaluations = -(-config.epochs // config.evaluate.every) + len(config.evaluate.grid)
    images = seen * pixels(config) / pixels(config, 0, 1) + (look.images if look else 0)  # they may grow
    return (images / measured.images_per_second + evaluations * measured.evaluation_seconds) / 3600


def ladder_hours(plan: Plan, num_images: int, measured: Speed) -> tuple[int, int, float]:
    """Rungs up to the plan's, trainings among them, and hours for all of them on the same devices, one seed.

    Rungs that train at another resolution are taken to cost in proportion to their pixels.
    """
    hours: dict[str, float] = {}
    rungs = compose.whole_runs_of_chain(plan)
    for config in rungs:
        larger = pixels(config, 0, 1) / pixels(plan.config, 0, 1)
        there = replace(measured, images_per_second=measured.images_per_second / larger)
        hours[hashes.training_hash(config)] = run_hours(config, num_images, there)
    different = {hashes.digest(config, {"weights", "result"}) for config in rungs}
    return len(different), len(hours), sum(hours.values())


def lines(plan: Plan, ranks: Ranks, num_images: int, measured: Speed) -> Iterator[tuple[str, str]]:
    """Title and text of what a user should know before the whole run: memory, time, end, the ladder's time."""
    yield "peak memory", peak_memory(ranks.device)
    hours = run_hours(plan.config, num_images, measured)
    end = time.strftime("%a %d %b %H:%M", time.localtime(time.time() + 3600 * hours))
    stops = plan.config.early_stopping.patience is not None
    yield "whole run", f"{'at most' if stops else 'about'} {_hours(hours)}, {_device_hours(hours, ranks)}"
    yield "", f"begun now, it ends on {end}{' or before' if stops else ''}"
    rungs, trainings, all_hours = ladder_hours(plan, num_images, measured)
    if rungs > 1:
        yield "whole ladder", f"about {_hours(all_hours)}, {_device_hours(all_hours, ranks)} for each seed"
        yield "", f"({rungs} rungs, {count(trainings, 'training')})"


def peak_memory(device: torch.device) -> str:
    """The most memory that this process held so far, on the device that trains."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return f"{torch.cuda.max_memory_reserved(device) / 2**30:.1f} of {total / 2**30:.0f} GiB on each GPU"
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f"{held / 2**30:.1f} of {limits.memory() / 2**30:.0f} GiB for each rank, without its workers"


def seconds_left(run: RunView, epoch: int) -> float | None:
    """Seconds that a run still takes after an epoch (from 0), evaluations included; None before its pace is known."""
    pace = run.training.meter.pace
    if not pace.known:
        return None
    done = min((epoch + 1) * run.order.steps, run.steps)
    later = range(epoch + 1, run.epochs)
    images: float = run.order.images_seen(run.steps) - run.order.images_seen(done)
    images *= pixels(run.config, epoch + 1, run.epochs) / pixels(run.config, 0, epoch + 1) if later else 1
    images += run.midway.images if run.midway and run.midway.epoch in later else 0
    evaluations = sum(evaluates(run.config, one, run.epochs) for one in later) + (not later)
    evaluations += len(run.config.evaluate.grid)
    # Before the first one: as if its images were trained on.
    each = run.evaluation_seconds
    each = len(run.val_set) / pace.images_per_second() if math.isnan(each) else each
    return images / pace.images_per_second() + evaluations * each


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"


def _device_hours(hours: float, ranks: Ranks) -> str:
    return f"{hours * ranks.world_size:.2f} device-hours"
