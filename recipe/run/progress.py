"""What a run has come to, and how that goes into a checkpoint and back."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from recipe.network import states
from recipe.training.loop import Training


@dataclass
class RunProgress:
    """How far a run has come, the time it took, and its best figures so far."""

    epoch: int = 0  # whole epochs done
    step: int = 0  # steps done of the next; all of them before that epoch's evaluation
    seconds: float = 0.0  # in training and evaluation, over all starts
    device_seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=lambda: {"acc1": -1.0, "epoch": -1})

    def is_better(self, figures: Mapping[str, float], by: str) -> bool:
        """Whether an evaluation is better than the best so far, by "accuracy" or by "loss". The first one is."""
        if self.best["epoch"] < 0:
            return True
        if by == "loss":
            return figures["loss"] < self.best["loss"] or math.isnan(self.best["loss"])
        return figures["acc1"] > self.best["acc1"]

    def steps_done(self, steps_per_epoch: int) -> int:
        """Optimizer steps of the whole run so far."""
        return self.epoch * steps_per_epoch + self.step


def state_of(training: Training, progress: RunProgress, identity: dict[str, Any], metrics_bytes: int) -> dict[str, Any]:
    """Everything that the run needs to go on, for `restore`. Every rank calls it.

    Args:
        identity: what must be the same when the run goes on: its hashes and the fingerprints of its data.
        metrics_bytes: the length of metrics.jsonl now.
    """
    t = training
    return {
        "model": t.network.state_dict(),
        "ema": t.ema.model.state_dict() if t.ema.model is not None else None,
        "optimizer": t.optimizer.state_dict(),
        "scaler": t.scaler.state_dict(),
        "plateau": t.plateau.state_dict(),
        "early_stopping": t.early_stopping.state_dict(),
        "meter": t.meter.state_dict(),
        "progress": asdict(progress),
        "metrics_bytes": metrics_bytes,
        "identity": identity,
    }


def restore(state: dict[str, Any], training: Training) -> None:
    """Give all parts the state of a checkpoint, which `state_of` made."""
    t = training
    states.load(t.network, state["model"])
    if t.ema.model is not None:
        states.load(t.ema.model, state["ema"])
    t.optimizer.load_state_dict(state["optimizer"])
    t.scaler.load_state_dict(state["scaler"])
    t.plateau.load_state_dict(state["plateau"])
    t.early_stopping.load_state_dict(state["early_stopping"])
    t.meter.load_state_dict(state["meter"])
