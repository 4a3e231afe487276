"""What model.freeze names keeps its weights and, where that is asked for, its statistics; all else is trained."""

from copy import deepcopy
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from recipe.config import ModelConfig, OptimizerConfig
from recipe.errors import ConfigError
from recipe.ingredients.optimizer import clip_gradients, make_optimizer
from recipe.network.freeze import freeze, training_mode
from recipe.network.stages import NORM_LAYERS


def resnet(name: str = "resnet18", **about: str) -> Any:
    model = torchvision.models.get_model(name, num_classes=6)
    freeze(model, ModelConfig(name=name, **about))  # type: ignore[arg-type]
    return model


def trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_frozen_resnet50_trains_the_published_number_of_parameters() -> None:
    model = resnet("resnet50", freeze="backbone")
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 12_294
    assert sum(p.numel() for p in model.parameters()) == 23_520_326


def test_without_freezing_everything_trains() -> None:
    model = resnet(freeze="none")
    assert trainable(model) == set(dict(model.named_parameters()))


def test_a_stage_is_frozen_with_all_before_it() -> None:
    frozen = set(dict(resnet().named_parameters())) - trainable(resnet(freeze="layer2"))
    assert {name.partition(".")[0] for name in frozen} == {"conv1", "bn1", "layer1", "layer2"}


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny"])  # batch norms; layer norms
def test_all_but_norms_and_head_keep_their_bits_and_these_move(name: str) -> None:
    model = resnet(name, freeze="backbone_but_norms")
    before = deepcopy(dict(model.named_parameters()))
    norms = {f"{path}.weight" for path, module in model.named_modules() if isinstance(module, NORM_LAYERS)}
    optimizer = make_optimizer(model, OptimizerConfig(name="adam", lr=0.1))
    training_mode(model, ModelConfig(name=name, freeze="backbone_but_norms"))
    model(torch.rand(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    moved = {key for key, value in model.named_parameters() if not torch.equal(value, before[key])}
    head = {key for key in before if key.startswith("fc.") or key.startswith("classifier.2.")}
    assert len(norms) > 15
    assert moved == norms | {key.replace("weight", "bias") for key in norms} | head == trainable(model)


def test_norms_alone_is_refused_and_told_what_may_be_meant() -> None:
    with pytest.raises(ConfigError, match=r"freeze=norms: .* no such stage\. To train the norms and the head alone: "):
        resnet(freeze="norms")


def test_unknown_stage_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"model\.freeze=layer5: resnet18 .*Did you mean layer4\?.*stem, layer1"):
        resnet(freeze="layer5")


@pytest.mark.parametrize("statistics", ["train", "eval"])
def test_statistics_of_frozen_batch_norms_move_only_where_they_are_to(statistics: str) -> None:
    config = ModelConfig(name="resnet18", freeze="layer1", frozen_batch_norm=statistics)
    model = resnet(freeze="layer1")
    before = deepcopy(model.state_dict())
    for _ in range(2):  # epochs, with an evaluation in between
        training_mode(model, config)
        model(torch.rand(4, 3, 32, 32))
        model.eval()
    moved = {
        name for name, value in model.state_dict().items() if "running" in name and not torch.equal(value, before[name])
    }
    frozen = {name for name in before if "running" in name and name.startswith(("bn1", "layer1"))}
    free = {name for name in before if "running" in name} - frozen
    assert moved == (free if statistics == "eval" else free | frozen)


def test_optimizer_and_gradient_norm_know_only_what_trains() -> None:
    model = resnet(freeze="backbone")
    optimizer = make_optimizer(model, OptimizerConfig(name="adam"))
    model(torch.rand(2, 3, 32, 32)).square().sum().backward()
    norm = clip_gradients(model.parameters(), OptimizerConfig(name="adam"))
    head = [model.fc.weight, model.fc.bias]
    assert norm is not None
    expected = torch.stack([p.grad.norm() for p in head if p.grad is not None]).norm()
    torch.testing.assert_close(norm, expected)
    optimizer.step()
    assert set(optimizer.state) == set(head)
