"""BlurPool: which layers it changes, what they compute, and that its weights go along and are not taken for others."""

from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from recipe.config import Config, ModelConfig
from recipe.errors import ConfigError
from recipe.finished import exporting
from recipe.network.model import make_model

SIX = [f"layer{number}.0.{name}" for number in (2, 3, 4) for name in ("conv2", "downsample.0")]


def network(blur_pool: str, name: str = "resnet50", seed: int = 0) -> nn.Module:
    config = Config(model=ModelConfig(name=name, blur_pool=blur_pool), seed=seed)
    return make_model(config, 5).eval()


def blurred(images: Tensor, stride: int = 1) -> Tensor:
    """By shifted copies: a quarter, a half and a quarter of neighbours, down and across; zeros outside."""
    padded = F.pad(images, (1, 1, 1, 1)).double()
    rows = padded[:, :, :-2] / 4 + padded[:, :, 1:-1] / 2 + padded[:, :, 2:] / 4
    both = rows[..., :-2] / 4 + rows[..., 1:-1] / 2 + rows[..., 2:] / 4
    return both[..., ::stride, ::stride].to(images.dtype)


def with_hooks(plain: nn.Module, max_pool: bool) -> nn.Module:
    """torchvision's network, with the inputs of its strided convolutions blurred on their way."""
    for name, layer in plain.named_modules():
        if name in SIX:
            layer.register_forward_pre_hook(lambda _, inputs: (blurred(inputs[0]),))
        if name == "maxpool" and max_pool:
            layer.stride = 1
            layer.register_forward_hook(lambda _, inputs, output: blurred(output, stride=2))
    return plain


@pytest.mark.parametrize("blur_pool", ["convolutions", "convolutions_and_max_pool"])
def test_logits_are_those_of_the_network_with_blurred_inputs(blur_pool: str) -> None:
    found = network(blur_pool)
    plain = torchvision.models.resnet50(num_classes=5).eval()
    plain.load_state_dict({name: value for name, value in found.state_dict().items() if "blur_filter" not in name})
    max_pool = blur_pool != "convolutions"
    images = torch.rand(2, 3, 65, 65, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before, after = plain(images), with_hooks(plain, max_pool)(images)
        assert torch.allclose(found(images), after, rtol=0, atol=1e-5)
        assert (after - before).abs().max() > 1e-3
    filters = [name.removesuffix(".blur_filter") for name in found.state_dict() if "blur_filter" in name]
    assert sorted(filters) == sorted([*SIX, "maxpool"] if max_pool else SIX)


def test_weights_start_as_without_it() -> None:
    plain, found = (network(kind).state_dict() for kind in ("none", "convolutions_and_max_pool"))
    assert all(torch.equal(value, found[name]) for name, value in plain.items())
    assert set(found) - set(plain) == {f"{name}.blur_filter" for name in [*SIX, "maxpool"]}
    own = torchvision.models.resnet50(num_classes=5)
    with pytest.raises(RuntimeError, match="Unexpected key"):  # not unseen, as another network
        own.load_state_dict(found)


def test_filters_are_no_parameters_and_keep_their_values_in_training() -> None:
    model = network("convolutions", "resnet18").train()
    assert not any("blur" in name for name, _ in model.named_parameters())
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    layer = model.get_submodule("layer2.0.conv1")
    assert layer.weight.grad is not None
    assert layer.get_buffer("blur_filter").flatten().mul(16).tolist() == [1, 2, 1, 2, 4, 2, 1, 2, 1]


def test_a_network_without_strided_convolutions_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.blur_pool=convolutions: alexnet has no strided convolutions to blur"
    ):
        network("convolutions", "alexnet")


@pytest.mark.parametrize("max_pool", ["", "_and_max_pool"])
def test_it_is_exported_with_the_same_logits(tmp_path: Path, max_pool: str) -> None:
    config = Config(model=ModelConfig(name="resnet18", blur_pool=f"convolutions{max_pool}"))
    config.resolution.val_crop = 33
    model = network(config.model.blur_pool, "resnet18")
    exporting.write_onnx(tmp_path / "a.onnx", model, config, {}, with_preprocessing=False)
    images = torch.rand(3, 3, 33, 33)
    (found,) = onnxruntime.InferenceSession(str(tmp_path / "a.onnx")).run(None, {"images": images.numpy()})
    with torch.inference_mode():
        expected = model(images)
        program = torch.export.export(model, (images,))
        assert torch.allclose(program.module()(images), expected, atol=1e-5)
    assert torch.allclose(torch.from_numpy(found), expected, atol=1e-4)
