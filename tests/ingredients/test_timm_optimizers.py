"""optimizer.source=timm: what of timm's factory trains here, resumes to the last bit, or is refused and why."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.optim import create_optimizer_v2, list_optimizers
from torch import Tensor, nn

from recipe.config import OptimizerConfig
from recipe.errors import ConfigError
from recipe.ingredients.optimizer import check_timm, clip_gradients, make_optimizer
from recipe.plan.compose import Plan

REFUSED = {
    "adahessian": "second derivatives",
    "kron": "random numbers",
    "kronc": "random numbers",
    "kronw": "random numbers",
}
KNOWN = [str(name) for name in list_optimizers()]
GPU_ONLY = tuple(name for name in KNOWN if name.startswith(("bnb", "fused")))  # and packages of their own
STEPS = 6


def config_of(name: str) -> OptimizerConfig:
    return OptimizerConfig(name=name, source="timm", lr=0.01, weight_decay=0.02, norm_weight_decay=0.0)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        images = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(images), torch.arange(16) % 4).backward()
        optimizer.step()


def weights(model: nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


@pytest.mark.parametrize("name", [name for name in KNOWN if name not in (*REFUSED, *GPU_ONLY)])
def test_trains_and_goes_on_to_the_last_bit(name: str) -> None:
    config = config_of(name)
    check_timm(config)
    model = network()
    optimizer = make_optimizer(model, config)
    train(model, optimizer, range(STEPS))
    half_way = weights(model)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    train(model, optimizer, range(STEPS, 2 * STEPS))
    assert any(not torch.equal(one, other) for one, other in zip(half_way, weights(model), strict=True))
    assert all(tensor.isfinite().all() for tensor in weights(model))

    file.seek(0)
    state = torch.load(file, weights_only=True)
    torch.manual_seed(1)  # the process's random numbers must not matter
    again = network()
    again.load_state_dict(state["model"])
    optimizer = make_optimizer(again, config)
    optimizer.load_state_dict(state["optimizer"])
    torch.manual_seed(2)
    train(again, optimizer, range(STEPS, 2 * STEPS))
    assert all(torch.equal(one, other) for one, other in zip(weights(model), weights(again), strict=True))


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_what_cannot_be_one_experiment_is_refused(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_timm(config_of(name))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize("name", GPU_ONLY)
def test_what_does_not_construct_here_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be made"):
        check_timm(config_of(name))


@pytest.mark.parametrize("name", ["adan", "lion", "lars", "nesterov"])
def test_equals_timm_s_own_factory(name: str) -> None:
    """With one weight decay for all, as its factory has without filters."""
    config = OptimizerConfig(name=name, source="timm", lr=0.01, weight_decay=0.02)
    ours, theirs = network(), network()
    train(ours, make_optimizer(ours, config), range(STEPS))
    factory = create_optimizer_v2(theirs, name, lr=0.01, weight_decay=0.02, filter_bias_and_bn=False)
    train(theirs, factory, range(STEPS))
    assert all(torch.equal(one, other) for one, other in zip(weights(ours), weights(theirs), strict=True))


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["optimizer.name=adann"], ["timm has no such optimizer", "Did you mean adan?"]),
        (["optimizer.name=adan", "optimizer.args={speed: 3}"], ["optimizer.args={speed:3}", "speed"]),
        (["optimizer.name=adan", "optimizer.betas=[0.9,0.99]"], ["optimizer.betas does nothing", "source=torch"]),
        (["optimizer.name=nesterov", "optimizer.args={momentum: 0}"], ["requires a momentum"]),
    ],
)
def test_wrong_ones_are_refused_with_what_would_be_right(
    plan: Callable[..., Plan], overrides: list[str], said: list[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        plan("+recipe=v2", "optimizer.source=timm", *overrides)
    assert all(words in str(error.value) for words in said), error.value


def test_arguments_are_part_of_name_and_hash_in_any_order(plan: Callable[..., Plan]) -> None:
    def made(*args: str) -> Any:
        return plan("+recipe=v2", "optimizer.source=timm", "optimizer.name=adan", *args)

    one = made("optimizer.args={eps: 1e-6, no_prox: true}")
    other = made("optimizer.args={no_prox: true, eps: 0.000001}")
    assert one.config.optimizer.args == {"no_prox": True, "eps": 1e-6}
    assert (one.name, one.training_hash) == (other.name, other.training_hash)
    assert one.training_hash != made().training_hash
    assert one.name != made().name


def test_timm_s_names_need_their_source(plan: Callable[..., Plan]) -> None:
    with pytest.raises(ConfigError, match=r"timm's others with\s+optimizer\.source=timm"):
        plan("+recipe=v2", "optimizer.name=adan")


def test_lamb_with_its_clipping_is_ours_with_grad_clip() -> None:
    """timm clips to a norm of 1 by default, in its optimizer; optimizer.name=lamb only as grad_clip says."""
    ours, theirs, unclipped = network(), network(), network()
    # Of an eps that tells gradients' sizes apart.
    clipped = OptimizerConfig(name="lamb", lr=0.01, weight_decay=0.02, eps=1e-2, grad_clip=1.0)
    optimizers = [make_optimizer(model, clipped) for model in (ours, unclipped)]
    lamb = create_optimizer_v2(theirs, "lamb", 0.01, 0.02, filter_bias_and_bn=False, eps=1e-2)
    images = 30 * torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for model in (ours, theirs, unclipped):
        (100 * nn.functional.cross_entropy(model(images), torch.arange(16) % 4)).backward()
    norm = clip_gradients(ours.parameters(), clipped)
    assert norm is not None
    assert norm > 2
    for optimizer in (*optimizers, lamb):
        optimizer.step()
    for one, other, more in zip(ours.parameters(), theirs.parameters(), unclipped.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
        assert not torch.allclose(one, more, rtol=1e-5, atol=1e-7)
