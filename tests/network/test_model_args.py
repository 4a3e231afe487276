"""model.args: what the constructor takes makes the network wherever it is made; the rest is refused in a sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from recipe.config import Config, ModelConfig
from recipe.errors import ConfigError, RunError
from recipe.machine.distributed import Ranks
from recipe.network import pretrained
from recipe.network.constructor import bare, check_args
from recipe.network.model import make_model
from recipe.plan.compose import Plan

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
CLASSES = ["a", "b", "c"]
HALF = {"channels": [32, 64, 128, 256]}  # of timm's ResNet-18


def made(name: str, source: str, **args: Any) -> nn.Module:
    model = ModelConfig(name, source, args=args)
    check_args(model)
    return make_model(Config(model=model), 1000)


def shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_a_wide_resnet_is_a_resnet_of_another_width_as_torchvision_has_it() -> None:
    wide = made("resnet50", "torchvision", width_per_group=128)
    assert shapes(wide) == shapes(torchvision.models.wide_resnet50_2())


def test_half_the_width_has_the_parameters_that_the_docs_say() -> None:
    assert parameters(made("resnet18", "timm", **HALF)) == 3_071_976


@pytest.mark.parametrize(
    ("source", "name", "args"),
    [
        ("timm", "vit_tiny_patch16_224", {"img_size": 64, "drop_path_rate": 0.2, "depth": 3}),
        ("torchvision", "mobilenet_v3_small", {"width_mult": 0.5}),  # taken by a function before the constructor
        ("torchvision", "vit_b_16", {"image_size": 64}),
        ("torchvision", "googlenet", {"dropout": 0.5}),
        ("torchvision", "regnet_y_400mf", {"stem_width": 16}),  # which reads its values as it is made
        ("timm", "maxvit_tiny_tf_224", {"drop_path_rate": 0.2}),
        ("timm", "resnet18", {"norm_layer": "groupnorm"}),
    ],
)
def test_what_the_source_takes_is_taken_as_there(source: str, name: str, args: dict[str, Any]) -> None:
    check_args(ModelConfig(name, source, args=args))
    ours = bare(ModelConfig(name, source, args=args), 5, {})
    if source == "timm":
        theirs: nn.Module = timm.create_model(name, num_classes=5, **args)
    else:
        more = {"aux_logits": True, "init_weights": True} if name == "googlenet" else {}
        theirs = torchvision.models.get_model(name, num_classes=5, **args, **more)
    assert str(ours) == str(theirs)
    assert shapes(ours) == shapes(theirs)


@pytest.mark.parametrize(
    ("source", "name", "args", "message"),
    [
        ("timm", "resnet18", {"drop_path": 0.1}, r"ResNet, .* no such argument\. Did you mean drop_path_rate\?"),
        ("torchvision", "resnet50", {"width_pergroup": 8}, "Did you mean width_per_group"),
        ("torchvision", "convnext_tiny", {"drop_path_rate": 0.2}, "It takes .*stochastic_depth_prob, layer_scale"),
        ("torchvision", "mobilenet_v3_small", {"width": 0.5}, "MobileNetV3, .*Did you mean width_mult"),
        ("timm", "maxvit_tiny_tf_224", {"foo": 1}, "MaxxVit, which timm makes maxvit_tiny_tf_224 of, has no such"),
        ("torchvision", "resnet18", {"width_per_group": 32}, "cannot make resnet18 with it: BasicBlock only supports"),
        ("torchvision", "resnet50", {"layers": [1, 1, 1, 1]}, "with it: layers is what its name stands for$"),
        ("timm", "tf_efficientnet_lite0", {"channel_multiplier": 2}, "with it: channel_multiplier is what its name"),
        ("timm", "vit_tiny_patch16_224", {"num_heads": 5}, "with it: dim should be divisible by num_heads"),
        ("timm", "vit_tiny_patch16_224", {"act_layer": "no"}, "with it: it does not know 'no'"),
        ("timm", "resnet18", {"num_classes": 5}, r"model\.args=\{num_classes:5\}: the classes come from the data"),
        ("timm", "resnet18", {"pretrained": True}, r"model\.weights says what to start from"),
        ("torchvision", "resnet18", {"weights": "DEFAULT"}, r"model\.weights says what to start from"),
        ("timm", "resnet18", {"in_chans": 1}, "three channels"),
        ("timm", "resnet18", {"zero_init_last": True}, r"model\.zero_init_residual says that"),
        ("timm", "resnet18", {"features_only": True}, "whole classifier"),
        ("timm", "resnet18", {"drop_path_rate": None}, "as if it were not given"),
        ("timm", "resnet18", {"drop_path_rate": 1.0}, "must be a number, at least 0 and below 1"),
        ("timm", "resnet18", {"drop_path_rate": "0.1"}, "must be a number, at least 0 and below 1"),
        ("torchvision", "efficientnet_b0", {"stochastic_depth_prob": -0.1}, "must be a number, at least 0 and below 1"),
    ],
)
def test_what_it_does_not_take_is_refused(source: str, name: str, args: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_args(ModelConfig(name, source, args=args))
    assert "\n" not in str(caught.value)


def test_a_pooling_beside_that_of_the_head_is_refused() -> None:
    check_args(ModelConfig("resnet18", "timm", args={"global_pool": "max"}))
    with pytest.raises(ConfigError, match="leave one of the two out"):
        check_args(ModelConfig("resnet18", "timm", head="concat_pool", args={"global_pool": "max"}))


def of_each_module() -> list[tuple[str, str]]:
    """The last network of each of timm's modules, and of torchvision's the smallest of each."""
    by_module = {timm.model_entrypoint(name).__module__: name for name in timm.list_models()}
    names = torchvision.models.list_models(module=torchvision.models)
    smallest = {torchvision.models.get_model_builder(name).__module__: name for name in reversed(names)}
    smallest["torchvision.models.regnet"] = "regnet_x_400mf"
    return [*(("timm", name) for name in by_module.values()), *(("torchvision", name) for name in smallest.values())]


@pytest.mark.parametrize(("source", "name"), of_each_module())
def test_no_network_ignores_an_argument_that_it_does_not_know(source: str, name: str) -> None:
    with pytest.raises(ConfigError, match="no such argument"):
        check_args(ModelConfig(name, source, args={"no_such_thing": 1}))


def test_they_are_part_of_name_and_hash_where_they_are_given(plan: Callable[..., Plan]) -> None:
    def of(*args: str) -> Plan:
        return plan("+recipe=v2", "model=resnet50", *args)

    one = of("model.args={width_per_group: 128, groups: 1}")
    other = of("model.args={groups: 1, width_per_group: 128}")
    without = of()
    assert one.config.model.args == {"width_per_group": 128, "groups": 1}
    assert (one.name, one.training_hash) == (other.name, other.training_hash)
    assert one.training_hash != without.training_hash
    assert "model.args" in one.name
    assert "args" not in without.name
    assert of("model.args={}").training_hash == without.training_hash


def test_a_command_with_wrong_ones_ends_before_its_data_is_looked_at(plan: Callable[..., Plan]) -> None:
    with pytest.raises(Exception, match="Did you mean width_per_group"):
        plan("+recipe=v2", "data=imagefolder", "data.root=/tmp", "model.args={width_per_grup: 128}")


def started(weights: object, name: str, source: str, **args: Any) -> nn.Module:
    config = Config(model=ModelConfig(name, source, weights=str(weights), args=args))
    network = make_model(config, len(CLASSES))
    assert pretrained.load(network, config, ALONE, CLASSES) is not None
    return network


def test_published_weights_of_another_shape_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    published = torchvision.models.resnet50()
    torch.save(published.state_dict(), tmp_path / "hub" / "checkpoints" / "resnet50-0676ba61.pth")
    same = started("IMAGENET1K_V1", "resnet50", "torchvision", replace_stride_with_dilation=[False, False, True])
    assert torch.equal(same.get_parameter("conv1.weight"), published.conv1.weight)
    message = (
        r"published for resnet50 without model\.args, and model\.args=\{width_per_group:128\} makes another.*instead"
    )
    with pytest.raises(RunError, match=message):
        started("IMAGENET1K_V1", "resnet50", "torchvision", width_per_group=128)


def test_timm_s_weights_are_brought_to_another_image_size_as_timm_does_it(tmp_path: Path) -> None:
    small: dict[str, Any] = {"depth": 2, "embed_dim": 48}
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=3, **small)
    torch.save(theirs.state_dict(), tmp_path / "own.pth")
    ours = started(tmp_path / "own.pth", "vit_tiny_patch16_224", "timm", img_size=64, **small)
    file = {"file": str(tmp_path / "own.pth"), "num_classes": 3}
    expected = timm.create_model(
        "vit_tiny_patch16_224", pretrained=True, pretrained_cfg_overlay=file, num_classes=3, img_size=64, **small
    )
    assert shapes(ours) == shapes(expected)
    assert ours.get_parameter("pos_embed").shape == (1, 17, 48)
    assert torch.equal(ours.get_parameter("pos_embed"), expected.get_parameter("pos_embed"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named_when_they_are_loaded(tmp_path: Path, value: float) -> None:
    state = torchvision.models.resnet18(num_classes=3).state_dict()
    state["layer1.0.conv1.weight"][0, 0] = value
    torch.save(state, tmp_path / "own.pth")
    message = r"own\.pth holds values that are not finite .* in layer1\.0\.conv1\.weight of 122 tensors"
    with pytest.raises(RunError, match=message):
        started(tmp_path / "own.pth", "resnet18", "torchvision")
