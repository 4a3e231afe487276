"""The stages of a network are its parameters, each once, in the order from the first layer to the head."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from recipe.network.stages import head_names, in_head, stages


def model_of(source: str, name: str) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name) if source == "timm" else torchvision.models.get_model(name)


@pytest.mark.parametrize(
    ("source", "name", "head", "expected"),
    [
        ("torchvision", "resnet50", "fc", ["stem", "layer1", "layer2", "layer3", "layer4"]),
        ("timm", "resnet50", "fc", ["stem", "layer1", "layer2", "layer3", "layer4"]),
        ("torchvision", "efficientnet_b0", "classifier.1", [f"features.{n}" for n in range(9)]),
        (
            "timm",
            "tf_efficientnet_lite0",
            "classifier",
            ["stem", *(f"blocks.{n}" for n in range(7)), "conv_head"],
        ),
        ("timm", "vit_tiny_patch16_224", "head", ["patch_embed", *(f"blocks.{n}" for n in range(12))]),
        ("timm", "convnext_atto", "head.fc", ["stem", *(f"stages.{n}" for n in range(4)), "head"]),
    ],
)
def test_stages_are_the_model_s_own_in_their_order(source: str, name: str, head: str, expected: list[str]) -> None:
    model = model_of(source, name)
    assert head_names(model) == (head,)
    assert list(stages(model)) == expected


@pytest.mark.parametrize(
    ("source", "name"),
    [
        *[("torchvision", name) for name in ("vgg11", "vit_b_16", "densenet121", "mobilenet_v3_small", "maxvit_t")],
        *[("torchvision", name) for name in ("squeezenet1_1", "shufflenet_v2_x0_5", "convnext_tiny", "swin_t")],
        *[("timm", name) for name in ("regnety_004", "resnetv2_50", "deit_tiny_distilled_patch16_224", "levit_128")],
    ],
)
def test_every_parameter_is_in_one_stage_or_in_the_head(source: str, name: str) -> None:
    model = model_of(source, name)
    heads = head_names(model)
    assert heads
    by_stage = [parameter for parameters in stages(model).values() for parameter in parameters]
    of_head = [parameter for parameter, _ in model.named_parameters() if in_head(parameter, heads)]
    assert sorted(by_stage + of_head) == sorted(dict(model.named_parameters()))


def test_norms_and_embeddings_belong_to_the_layer_beside_them() -> None:
    found = stages(model_of("timm", "vit_tiny_patch16_224"))
    assert {"cls_token", "pos_embed"} < set(found["patch_embed"])
    assert "norm.weight" in found["blocks.11"]
    assert stages(model_of("torchvision", "resnet18"))["stem"] == ["conv1.weight", "bn1.weight", "bn1.bias"]
