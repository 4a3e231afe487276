"""Every optimizer steps as its formula or library does, over groups of the weight decay and rate that were set."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from timm.optim.lamb import Lamb
from torch import nn

from recipe.config import TORCH_OPTIMIZERS, Config, OptimizerConfig, ScheduleConfig
from recipe.ingredients.optimizer import OPTIMIZERS, clip_gradients, make_optimizer, parameter_groups
from recipe.ingredients.schedule import set_rates

DECAY, NO_DECAY = 2e-5, 0.0


def resnet50() -> nn.Module:
    with torch.device("meta"):
        return torchvision.models.resnet50()


def by_decay(
    model: nn.Module, norm_weight_decay: float | None = None, bias_weight_decay: float | None = None
) -> dict[float, list[nn.Parameter]]:
    config = OptimizerConfig(
        name="sgd",
        weight_decay=DECAY,
        norm_weight_decay=norm_weight_decay,
        bias_weight_decay=bias_weight_decay,
    )
    groups = parameter_groups(model, config)
    assert len({group["weight_decay"] for group in groups}) == len(groups)
    return {group["weight_decay"]: group["params"] for group in groups}


def size(parameters: list[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def test_registry_holds_the_schema_s_choices() -> None:
    assert tuple(OPTIMIZERS) == TORCH_OPTIMIZERS


def test_norm_layers_of_resnet50_are_the_published_ones() -> None:
    groups = by_decay(resnet50(), norm_weight_decay=NO_DECAY)
    assert set(groups) == {DECAY, NO_DECAY}
    assert (len(groups[NO_DECAY]), size(groups[NO_DECAY])) == (106, 53_120)
    assert (len(groups[DECAY]), size(groups[DECAY])) == (55, 25_557_032 - 53_120)


def test_norm_layers_of_downsampling_paths_are_among_them() -> None:
    model = resnet50()
    decayed = {id(parameter) for parameter in by_decay(model, norm_weight_decay=NO_DECAY)[DECAY]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in decayed}
    assert names == {name for name in dict(model.named_parameters()) if "conv" in name or "fc" in name} | {
        f"layer{number}.0.downsample.0.weight" for number in (1, 2, 3, 4)
    }


def test_without_norm_weight_decay_there_is_one_group_of_everything() -> None:
    groups = by_decay(resnet50())
    assert set(groups) == {DECAY}
    assert (len(groups[DECAY]), size(groups[DECAY])) == (161, 25_557_032)


def test_bias_weight_decay_takes_the_biases_of_other_layers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.Bilinear(2, 2, 1, bias=False))
    groups = by_decay(model, norm_weight_decay=0.5, bias_weight_decay=0.25)
    assert [id(p) for p in groups[0.25]] == [id(model[0].bias), id(model[2].bias)]
    assert [id(p) for p in groups[0.5]] == [id(model[1].weight), id(model[1].bias)]
    assert [id(p) for p in groups[DECAY]] == [id(model[0].weight), id(model[2].weight), id(model[3].weight)]


def test_norm_layers_keep_the_weight_decay_where_only_biases_have_another() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    groups = by_decay(model, bias_weight_decay=NO_DECAY)
    assert [id(p) for p in groups[NO_DECAY]] == [id(model[0].bias)]
    assert len(groups[DECAY]) == 3


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm1d(4),
        nn.BatchNorm2d(4),
        nn.SyncBatchNorm(4),
        nn.LayerNorm(4),
        nn.GroupNorm(2, 4),
        nn.InstanceNorm2d(4, affine=True),
    ],
    ids=lambda norm: type(norm).__name__,
)
def test_norm_layers_are_told_by_type(norm: nn.Module) -> None:
    groups = by_decay(nn.ModuleDict({"anything": norm}), norm_weight_decay=NO_DECAY)
    assert set(groups) == {NO_DECAY}
    assert len(groups[NO_DECAY]) == 2


def test_shared_and_frozen_parameters_come_once_and_not_at_all() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    assert len(by_decay(model)[DECAY]) == 3


ORACLES: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, weight_decay=0.01),
    "sgd nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, momentum=0.8, alpha=0.9, eps=1e-3, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.01),
    "lamb": lambda p: Lamb(p, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.01, max_grad_norm=None),
}


def steps(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(8):
        optimizer.zero_grad()
        model(torch.randn(8, 4, generator=generator)).square().mean().backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 2)


@pytest.mark.parametrize("kind", list(ORACLES))
def test_steps_equal_those_of_the_library_s_optimizer(kind: str) -> None:
    name, *nesterov = kind.split()
    config = OptimizerConfig(
        name=name, lr=0.05, momentum=0.8, nesterov=bool(nesterov), betas=[0.8, 0.95], eps=1e-3, weight_decay=0.01
    )
    model, oracle = linear(), linear()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    ours, theirs = steps(model, make_optimizer(model, config)), steps(oracle, ORACLES[kind](oracle.parameters()))
    for start, own, other in zip(before, ours, theirs, strict=True):
        assert not torch.equal(own, start)
        assert torch.equal(own, other)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_groups_decay_by_their_own_weight_decay(name: str) -> None:
    linear, norm = nn.Linear(4, 4), nn.LayerNorm(4)
    model = nn.Sequential(linear, norm)
    config = OptimizerConfig(name=name, lr=0.1, weight_decay=0.5, norm_weight_decay=0.0)
    nn.init.constant_(linear.weight, 1.0)
    optimizer = make_optimizer(model, config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert linear.weight.max() < 1
    assert norm.weight.tolist() == [1.0] * 4


def test_gradients_are_clipped_to_their_norm() -> None:
    model = linear()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    clip_gradients(model.parameters(), OptimizerConfig(name="sgd", grad_clip=2.0))
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])  # type: ignore[union-attr]
    assert gradients.norm().item() == pytest.approx(2.0, rel=1e-5)
    assert gradients.unique().numel() == 1


@pytest.mark.parametrize("limit", [None, 1000.0])
def test_gradients_within_the_norm_stay_as_they_are(limit: float | None) -> None:
    model = linear()
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    clip_gradients(model.parameters(), OptimizerConfig(name="sgd", grad_clip=limit))
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.unique().tolist() == [3.0]


def test_rates_fall_by_stage_from_the_head_down() -> None:
    model = resnet50()
    config = OptimizerConfig(name="sgd", lr=0.1, layer_decay=0.5, backbone_lr_factor=0.8)
    optimizer = make_optimizer(model, config)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    depth = {"fc": 0, "layer4": 1, "layer3": 2, "layer2": 3, "layer1": 4, "bn1": 5, "conv1": 5}
    assert len(optimizer.param_groups) == 6
    set_rates(optimizer, Config(optimizer=config, schedule=ScheduleConfig(name="constant")), 1.0, 0, 0, 1)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            stage = depth[names[id(parameter)].partition(".")[0]]
            assert group["lr"] == pytest.approx(0.1 * 0.5**stage * (0.8 if stage else 1.0))


def test_all_but_the_head_learn_at_the_backbone_s_rate() -> None:
    model = resnet50()
    groups = parameter_groups(model, OptimizerConfig(name="sgd", backbone_lr_factor=0.1))
    assert {(group["lr_scale"], len(group["params"])) for group in groups} == {(0.1, 159), (1.0, 2)}


def test_by_default_all_learn_at_one_rate() -> None:
    groups = parameter_groups(resnet50(), OptimizerConfig(name="sgd", norm_weight_decay=0.0))
    assert [group["lr_scale"] for group in groups] == [1.0, 1.0]


def test_norms_by_name_are_ffcv_s_and_nvidia_s() -> None:
    """`"bn" in name`: ResNet-50's four norms of downsampling paths are decayed, 7,680 parameters, and fc's bias."""
    model = resnet50()
    groups = parameter_groups(model, OptimizerConfig(name="sgd", norm_weight_decay=NO_DECAY, norms_by="name"))
    names = {parameter: name for name, parameter in model.named_parameters()}
    (found,) = [{names[p] for p in group["params"]} for group in groups if group["weight_decay"] == NO_DECAY]
    assert found == {name for name in names.values() if "bn" in name}
    by_type = {names[p] for p in by_decay(model, norm_weight_decay=NO_DECAY)[NO_DECAY]}
    decayed = by_type - found
    assert decayed == {f"layer{stage}.0.downsample.1.{name}" for stage in (1, 2, 3, 4) for name in ("weight", "bias")}
    assert sum(model.get_parameter(name).numel() for name in decayed) == 7_680
