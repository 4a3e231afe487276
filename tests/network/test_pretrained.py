"""A network starts with every tensor of its weights, or is refused; what it did not take over is said."""

import argparse
import io
import json
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from photos import PHOTOS
from PIL import Image
from safetensors.torch import save_file
from timm.data import ImageNetInfo
from torch import nn
from torch.optim.swa_utils import AveragedModel

from recipe.config import Config, ModelConfig
from recipe.data.transforms import apply_eval
from recipe.errors import DataError, RunError
from recipe.machine.distributed import Ranks
from recipe.network import pretrained, zoo
from recipe.network.freeze import freeze
from recipe.network.model import make_model
from recipe.network.preprocessing import class_names, own_preprocessing
from recipe.network.pretrained import Start

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
CLASSES = ["a", "b", "c"]


def oracle(num_classes: int = 3, name: str = "resnet18") -> nn.Module:
    """Another initialisation than the seed's, with statistics of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        model = torchvision.models.get_model(name, num_classes=num_classes)
        model.train()(torch.rand(4, 3, 32, 32))
    return model.eval()


def started(weights: Path | str, classes: list[str] = CLASSES, **model: Any) -> tuple[nn.Module, Start]:
    config = Config(model=ModelConfig(**{"name": "resnet18", "weights": str(weights), **model}))
    network = make_model(config, len(classes))
    freeze(network, config.model)
    start = pretrained.load(network, config, ALONE, classes)
    assert start is not None
    return network.eval(), start


def equal(one: nn.Module, other: nn.Module, but: tuple[str, ...] = ()) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in b if name not in but)


def run_folder(folder: Path, network: nn.Module, classes: list[str]) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    save_file(network.state_dict(), folder / "checkpoints" / "model.safetensors")
    (folder / "result.json").write_text(json.dumps({"recipe": "tiny"}))
    (folder / "environment.json").write_text(json.dumps({"classes": classes}))
    return folder


Wrapper = Callable[[nn.Module], Any]
WRAPPED: dict[str, Wrapper] = {
    "bare": lambda network: network.state_dict(),
    "model": lambda network: {"model": network.state_dict(), "epoch": 3, "args": argparse.Namespace(lr=0.1)},
    "state_dict": lambda network: {"state_dict": network.state_dict(), "optimizer": {"state": {}}},
    "parallel": lambda network: {f"module.{name}": value for name, value in network.state_dict().items()},
    "compiled": lambda network: {f"_orig_mod.{name}": value for name, value in network.state_dict().items()},
    "average": lambda network: (
        {"model": oracle(name="resnet34").state_dict()} | {"model_ema": AveragedModel(network).state_dict()}
    ),
    "ours": lambda network: {"model": network.state_dict(), "ema": None, "format": 3},
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_weights_are_taken_out_of_their_wrappers(wrapper: str, tmp_path: Path) -> None:
    theirs = oracle()
    torch.save(WRAPPED[wrapper](theirs), tmp_path / "own.pth")
    network, start = started(tmp_path / "own.pth")
    assert equal(network, theirs)
    assert start.fresh == start.unused == ()
    assert start.taken == len(theirs.state_dict())
    assert str(tmp_path) not in start.weights


def test_safetensors_are_read(tmp_path: Path) -> None:
    theirs = oracle()
    save_file(theirs.state_dict(), tmp_path / "own.safetensors")
    assert equal(started(tmp_path / "own.safetensors")[0], theirs)


def test_head_of_another_number_of_classes_is_the_seed_s_and_said(tmp_path: Path) -> None:
    theirs = oracle(num_classes=1000)
    torch.save(theirs.state_dict(), tmp_path / "own.pth")
    network, start = started(tmp_path / "own.pth")
    head = ("fc.weight", "fc.bias")
    assert equal(network, theirs, but=head)
    assert start.fresh == start.unused == head
    assert start.why == "another number of classes"
    fresh = make_model(Config(model=ModelConfig(name="resnet18", weights=str(tmp_path / "own.pth"))), 3)
    assert torch.equal(network.get_parameter("fc.weight"), fresh.get_parameter("fc.weight"))


def test_another_kind_of_head_is_the_seed_s(tmp_path: Path) -> None:
    torch.save(oracle().state_dict(), tmp_path / "own.pth")
    _, start = started(tmp_path / "own.pth", head="mlp")
    assert start.fresh == ("fc.0.weight", "fc.0.bias", "fc.3.weight", "fc.3.bias")
    assert start.unused == ("fc.weight", "fc.bias")
    assert start.why == "another head"


@pytest.mark.parametrize(("theirs", "taken"), [(["a", "b", "c"], True), (["a", "b", "d"], False)])
def test_head_of_a_run_is_taken_over_for_the_same_classes_only(theirs: list[str], taken: bool, tmp_path: Path) -> None:
    source = oracle()
    network, start = started(run_folder(tmp_path / "run", source, theirs))
    assert equal(network, source) == taken
    assert equal(network, source, but=("fc.weight", "fc.bias"))
    assert start.why == ("" if taken else "other classes")


def test_small_stem_is_the_seed_s_where_the_weights_have_another(tmp_path: Path) -> None:
    theirs = oracle()
    torch.save(theirs.state_dict(), tmp_path / "own.pth")
    network, start = started(tmp_path / "own.pth", stem="small")
    assert equal(network, theirs, but=("conv1.weight",))
    assert start.fresh == start.unused == ("conv1.weight",)
    torch.save(network.state_dict(), tmp_path / "small.pth")
    again, start = started(tmp_path / "small.pth", stem="small")
    assert equal(again, network)
    assert start.fresh == ()


def test_small_stem_with_a_bias_is_new_as_far_as_the_weights_lack_it(tmp_path: Path) -> None:
    theirs = oracle()
    torch.save(theirs.state_dict(), tmp_path / "own.pth")
    network, start = started(tmp_path / "own.pth", stem="small_with_bias")
    assert equal(network, theirs, but=("conv1.weight", "conv1.bias"))
    assert sorted(start.fresh) == ["conv1.bias", "conv1.weight"]
    assert start.why == "model.stem=small_with_bias"
    torch.save(network.state_dict(), tmp_path / "small.pth")
    assert started(tmp_path / "small.pth", stem="small_with_bias")[1].fresh == ()
    with pytest.raises(RunError, match=r"with unknown conv1\.bias"):
        started(tmp_path / "small.pth", stem="small")


def test_frozen_stem_that_the_weights_do_not_have_is_refused(tmp_path: Path) -> None:
    torch.save(oracle().state_dict(), tmp_path / "own.pth")
    with pytest.raises(RunError, match=r"model\.freeze=stem would keep conv1\.weight random"):
        started(tmp_path / "own.pth", stem="small", freeze="stem")


def broken(**changes: Any) -> dict[str, Any]:
    state = oracle().state_dict()
    for name, value in changes.items():
        if value is None:
            del state[name.replace("__", ".")]
        else:
            state[name.replace("__", ".")] = value
    return state


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: oracle(name="resnet34").state_dict(), r"are not weights of model\.name=resnet18.*unknown layer1\.2"),
        (lambda: oracle(name="resnet50").state_dict(), r"conv1\.weight \(64, 64, 1, 1\) instead of \(64, 64, 3, 3\)"),
        (lambda: broken(layer1__0__bn1__running_mean=None), r"without layer1\.0\.bn1\.running_mean\."),
        (lambda: broken(conv1__weight=torch.zeros(64, 3, 3, 3)), r"with conv1\.weight \(64, 3, 3, 3\) instead of"),
        (lambda: broken(extra=torch.zeros(1)), "with unknown extra"),
        (lambda: {"weights": [1, 2]}, "holds no state dict"),
    ],
)
def test_weights_of_another_network_are_refused(content: Callable[[], Any], message: str, tmp_path: Path) -> None:
    torch.save(content(), tmp_path / "own.pth")
    with pytest.raises(RunError, match=message):
        started(tmp_path / "own.pth")


def test_files_that_could_run_code_are_not_loaded(tmp_path: Path) -> None:
    torch.save(oracle(), tmp_path / "own.pth")  # a pickled module
    with pytest.raises(RunError, match=r"could run code.*state_dict\(\), FILE"):
        started(tmp_path / "own.pth")


def test_published_weights_are_read_from_torch_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    theirs = oracle(num_classes=1000)
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(theirs.state_dict(), tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth")
    network, start = started("IMAGENET1K_V1")
    assert equal(network, theirs, but=("fc.weight", "fc.bias"))
    assert start.weights == "IMAGENET1K_V1"
    thousand = [str(number) for number in range(1000)]
    assert equal(started("IMAGENET1K_V1", thousand)[0], theirs)


def test_missing_published_weights_are_named_with_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(RunError) as caught:
        started("IMAGENET1K_V1")
    assert str(tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in str(caught.value)
    assert "Bring the file there" in str(caught.value)


def test_cache_that_cannot_be_written_is_told_with_what_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    forbidden = "/sys/torch" if sys.platform == "linux" else "/dev/null/torch"  # even for root
    monkeypatch.setenv("TORCH_HOME", forbidden)
    with pytest.raises(RunError, match=rf"'{forbidden}'\)\..*TORCH_HOME=FOLDER names another place"):
        zoo.fetch(ModelConfig(name="resnet18", weights="IMAGENET1K_V1"))


def test_preprocessing_is_that_of_the_weights() -> None:
    def of(weights: str) -> tuple[int, int, str]:
        own = own_preprocessing(ModelConfig(name="resnet50", weights=weights))
        assert own is not None
        return own.resize, own.crop, own.interpolation

    assert of("IMAGENET1K_V1") == (256, 224, "bilinear")
    assert of("IMAGENET1K_V2") == (232, 224, "bilinear")
    timm = own_preprocessing(ModelConfig(name="resnet50", source="timm", weights="tv_in1k"))
    assert timm is not None
    assert (timm.resize, timm.crop, timm.interpolation) == (256, 224, "bilinear")


def test_class_names_are_those_of_the_weights(tmp_path: Path) -> None:
    names = class_names(ModelConfig(name="resnet50", weights="IMAGENET1K_V2"))
    assert names is not None
    assert (len(names), names[0], names[701]) == (1000, "tench", "parachute")
    run = run_folder(tmp_path / "run", oracle(), CLASSES)
    assert class_names(ModelConfig(name="resnet18", weights=str(run))) == CLASSES
    assert class_names(ModelConfig(name="resnet18")) is None


@pytest.mark.skipif(PHOTOS is None, reason="the shared ImageNet photos are not here")
def test_weights_of_the_package_index_recognise_imagenet_photos() -> None:
    assert PHOTOS is not None
    model = ModelConfig(name="tf_efficientnet_lite0", source="timm", weights="package:efficientnet-lite0")
    try:
        network, start = started(str(model.weights), ImageNetInfo().label_names(), name=model.name, source="timm")
    except DataError as error:
        pytest.skip(f"the package is neither cached nor to be downloaded here: {error}")
    assert start.fresh == ()
    own = own_preprocessing(model)
    assert own is not None
    synsets, hits = ImageNetInfo().label_names(), []
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (own.mean, own.std))
    with tarfile.open(PHOTOS) as photos:
        members = [member for member in photos.getmembers() if member.name.endswith(".JPEG")][:60]
        for member in members:
            file = photos.extractfile(member)
            assert file is not None
            image = torchvision.transforms.functional.pil_to_tensor(Image.open(io.BytesIO(file.read())).convert("RGB"))
            pixels = apply_eval(image, own.resize, own.crop, own.interpolation)
            with torch.inference_mode():
                best = network((pixels.float() / 255 - mean)[None] / std).argmax().item()
            hits.append(synsets[int(best)] == Path(member.name).name.partition("_")[0])
    assert len(hits) == 60
    assert sum(hits) >= 48  # 9 of 10 of them; 1 in 1000 by chance
