"""Weights in the old forms that torchvision's and timm's own loading brings into today's."""

import re
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from recipe.config import Config, ModelConfig, RuntimeConfig
from recipe.errors import RunError
from recipe.machine.distributed import Ranks
from recipe.network import pretrained, zoo
from recipe.network.constructor import bare
from recipe.network.freeze import freeze
from recipe.network.model import make_model
from recipe.network.states import load, load_by_version, with_metadata

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
CLASSES = ["a", "b", "c"]
State = dict[str, Tensor]
WITH_BATCH_NORM = (  # noqa: SIM905 one of each of torchvision's families
    "densenet121 efficientnet_b0 mobilenet_v2 mobilenet_v3_small regnet_y_400mf resnet18 shufflenet_v2_x0_5 vgg11_bn"
).split()


def theirs(name: str, num_classes: int = 3, **arguments: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        network = torchvision.models.get_model(name, num_classes=num_classes, **arguments)
        for buffer_name, buffer in network.named_buffers():
            if buffer.is_floating_point() and "running" in buffer_name:
                buffer.uniform_(0.5, 1.5)
    return network.eval()


def ours(weights: Path | str, name: str, classes: list[str] = CLASSES, **model: Any) -> nn.Module:
    config = Config(model=ModelConfig(name=name, weights=str(weights), **model))
    network = make_model(config, len(classes))
    freeze(network, config.model)
    start = pretrained.load(network, config, ALONE, classes)
    assert start is not None
    assert start.fresh == ()
    return network.eval()


def assert_same_logits(one: nn.Module, other: nn.Module, size: int = 64) -> None:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = other.to(memory_format=torch.channels_last)(images)
        torch.testing.assert_close(one(images), expected)


def without_counters(network: nn.Module) -> OrderedDict[str, Tensor]:
    """As files were before batch norm counted its batches."""
    return OrderedDict((n, t) for n, t in network.state_dict().items() if not n.endswith("num_batches_tracked"))


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
def test_files_without_the_counters_of_batch_norm_load(name: str, tmp_path: Path) -> None:
    network = theirs(name)
    torch.save(without_counters(network), tmp_path / "old.pth")
    assert_same_logits(ours(tmp_path / "old.pth", name), network)


def old_densenet(network: nn.Module) -> State:
    """Layers with points in their names, as torchvision's own files still have them."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", n): t for n, t in without_counters(network).items()
    }


@pytest.mark.parametrize("prefix", ["", "module."])
def test_old_names_of_densenet_load(prefix: str, tmp_path: Path) -> None:
    network = theirs("densenet121")
    state = {f"{prefix}{name}": tensor for name, tensor in old_densenet(network).items()}
    assert f"{prefix}features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "old.pth")
    assert_same_logits(ours(tmp_path / "old.pth", "densenet121"), network)


def in_torch_s_cache(folder: Path, name: str, content: Any, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("TORCH_HOME", str(folder))
    file = zoo.hub_file(ModelConfig(name=name, weights="IMAGENET1K_V1"))
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, file)


def test_old_names_load_by_their_published_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = theirs("densenet121", 1000)
    in_torch_s_cache(tmp_path, "densenet121", old_densenet(network), monkeypatch)
    classes = [str(number) for number in range(1000)]
    assert_same_logits(ours("IMAGENET1K_V1", "densenet121", classes), network)


@pytest.mark.parametrize("version", [None, 1])
def test_old_names_of_vision_transformers_load(version: int | None, tmp_path: Path) -> None:
    network = theirs("vit_b_16")
    old = {n.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): t
           for n, t in network.state_dict().items()}  # fmt: skip
    assert "encoder.layers.encoder_layer_0.mlp.linear_1.weight" in old
    metadata = None if version is None else {"": {"version": version}}
    torch.save(with_metadata(old, metadata), tmp_path / "old.pth")
    assert_same_logits(ours(tmp_path / "old.pth", "vit_b_16"), network, 224)


def first_mnasnet() -> nn.Module:
    """As torchvision brings a file of its first MNASNet into being."""
    network = theirs("mnasnet0_5")
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        network.load_state_dict(with_metadata({}, {"": {"version": 1}}), strict=False)
    assert network.get_parameter("layers.0.weight").shape == (32, 3, 3, 3)  # 16 in today's
    return network.eval()


@pytest.mark.parametrize("form", ["torch", "torch without versions", "safetensors"])
@pytest.mark.parametrize("first", [False, True])
def test_both_versions_of_mnasnet_load(first: bool, form: str, tmp_path: Path) -> None:
    network = first_mnasnet() if first else theirs("mnasnet0_5")
    file = tmp_path / ("own.safetensors" if form == "safetensors" else "own.pth")
    if form == "torch":
        torch.save(network.state_dict(), file)
    elif form == "safetensors":
        save_file(network.state_dict(), file)
    else:
        torch.save(dict(without_counters(network)), file)
    assert_same_logits(ours(file, "mnasnet0_5"), network)


def test_layers_of_an_older_version_stay_frozen_and_in_double_precision(tmp_path: Path) -> None:
    torch.save(first_mnasnet().state_dict(), tmp_path / "own.pth")
    config = Config(model=ModelConfig(name="mnasnet0_5", weights=str(tmp_path / "own.pth"), freeze="backbone"))
    config.runtime = RuntimeConfig(precision="fp64")
    network = make_model(config, 3)
    freeze(network, config.model)
    pretrained.load(network, config, ALONE, CLASSES)
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == name.startswith("classifier.")
        assert parameter.dtype == torch.float64


def test_a_state_of_ones_own_goes_into_the_parameters_that_are_there(tmp_path: Path) -> None:
    """The optimizer holds them: a network that put new layers in their place would train no more."""
    network = first_mnasnet()
    state = {name: tensor + 1 for name, tensor in network.state_dict().items()}
    before = dict(network.named_parameters())
    load(network, with_metadata(state, network.state_dict()._metadata))  # type: ignore[attr-defined]
    assert all(before[name] is parameter for name, parameter in network.named_parameters())
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("by", ["name", "file"])
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_published_networks_with_auxiliary_heads_say_what_torchvision_s_say(
    name: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs renormalises its input, since its weights come from TensorFlow: with or without that, logits differ."""
    network = theirs(name, 1000, init_weights=False, aux_logits=True, transform_input=True)
    in_torch_s_cache(tmp_path, name, network.state_dict(), monkeypatch)
    file = zoo.hub_file(ModelConfig(name=name, weights="IMAGENET1K_V1"))
    classes = [str(number) for number in range(1000)]
    start = ours("IMAGENET1K_V1" if by == "name" else file, name, classes)
    assert_same_logits(start, network, 96)
    assert isinstance(start.train()(torch.rand(2, 3, 96, 96)), Tensor)


@pytest.mark.parametrize(
    "name", [n for n in torchvision.models.list_models(module=torchvision.models) if not n.startswith("regnet")]
)
def test_networks_are_those_that_torchvision_builds_for_each_of_its_weights(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another input size, or an input that is normalised again. (RegNets cannot be built without memory.)"""
    members = torchvision.models.get_model_weights(name)
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *_, **__: {})
    for member in members:
        with torch.device("meta"):
            expected = torchvision.models.get_model(name, weights=member)
            model = ModelConfig(name=name, weights=member.name)
            found = bare(model, 1000, zoo.arguments(model))
        auxiliary = zoo.AUXILIARY_HEADS.get(name, ("-",))
        shapes = {n: t.shape for n, t in expected.state_dict().items() if not n.startswith(auxiliary)}
        assert {n: t.shape for n, t in found.state_dict().items()} == shapes
        assert getattr(found, "transform_input", None) == getattr(expected, "transform_input", None)


def of_facebook(network: nn.Module) -> State:
    """A ConvNeXt in the names of its authors' repository."""
    names = (
        (r"^stem\.", "downsample_layers.0."),
        (r"stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
        (r"stages\.(\d+)\.blocks\.", r"stages.\1."),
        (r"mlp\.fc([12])", r"pwconv\1"),
        (r"conv_dw", "dwconv"),
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
    )
    state = {}
    for name, tensor in network.state_dict().items():
        for pattern, theirs_ in names:
            name = re.sub(pattern, theirs_, name)
        state[name] = tensor
    return state


@pytest.mark.parametrize(
    ("name", "arguments", "form"),
    [("test_convnext", {}, of_facebook), ("test_vit", {"img_size": 96}, lambda network: network.state_dict())],
)
def test_files_that_timm_would_bring_into_form_load(
    name: str, arguments: dict[str, Any], form: Callable[[nn.Module], State], tmp_path: Path
) -> None:
    source = timm.create_model(name, num_classes=3, **arguments)
    torch.save(form(source), tmp_path / "own.pth")
    expected = timm.create_model(
        name, pretrained=True, num_classes=3,
        pretrained_cfg_overlay={"file": str(tmp_path / "own.pth"), "num_classes": 3},
    ).eval()  # fmt: skip
    assert_same_logits(ours(tmp_path / "own.pth", name, source="timm"), expected, 160)


def test_a_cut_download_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_torch_s_cache(tmp_path, "resnet18", theirs("resnet18", 1000).state_dict(), monkeypatch)
    file = zoo.hub_file(ModelConfig(name="resnet18", weights="IMAGENET1K_V1"))
    file.write_bytes(file.read_bytes()[:1_000_000])
    with pytest.raises(RunError, match=rf"{re.escape(str(file))} cannot be read: it is cut off"):
        ours("IMAGENET1K_V1", "resnet18")


def test_versions_of_a_state_dict_are_tried_from_the_newest() -> None:
    network = theirs("mnasnet0_5")
    load_by_version(network, dict(network.state_dict()))
    assert network.state_dict()._metadata[""]["version"] == 2  # type: ignore[attr-defined]
    load_by_version(network, dict(first_mnasnet().state_dict()))
    assert network.state_dict()._metadata[""]["version"] == 1  # type: ignore[attr-defined]
