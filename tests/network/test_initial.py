"""Other starts than the source's: by layer the distributions of the libraries' own constructors, and of formulas."""

import math
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from recipe.config import INITS, Config, ModelConfig
from recipe.errors import ConfigError
from recipe.network.initial import INITIALISATIONS, initialise
from recipe.network.model import make_model
from recipe.plan.compose import Plan

Composer = Callable[..., Plan]
# The start, a network whose constructor starts it so, and the library that it is of.
ORACLES = [
    ("torchvision_resnet", "torchvision", "resnet18"),
    ("torchvision_resnet", "torchvision", "resnext50_32x4d"),
    ("torchvision_resnet", "timm", "resnet18"),
    ("torchvision_resnet", "timm", "resnext50_32x4d"),
    ("torchvision_mobilenet", "torchvision", "mobilenet_v2"),
    ("torchvision_mobilenet", "torchvision", "mobilenet_v3_small"),
    ("timm_efficientnet", "timm", "efficientnet_lite0"),
    ("timm_efficientnet", "timm", "mobilenetv3_small_100"),
]
ENOUGH = 2000  # numbers of a layer, for its spread to be known within 10%


def made(source: str, name: str, seed: int = 1) -> nn.Module:
    """The library's own network, from its own constructor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if source == "timm":
            return timm.create_model(name, num_classes=10)
        return torchvision.models.get_model(name, weights=None, num_classes=10)


def started(source: str, name: str, init: str, seed: int = 0) -> nn.Module:
    return make_model(Config(seed=seed, model=ModelConfig(name=name, source=source, init=init)), 10)


def weights(network: nn.Module) -> dict[str, Tensor]:
    layers = ((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    return {name: layer.weight.detach() for name, layer in layers}


def kurtosis(numbers: Tensor) -> float:
    """3 of normal numbers, 1.8 of uniform ones."""
    centred = numbers - numbers.mean()
    return float((centred**4).mean() / (centred**2).mean() ** 2)


def test_the_schema_names_them_all() -> None:
    assert ("source", *INITIALISATIONS) == INITS


def test_source_changes_no_weight_and_draws_nothing() -> None:
    network = made("torchvision", "resnet18")
    before, state = {name: value.clone() for name, value in network.state_dict().items()}, torch.get_rng_state()
    initialise(network, "source")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("init", "source", "name"), ORACLES)
def test_layers_start_as_in_the_constructor_that_it_is_named_after(init: str, source: str, name: str) -> None:
    oracle, own = weights(made(source, name)), weights(started(source, name, init))
    assert oracle.keys() == own.keys()
    known = {layer for layer, numbers in oracle.items() if numbers.numel() >= ENOUGH}
    assert len(known) > 15
    for layer in known:
        theirs, mine = oracle[layer].flatten(), own[layer].flatten()
        assert not torch.equal(theirs, mine)
        assert mine.std().item() == pytest.approx(theirs.std().item(), rel=0.12), layer
        assert (kurtosis(mine) > 2.3) == (kurtosis(theirs) > 2.3), layer  # normal or uniform
    pairs = zip(made(source, name).named_parameters(), started(source, name, init).parameters(), strict=True)
    for (parameter, theirs), mine in pairs:
        if theirs.dim() == 1 and "fc.bias" not in parameter and ".bn" not in f".{parameter}":
            assert torch.equal(theirs, mine), parameter  # biases are 0 in both


@pytest.mark.parametrize(
    ("one", "other"), [("torchvision_resnet", "torchvision_mobilenet"), ("torchvision_mobilenet", "timm_efficientnet")]
)
def test_they_differ_where_the_libraries_differ(one: str, other: str) -> None:
    first, second = (weights(started("torchvision", "mobilenet_v3_small", init)) for init in (one, other))
    spread = {name: (second[name].std() / first[name].std()).item() for name in first if first[name].numel() > ENOUGH}
    apart = {name for name, ratio in spread.items() if not 0.7 < ratio < 1.4}
    linear = {"classifier.0", "classifier.3"}
    depthwise = {name for name in spread if first[name].shape[1] == 1}
    assert depthwise
    assert apart == linear | (depthwise if other == "timm_efficientnet" else set())


@pytest.mark.parametrize(
    ("init", "fan_in_factor", "uniform"),
    [("kaiming_normal", 2, False), ("kaiming_uniform", 2, True), ("pytorch", 1 / 3, True)],
)
def test_the_others_have_the_variance_of_their_formula(init: str, fan_in_factor: float, uniform: bool) -> None:
    network = started("torchvision", "resnet18", init)
    for name, numbers in weights(network).items():
        fan_in = numbers[0].numel()
        assert numbers.std().item() == pytest.approx(math.sqrt(fan_in_factor / fan_in), rel=0.05), name
        assert (kurtosis(numbers.flatten()) < 2.3) == uniform, name
    bias = network.get_parameter("fc.bias")
    assert bool(bias.any()) == (init == "pytorch")


@pytest.mark.parametrize("init", INITIALISATIONS)
def test_weights_are_a_function_of_the_seed_and_norms_stay(init: str) -> None:
    first, again, other = (started("torchvision", "resnet18", init, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layer1.0.conv1.weight"], other["layer1.0.conv1.weight"])
    norm = first["layer1.0.bn2.weight"]
    assert (norm == 1).all() if init != "mosaic" else len(set(norm.tolist())) > 60


def test_mosaic_starts_norms_uniformly_and_classes_at_their_share() -> None:
    """KAIMING_NORMAL, BN_UNIFORM, LINEAR_LOG_CONSTANT_BIAS of its blog's configs; the last norms of blocks too."""
    network = make_model(Config(model=ModelConfig("resnet18", init="mosaic")), 10)
    norms = torch.cat([norm.weight for norm in network.modules() if isinstance(norm, torch.nn.BatchNorm2d)])
    last = network.get_parameter("layer4.1.bn2.weight")
    for factors in (norms, last):
        assert 0 <= factors.min() < 0.02
        assert 0.98 < factors.max() < 1
        assert factors.mean().item() == pytest.approx(0.5, abs=0.05)
        assert factors.std().item() == pytest.approx(12**-0.5, abs=0.02)
    assert not any(norm.bias.any() for norm in network.modules() if isinstance(norm, torch.nn.BatchNorm2d))
    assert network.get_parameter("fc.bias").tolist() == pytest.approx([-math.log(10)] * 10)
    for name, numbers in weights(network).items():
        assert numbers.std().item() == pytest.approx(math.sqrt(2 / numbers[0].numel()), rel=0.1), name


def test_source_is_the_network_as_it_was_and_in_no_hash(plan: Composer) -> None:
    assert plan("+recipe=v1", "model.init=source").hashes == plan("+recipe=v1").hashes
    assert plan("+recipe=v1", "model.init=pytorch").training_hash != plan("+recipe=v1").training_hash
    assert plan("+recipe=v1", "model.init=pytorch").name == "v1~model.init=pytorch"


def test_init_of_a_network_that_starts_from_weights_is_refused(plan: Composer) -> None:
    with pytest.raises(ConfigError, match=r"model\.init=pytorch and model\.weights=IMAGENET1K_V1"):
        plan("+recipe=v1", "model.init=pytorch", "model.weights=IMAGENET1K_V1")


def test_heads_and_zeroed_norms_keep_their_own_start() -> None:
    model = ModelConfig("resnet18", init="pytorch", zero_init_residual=True, head="concat_pool", head_width=512)
    network = make_model(Config(model=model), 10)
    assert not network.get_parameter("layer1.0.bn2.weight").any()
    assert network.get_parameter("fc.2.weight").std().item() == pytest.approx(math.sqrt(2 / 1024), rel=0.02)
