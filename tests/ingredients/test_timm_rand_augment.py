"""timm's RandAugment by its strings: with the same draws, timm's own transform makes the same pixels."""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from test_policies import photo
from timm.data import auto_augment as timm_policies
from timm.data import create_transform

from recipe.config import AugmentConfig
from recipe.errors import ConfigError
from recipe.ingredients.policies import draw_policy
from recipe.ingredients.policies_on_host import operate
from recipe.ingredients.timm_rand_augment import FILL, INCREASING, OPERATIONS, PLAIN, RESAMPLING, draw_names, parsed
from recipe.plan.compose import Plan
from recipe.randomness import Draws

STRINGS = (
    *(
        "rand-m7-mstd0.5-inc1",
        "rand-m6-mstd0.5-inc1",
        "rand-m9-n3-mstd0.5",
        "rand-m9-p1",
        "rand",
        "rand-mstd1-tweights",
    ),
    *(
        "rand-m20-mmax30-mstd101-p0.9-t3a",
        "rand-m9-mstd101-inc1-p0.9",
        "rand-m5-n1-p0.7-t3a",
        "rand-m8-n3-t3aw-inc1-p1",
        "rand-m7-inc0",
    ),
)


class OfDraws:
    """In place of `random` and `np.random` in timm's module: the same draws, in the order in which timm asks."""

    def __init__(self, policy: str, draws: Draws) -> None:
        self.policy, self.draws = parsed(policy), draws
        self.random, self.uniform, self.gauss = draws.uniform, draws.uniform, draws.normal

    def choice(self, operations: list[Any], count: int, replace: bool, p: Any) -> list[Any]:
        assert (count, replace) == (self.policy.operations, self.policy.weights is None)
        by_name = {operation.name: operation for operation in operations}
        assert tuple(by_name) == self.policy.names
        if p is not None:
            assert self.policy.weights is not None
            np.testing.assert_allclose(p, np.array(self.policy.weights) / sum(self.policy.weights), rtol=1e-12)
        return [by_name[name] for name in draw_names(self.policy, self.draws)]


@pytest.fixture
def timm_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Image.Image]:
    def transformed(policy: str, draws: Draws, image: Image.Image, interpolation: str) -> Image.Image:
        hparams = {"img_mean": FILL, "interpolation": RESAMPLING[interpolation]}
        transform = timm_policies.rand_augment_transform(policy, hparams)
        source = OfDraws(policy, draws)
        monkeypatch.setattr(timm_policies, "random", source)
        monkeypatch.setattr(timm_policies, "np", SimpleNamespace(random=source, array=np.array, sum=np.sum))
        return transform(image)

    return transformed


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("policy", STRINGS)
def test_pixels_are_timm_s_for_the_same_draws(policy: str, interpolation: str, timm_with: Any) -> None:
    done: Counter[str] = Counter()
    for position in range(60):
        config = AugmentConfig(policy="timm", timm_policy=policy)
        operations = draw_policy(config, Draws(0, "policy", 0, position), 60)
        ours = operate(np.array(photo()), operations, interpolation)
        theirs = timm_with(policy, Draws(0, "policy", 0, position), photo(), interpolation)
        assert ours.tobytes() == theirs.tobytes(), operations
        done.update(name for name, _ in operations)
    assert set(done) <= set(OPERATIONS)
    assert sum(done.values()) > 10


def test_no_bits_left_are_black() -> None:
    """From magnitude 10 on, where timm 1.0 stops with Pillow 12: such strings train here, as they did."""
    for name in ("timm.PosterizeIncreasing", "timm.Posterize"):
        assert not operate(np.array(photo()), [(name, 0.0)], "bilinear").any()


def test_every_operation_of_every_string_was_compared() -> None:
    """In other words: what timm can draw, we can do, and the test above reaches all of it."""
    reached = {
        name
        for policy in STRINGS
        for position in range(60)
        for name, _ in draw_policy(AugmentConfig(policy="timm", timm_policy=policy), Draws(0, "policy", 0, position), 1)
    }
    assert reached == set(OPERATIONS)
    assert list(PLAIN) == timm_policies._RAND_TRANSFORMS
    assert list(INCREASING) == timm_policies._RAND_INCREASING_TRANSFORMS


def test_colour_from_outside_is_that_of_timm_s_training_transform() -> None:
    transform = create_transform(32, is_training=True, auto_augment="rand-m7-p1", interpolation="bicubic")
    policies = [step for step in transform.transforms if isinstance(step, timm_policies.RandAugment)]
    assert {operation.kwargs["fillcolor"] for operation in policies[0].ops} == {FILL}


def test_magnitudes_are_normal_and_clipped() -> None:
    config = AugmentConfig(policy="timm", timm_policy="rand-m7-mstd0.5-n1-p1-t3a")
    drawn = [draw_policy(config, Draws(1, "policy", 0, position), 1)[0] for position in range(6000)]
    levels = [20 * (value - 0.5) for name, value in drawn if name.endswith("Desaturate")]  # 0.5 + 0.05·magnitude
    assert len(levels) > 1500
    assert stats.kstest(levels, stats.norm(7, 0.5).cdf).pvalue > 1e-4
    noisy = AugmentConfig(policy="timm", timm_policy="rand-m9-mstd5-n1-p1-t3a")
    most = [draw_policy(noisy, Draws(1, "policy", 0, position), 1)[0] for position in range(600)]
    assert max(value for name, value in most if name.endswith("Desaturate")) == 1.0


def test_operations_by_weight_are_as_often_as_numpy_draws_them() -> None:
    config = parsed("rand-tweights")
    counts = Counter(name for place in range(20_000) for name in draw_names(config, Draws(0, "weights", place)))
    assert config.weights is not None
    p = np.array(config.weights) / sum(config.weights)
    generator = np.random.default_rng(0)
    theirs = Counter(str(n) for _ in range(20_000) for n in generator.choice(config.names, 2, replace=False, p=p))
    table = [[counter[name] for name in config.names] for counter in (counts, theirs)]
    assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("policy", ["v0", "rand-m7.5", "rand-x3", "rand-m7-m8", "rand-tmine", "rand-p2", "rand-inc"])
def test_strings_that_timm_would_not_read_so_are_refused(policy: str) -> None:
    with pytest.raises(ConfigError, match=r"augment.timm_policy=.* as in rand-m7-mstd0.5-inc1"):
        parsed(policy)


def test_a_run_s_string_is_read_before_it_begins(plan: Callable[..., Plan]) -> None:
    with pytest.raises(ConfigError, match=r"augment.timm_policy=.*'m7.5' is not understood"):
        plan("+recipe=v1", "augment.policy=timm", "augment.timm_policy=rand-m7.5")


def test_it_is_not_done_on_the_device_and_its_string_is_part_of_the_experiment(plan: Callable[..., Plan]) -> None:
    with pytest.raises(ConfigError, match="leave policy_on at host"):
        plan("+recipe=v1", "augment=timm_rand_augment", "augment.policy_on=device")
    one, other = (plan("+recipe=v1", "augment.policy=timm", f"augment.timm_policy=rand-m{m}") for m in (6, 7))
    assert one.training_hash != other.training_hash
