"""The network is the source's own, the same for a seed, and refused where images or logits would not fit."""

import random
import subprocess
import sys

import pytest
import timm
import torch
import torchvision
from torch import nn

from recipe.config import Config, ModelConfig, RuntimeConfig
from recipe.errors import ConfigError
from recipe.network.model import check_name, check_resolution, make_model
from recipe.network.preprocessing import Preprocessing, own_preprocessing
from recipe.randomness import seed_at


def config(name: str = "resnet18", source: str = "torchvision", seed: int = 0, zero: bool = False) -> Config:
    return Config(seed=seed, model=ModelConfig(name=name, source=source, zero_init_residual=zero))


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_weights_are_a_function_of_the_seed(source: str) -> None:
    model = make_model(config(source=source), 14)
    torch.rand(3)
    assert same(model, make_model(config(source=source), 14))
    assert not same(model, make_model(config(source=source, seed=1), 14))


@pytest.mark.parametrize(
    ("source", "name"), [("torchvision", "resnet18"), ("timm", "resnet18"), ("timm", "convnext_atto")]
)
def test_initial_weights_are_the_source_s_but_for_the_last_norms(source: str, name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_at(7, "init"))
        oracle = bare_model(source, name)
    own, theirs = make_model(config(name, source, seed=7), 10).state_dict(), oracle.state_dict()
    assert own.keys() == theirs.keys()
    different = {key for key in own if not torch.equal(own[key], theirs[key])}
    zero_at_timm = (
        {key for key in own if key.endswith("bn2.weight")} if name == "resnet18" and source == "timm" else set()
    )
    assert different == zero_at_timm


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_model_has_a_logit_for_each_class(source: str) -> None:
    model = make_model(config(source=source), 14).eval()
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 14)


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize(
    ("source", "name", "last", "blocks"),
    [
        ("torchvision", "resnet18", "bn2", 8),
        ("timm", "resnet18", "bn2", 8),
        ("torchvision", "resnet50", "bn3", 16),
        ("timm", "resnet26", "bn3", 8),
    ],
)
def test_last_norm_of_each_block_starts_as_configured(
    source: str, name: str, last: str, blocks: int, zero: bool
) -> None:
    model = make_model(config(name, source, zero=zero), 10)
    norms = {key: norm for key, norm in model.named_modules() if isinstance(norm, nn.BatchNorm2d)}
    lasts = {key for key in norms if key.endswith(last)}
    assert len(lasts) == blocks
    for key, norm in norms.items():
        assert (norm.weight == (0 if zero and key in lasts else 1)).all(), key


@pytest.mark.parametrize("name", ["resnest14d", "regnetx_002"])
def test_norms_of_timm_s_other_residual_networks_start_at_1(name: str) -> None:
    model = make_model(config(name, "timm"), 10)
    norms = {key: norm for key, norm in model.named_modules() if isinstance(norm, nn.BatchNorm2d)}
    assert norms
    assert [key for key, norm in norms.items() if (norm.weight != 1).any()] == []


def test_zero_init_is_refused_where_there_are_no_residual_blocks() -> None:
    with pytest.raises(ConfigError, match=r"zero_init_residual.*squeezenet1_1"):
        make_model(config("squeezenet1_1", zero=True), 10)


