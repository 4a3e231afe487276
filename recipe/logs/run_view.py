"""What is shown of a run: all that the console and TensorBoard know of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipe.config import Config
from recipe.data.dataset import Dataset
from recipe.data.order import Order
from recipe.machine.distributed import Ranks
from recipe.plan.compose import Plan
from recipe.training.loop import Training
from recipe.training.midway import Midway


@dataclass(frozen=True)
class RunView:
    """What is shown of a run at one moment of it. Built by recipe.run.trainer."""

    plan: Plan
    train_set: Dataset
    val_set: Dataset
    training: Training
    steps: int  # optimizer steps of the whole run
    epochs: int  # begun in them
    epoch: int  # whole epochs done, over all starts
    step: int  # steps done of the next
    seconds: float  # in training and evaluation, over all starts
    best: dict[str, Any]  # the best figures so far, and their epoch
    images_per_second: float  # over all ranks, in the last epoch; NaN before this start's first
    data_wait: float  # share of that epoch's time
    evaluation_seconds: float  # of the last evaluation; NaN before this start's first
    epoch_seconds: float  # since the epoch at hand began, in this start
    midway: Midway | None  # the evaluation that is only shown

    @property
    def config(self) -> Config:
        """The plan's config."""
        return self.plan.config

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.plan.folder

    @property
    def ranks(self) -> Ranks:
        """The processes that train."""
        return self.training.ranks

    @property
    def order(self) -> Order:
        """The order of the images."""
        return self.training.order

    @property
    def at_its_beginning(self) -> bool:
        """Whether no step has been done, in any start."""
        return self.epoch == self.step == 0
