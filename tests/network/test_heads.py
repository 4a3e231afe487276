"""Every model.head is the layers that it says, started as it says, in any network that has a place for it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipe.config import Config, LossConfig, ModelConfig
from recipe.errors import ConfigError
from recipe.network.model import check_resolution, make_model
from recipe.network.stages import head_names

CLASSES = 6


def network(head: str, name: str = "resnet18", source: str = "torchvision", loss: str = "cross_entropy") -> Any:
    model = ModelConfig(name=name, source=source, head=head, head_width=32, head_dropout=0.4)
    return make_model(Config(model=model, loss=LossConfig(name=loss)), CLASSES)


def images() -> Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", ["mlp", "concat_pool"])
@pytest.mark.parametrize(
    ("source", "name"),
    [
        *[("torchvision", name) for name in ("resnet18", "resnet50", "efficientnet_b0")],
        *[("timm", name) for name in ("resnet18", "tf_efficientnet_lite0", "regnety_002")],
    ],
)
def test_head_gives_a_logit_for_each_class_and_is_the_seed_s(source: str, name: str, head: str) -> None:
    model = network(head, name, source)
    assert model.eval()(images()).shape == (4, CLASSES)
    (head_name,) = head_names(model)
    again = network(head, name, source).get_submodule(head_name)
    pairs = zip(model.get_submodule(head_name).state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_mlp_is_linear_relu_dropout_linear() -> None:
    model = network("mlp").eval()
    assert [type(layer) for layer in model.fc] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert model.fc[2].p == 0.4
    features = torch.rand(3, 512)
    first, last = model.fc[0], model.fc[3]
    assert first.out_features == 32
    expected = F.relu(features @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(model.fc(features), expected)


def test_concat_pool_is_the_published_head() -> None:
    model = network("concat_pool", "resnet50")
    kinds = [nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in model.fc] == kinds
    assert (model.fc[1].p, model.fc[5].p) == (0.2, 0.4)
    assert (model.fc[2].in_features, model.fc[2].out_features) == (4096, 32)
    assert model.fc[2].bias is model.fc[6].bias is None
    assert model.fc[2].weight.std().item() == pytest.approx((2 / 4096) ** 0.5, rel=0.05)  # He et al., 2015


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_concat_pool_is_the_mean_then_the_maximum_of_the_feature_maps(source: str) -> None:
    model = network("concat_pool", "resnet18", source).eval()
    seen: dict[str, Tensor] = {}
    model.layer4.register_forward_hook(lambda *call: seen.update(maps=call[2]))
    model.fc.register_forward_pre_hook(lambda _, inputs: seen.update(pooled=inputs[0]))
    model(images())
    expected = torch.cat([seen["maps"].mean((2, 3)), seen["maps"].amax((2, 3))], 1)
    torch.testing.assert_close(seen["pooled"], expected)


def test_with_nll_the_head_ends_in_logarithms_of_probabilities_and_cross_entropy_is_the_same() -> None:
    logits, log_p = network("mlp").eval()(images()), network("mlp", loss="nll").eval()(images())
    torch.testing.assert_close(log_p, logits.log_softmax(1))
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(4))
    labels = torch.arange(4)
    torch.testing.assert_close(F.cross_entropy(log_p, labels), F.cross_entropy(logits, labels))
    torch.testing.assert_close(F.nll_loss(log_p, labels), F.cross_entropy(logits, labels))


@pytest.mark.parametrize(
    ("head", "source", "name"),
    [
        ("mlp", "torchvision", "squeezenet1_1"),
        ("mlp", "timm", "deit_tiny_distilled_patch16_224"),
        *[("concat_pool", "torchvision", name) for name in ("vgg11", "mobilenet_v3_small", "densenet121")],
        *[("concat_pool", "timm", name) for name in ("vit_tiny_patch16_224", "convnext_atto")],
    ],
)
def test_heads_that_do_not_fit_a_model_are_refused(head: str, source: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"model.head={head}: {name}"):
        network(head, name, source)


def test_head_passes_the_check_of_image_sizes() -> None:
    check_resolution(network("concat_pool"), Config(model=ModelConfig(name="resnet18")), CLASSES)


@pytest.mark.parametrize(
    ("source", "name"), [("torchvision", "resnet18"), ("torchvision", "densenet121"), ("timm", "tf_efficientnet_lite0")]
)
def test_linear_head_on_weights_starts_as_pytorch_s_linear_layers(source: str, name: str) -> None:
    """However the source starts it: uniform in ±1/√features, weights and biases."""
    model = make_model(Config(model=ModelConfig(name=name, source=source, weights="DEFAULT")), CLASSES)
    (head,) = head_names(model)
    layer = model.get_submodule(head)
    assert isinstance(layer, nn.Linear)
    most = layer.in_features**-0.5
    for values in (layer.weight, layer.bias):
        assert 0.5 * most < values.abs().max().item() <= most
    assert layer.weight.std().item() == pytest.approx(most / 3**0.5, rel=0.05)
