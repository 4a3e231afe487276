"""Disk space that a run takes, known before it begins."""

import shutil
from collections.abc import Iterator

from torch import nn

from recipe.config import OptimizerConfig
from recipe.files import size_text
from recipe.logs.run_view import RunView


def lines(run: RunView) -> Iterator[str]:
    """Lines on the space taken in training and afterwards, and on what is free; logs and pictures are left out."""
    training, finished = needed(run)
    try:
        free = shutil.disk_usage(run.folder).free
    except OSError:  # not every file system tells
        yield f"about {size_text(training)} while it trains, {size_text(finished)} once it has finished"
        return
    yield (
        f"about {size_text(training)} while it trains, {size_text(finished)} once it has finished "
        f"({size_text(free)} free)"
    )
    if free < training and run.at_its_beginning:
        yield "that is more than there is free: a full disk ends the run, and what was saved before stays whole"


def needed(run: RunView) -> tuple[int, int]:
    """Bytes at most, while it trains and once it has finished."""
    config, training = run.config, run.training
    weights = _bytes(training.network)
    average = weights if training.ema.model is not None else 0
    trainable = sum(p.numel() * p.element_size() for p in training.network.parameters() if p.requires_grad)
    checkpoint = weights + average + _copies(config.optimizer) * trainable
    predictions = len(run.val_set) * (2 * len(run.train_set.classes) + 17)
    kept = weights + average + weights + predictions  # final, raw beside the average, best
    everything = config.checkpoint.keep * checkpoint + kept
    training_most = max((config.checkpoint.keep + 1) * checkpoint + weights, everything)  # one more while it is written
    return training_most, everything if config.checkpoint.keep_after_training else kept


def _copies(config: OptimizerConfig) -> int:
    """Tensors of a weight's size that the optimizer keeps for each weight."""
    momentum = int(config.momentum > 0)
    return {"sgd": momentum, "rmsprop": 1 + momentum}.get(config.name, 2)


def _bytes(network: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
