"""Early stopping: when a training ends before its length, and what it takes to know it."""

import math

import pytest

from recipe.config import EarlyStoppingConfig
from recipe.ingredients.early_stopping import EarlyStopping

NONE = math.nan


def stopped_at(config: EarlyStoppingConfig, acc1: list[float], loss: list[float] | None = None) -> int | None:
    """The evaluation (from 1) after which it stops, each followed by a restart from the state; None: never."""
    stopping = EarlyStopping(config)
    for number, (accuracy, value) in enumerate(zip(acc1, loss or [1.0] * len(acc1), strict=True), start=1):
        stopping.update(accuracy, value)
        restarted = EarlyStopping(config)
        restarted.load_state_dict(stopping.state_dict())
        assert restarted.reason() == stopping.reason()
        assert restarted.may_end_next() == stopping.may_end_next()
        if stopping.reason() is not None:
            return number
        stopping = restarted
    return None


@pytest.mark.parametrize(
    ("patience", "acc1", "expected"),
    [
        (1, [10, 20, 20], 3),  # as good is not better
        (2, [10, 20, 15, 20], 4),
        (2, [10, 20, 15, 21, 20, 19], 6),  # a better one in between begins anew
        (3, [10, 20, 15, 20], None),
        (2, [50, 40, 30], 3),
        (1, [10, 20, 30, 40], None),
    ],
)
def test_it_stops_after_that_many_evaluations_in_a_row_without_a_better_top_1(
    patience: int, acc1: list[float], expected: int | None
) -> None:
    assert stopped_at(EarlyStoppingConfig(patience=patience), acc1) == expected


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ([0.9, 0.9, 0.9, 0.9, 0.4], 5),  # patience has run out before: it stops at once
        ([0.4, 0.9, 0.9, 0.9, 0.9], 2),  # an earlier loss was below
        ([0.9, 0.9, 0.9, 0.9, 0.5], None),  # not below
        ([NONE, NONE, NONE, NONE, NONE], None),
    ],
)
def test_it_stops_only_once_a_loss_was_below_the_threshold(loss: list[float], expected: int | None) -> None:
    assert stopped_at(EarlyStoppingConfig(patience=1, loss_below=0.5), [50, 50, 50, 50, 50], loss) == expected


def test_without_patience_it_never_stops() -> None:
    stopping = EarlyStopping(EarlyStoppingConfig())
    for _ in range(100):
        stopping.update(1.0, 1.0)
        assert stopping.reason() is None
        assert not stopping.may_end_next()


def test_it_is_known_before_the_evaluation_that_it_may_be_the_last() -> None:
    stopping = EarlyStopping(EarlyStoppingConfig(patience=2))
    for acc1 in (10.0, 20.0, 15.0, 30.0, 25.0, 20.0):
        might = stopping.may_end_next()
        stopping.update(acc1, 1.0)
        assert might or stopping.reason() is None
    assert stopping.reason() == "2 evaluations in a row without a top-1 above 30.00"