@pytest.mark.parametrize(
    ("source", "name", "nearest"), [("torchvision", "resnet51", "resnet50"), ("timm", "resnet18dd", "resnet18d")]
)
def test_unknown_name_is_refused_with_the_nearest(source: str, name: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_name(ModelConfig(name=name, source=source))
    assert f"model.name={name}: {source}" in str(caught.value)
    assert f"Did you mean {nearest}?" in str(caught.value)


@pytest.mark.parametrize(
    ("source", "name"), [("torchvision", "resnet50"), ("torchvision", "vit_b_16"), ("timm", "convnext_tiny")]
)
def test_known_names_pass(source: str, name: str) -> None:
    check_name(ModelConfig(name=name, source=source))


@pytest.mark.parametrize("name", ["fcn_resnet50", "raft_large", "mvit_v1_b", "quantized_resnet50"])
def test_models_that_do_not_classify_images_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        check_name(ModelConfig(name=name))


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_making_a_model_leaves_global_generators_alone(source: str) -> None:
    before = torch.random.get_rng_state(), random.getstate()
    make_model(config(source=source), 10)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert random.getstate() == before[1]


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.float32), ("fp64", torch.float64)]
)
def test_weights_are_double_only_in_fp64(precision: str, dtype: torch.dtype) -> None:
    double = config()
    double.runtime = RuntimeConfig(precision=precision)
    assert {parameter.dtype for parameter in make_model(double, 10).parameters()} == {dtype}


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_format_is_the_configured_one(channels_last: bool) -> None:
    formatted = config()
    formatted.runtime = RuntimeConfig(channels_last=channels_last)
    weight = make_model(formatted, 10).get_parameter("layer1.0.conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_networks_with_three_dimensional_convolutions_are_made() -> None:
    model = make_model(config("lambda_resnet26t", "timm"), 3)  # lambda layers
    assert {parameter.dim() for parameter in model.parameters()} >= {4, 5}
    assert model.get_parameter("stages.0.0.conv2_kxk.conv.weight").is_contiguous(memory_format=torch.channels_last)


def test_gradients_of_strided_pointwise_convolutions_of_pixels_are_right() -> None:
    """In channels_last oneDNN writes past its memory: in a process of its own, since that may end it."""
    code = """
import torch
from recipe.config import RuntimeConfig
from recipe.network.model import set_format
layer = torch.nn.Sequential(torch.nn.Conv2d(3, 48, 1, 2, bias=False))
images = torch.rand(2, 3, 128, 128)
layer(images).square().sum().backward()
expected = layer[0].weight.grad.clone()
layer[0].weight.grad = None
set_format(layer, RuntimeConfig())
for _ in range(3):
    layer.zero_grad()
    layer(images.contiguous(memory_format=torch.channels_last)).square().sum().backward()
torch.testing.assert_close(layer[0].weight.grad, expected)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_small_stem_with_a_bias_is_pytorch_s_own_convolution() -> None:
    wanted = config("resnet18")
    wanted.model.stem = "small_with_bias"
    first = make_model(wanted, 10).conv1
    assert isinstance(first, nn.Conv2d)
    assert (first.kernel_size, first.stride, first.padding) == ((3, 3), (1, 1), (1, 1))
    assert first.bias is not None
    for tensor in (first.weight, first.bias):  # uniform in ±1/√(3·3·3)
        assert 0.9 * 27**-0.5 < tensor.abs().max().item() <= 27**-0.5


@pytest.mark.parametrize("source", ["torchvision", "timm"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_small_stem_keeps_the_resolution_of_small_images(source: str, name: str) -> None:
    wanted = config(name, source)
    wanted.model.stem = "small"
    model = make_model(wanted, 10)
    first = model.conv1
    assert isinstance(first, nn.Conv2d)
    assert (first.kernel_size, first.stride, first.padding, first.bias) == ((3, 3), (1, 1), (1, 1), None)
    assert first.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)  # He et al., 2015, fan out
    sizes = []
    model.layer1.register_forward_hook(lambda *call: sizes.append(call[2].shape[2:]))  # type: ignore[union-attr]
    model.eval()(torch.zeros(1, 3, 32, 32))
    assert sizes == [(32, 32)]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), make_model(wanted, 10).parameters(), strict=True))


@pytest.mark.parametrize(
    ("source", "name"), [("torchvision", "vgg11"), ("timm", "resnet18d"), ("timm", "convnext_atto")]
)
def test_small_stem_is_refused_where_there_is_none_to_replace(source: str, name: str) -> None:
    wanted = config(name, source)
    wanted.model.stem = "small"
    with pytest.raises(ConfigError, match=f"model.stem=small: {name} has no stem"):
        make_model(wanted, 10)


@pytest.mark.parametrize(
    ("source", "name", "size", "message"),
    [
        (
            "torchvision",
            "vit_b_32",
            176,
            r"176 px \(resolution.train_crop\): Wrong image height.*it is made for 224 px",
        ),
        ("timm", "vit_tiny_patch16_224", 176, r"176 px \(resolution.train_crop\): Input height.*it is made for 224 px"),
        ("torchvision", "inception_v3", 299, "more than one logit for each class in training"),
        ("torchvision", "googlenet", 176, "more than one logit for each class in training"),
    ],
)
def test_models_that_cannot_take_the_images_are_refused(source: str, name: str, size: int, message: str) -> None:
    wanted = config(name, source)
    wanted.resolution.train_crop = size
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        check_resolution(bare_model(source, name), wanted, 10)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        *[("torchvision", name) for name in ("resnet18", "resnet50", "resnet101", "resnet152", "resnext50_32x4d")],
        *[("torchvision", name) for name in ("mobilenet_v3_small", "efficientnet_b0", "swin_t", "maxvit_t")],
        *[("timm", name) for name in ("resnet18", "resnext50_32x4d", "efficientnet_lite0", "vit_tiny_patch16_224")],
    ],
)
def test_models_that_can_take_the_images_pass(source: str, name: str) -> None:
    wanted = config(name, source)
    with torch.device("meta"):
        model = bare_model(source, name)
        check_resolution(model, wanted, 10)
    assert model.training


def test_own_preprocessing_is_that_of_the_published_weights() -> None:
    resnet = own_preprocessing(config("resnet50", "torchvision").model)
    assert resnet == Preprocessing([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 224, 256, "bilinear")
    vit = own_preprocessing(config("vit_tiny_patch16_224", "timm").model)
    assert vit == Preprocessing([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], 224, 248, "bicubic")
    inception = own_preprocessing(config("inception_v3", "timm").model)
    assert inception is not None
    assert inception.crop == 299


def bare_model(source: str, name: str) -> nn.Module:
    if source == "timm":
        return timm.create_model(name, num_classes=10)
    return torchvision.models.get_model(name, weights=None, num_classes=10)


def test_sizes_of_the_grid_are_checked_at_the_beginning() -> None:
    config = Config()
    config.model.name, config.resolution.train_crop = "squeezenet1_1", 40
    config.resolution.val_resize = config.resolution.val_crop = 40
    network = make_model(config, 3)
    check_resolution(network, config, 3)
    config.evaluate.grid = [{"val_crop": 36}, {"val_crop": 12}]
    with pytest.raises(ConfigError, match=r"does not take images of 12 px \(evaluate.grid\)"):
        check_resolution(network, config, 3)
