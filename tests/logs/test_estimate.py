"""What a whole run and a whole ladder will take follows from the speed of a short run."""

from collections.abc import Callable

import pytest

from recipe.logs import estimate
from recipe.logs.estimate import Speed
from recipe.plan.compose import Plan


def test_whole_run_and_ladder_are_estimated_from_the_speed(plan: Callable[..., Plan]) -> None:
    short = plan("+recipe=r12_repeated_augmentation", "max_steps=50")
    measured = Speed(images_per_second=1000, evaluation_seconds=36)
    images = 1_281_167 // 1024 * 1024
    hours = estimate.run_hours(short.config, 1_281_167, measured)
    assert hours == pytest.approx((600 * images / 1000 + 600 * 36) / 3600, rel=1e-3)
    rungs, trainings, all_hours = estimate.ladder_hours(short, 1_281_167, measured)
    assert (rungs, trainings) == (13, 11)
    one = 1_281_167 / 1000 / 3600  # an epoch at 176 pixels
    at_224 = (224 / 176) ** 2
    evaluations = 36 / 3600 * (90 * 3 + 600 * 8)
    assert all_hours == pytest.approx(one * (at_224 * (3 * 90 + 6 * 600) + 2 * 600) + evaluations, rel=1e-2)
