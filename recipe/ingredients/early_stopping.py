"""Early stopping: the end of a training whose top-1 no longer rises. Off, it never stops one."""

import math
from typing import Any

from recipe.config import EarlyStoppingConfig


class EarlyStopping:
    """Stops after `patience` evaluations in a row without a better top-1.

    With `loss_below`, only once a validation loss, that evaluation's or an earlier one's, was below it; evaluations
    before that count. Either figure is of the weights that count, the averaged ones where there are.
    """

    def __init__(self, config: EarlyStoppingConfig) -> None:
        self._config = config
        self._best, self._lowest, self._bad = -math.inf, math.inf, 0  # top-1, loss, evaluations without a better top-1

    def update(self, acc1: float, loss: float) -> None:
        """Take in an evaluation: top-1 in percent, and the loss. One that is not finite is as the worst."""
        self._bad = 0 if acc1 > self._best else self._bad + 1
        self._best = max(self._best, acc1)
        self._lowest = loss if loss < self._lowest else self._lowest

    def reason(self) -> str | None:
        """Why the training ends here; None where it goes on."""
        patience, below = self._config.patience, self._config.loss_below
        if patience is None or self._bad < patience or (below is not None and self._lowest >= below):
            return None
        evaluations = "evaluation" if self._bad == 1 else "evaluations in a row"
        seen = "" if below is None else f", and a loss of {self._lowest:.4g} was below {below:g}"
        return f"{self._bad} {evaluations} without a top-1 above {self._best:.2f}{seen}"

    def may_end_next(self) -> bool:
        """Whether the next evaluation can be the last: what it evaluates must be saved before."""
        return self._config.patience is not None and self._bad + 1 >= self._config.patience

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self._best, "lowest": self._lowest, "bad": self._bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._best, self._lowest, self._bad = state["best"], state["lowest"], state["bad"]
