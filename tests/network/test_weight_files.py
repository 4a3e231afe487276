"""Files that other trainers write."""

import os
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from recipe.config import Config, ModelConfig
from recipe.errors import RunError
from recipe.machine.distributed import Ranks
from recipe.network import pretrained
from recipe.network.model import make_model
from recipe.network.pretrained import Start
from recipe.network.resolve import resolved
from recipe.network.weight_files import network_in

ALONE = Ranks(0, 1, 0, 1, torch.device("cpu"))
CLASSES = ["a", "b", "c"]
State = dict[str, Tensor]


class Foreign:
    """Of a class that PyTorch does not know, as trainers keep beside their weights."""

    def __init__(self) -> None:
        self.settings = {"lr": 0.1, "path": Path("/x"), "score": np.float64(0.5)}


@pytest.fixture(scope="module")
def theirs() -> State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        return torchvision.models.resnet18(num_classes=3).state_dict()


def started(file: Path) -> tuple[nn.Module, Start]:
    config = Config(model=resolved(ModelConfig(name="resnet18", weights=str(file))))
    network = make_model(config, len(CLASSES))
    start = pretrained.load(network, config, ALONE, CLASSES)
    assert start is not None
    return network, start


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


FORMS: dict[str, Callable[[State], Any]] = {
    "lightning.ckpt": lambda s: {
        "epoch": 3,
        "state_dict": {**prefixed("model.", s), "criterion.weight": torch.ones(3)},
        "hyper_parameters": Foreign(),
        "callbacks": {"best": {"score": torch.tensor(0.5), "path": Path("/best")}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
    },
    "example.pth.tar": lambda s: {
        "epoch": 9,
        "arch": "resnet18",
        "state_dict": prefixed("module.", s),
        "best_acc1": torch.tensor(70.0),
    },
    "tutorial.tar": lambda s: {"model_state_dict": s, "loss": np.float32(0.3), "args": Namespace(lr=1)},
    "net.pt": lambda s: prefixed("net.", s),
    "nested.bin": lambda s: {"state": {"network": prefixed("_orig_mod.module.model.", s)}},
    "deepspeed": lambda s: {"module": s, "args": Foreign()},
}


@pytest.mark.parametrize("form", FORMS)
def test_checkpoints_of_other_trainers_are_read(form: str, theirs: State, tmp_path: Path) -> None:
    torch.save(FORMS[form](theirs), tmp_path / form)
    network, start = started(tmp_path / form)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in network.state_dict().items())
    assert start.fresh == ()
    assert start.unused == (("criterion.weight",) if form == "lightning.ckpt" else ())


def test_a_backbone_beside_a_head_of_other_names_is_taken(theirs: State, tmp_path: Path) -> None:
    body = {name: tensor for name, tensor in theirs.items() if not name.startswith("fc.")}
    head = {"head.fc.weight": torch.zeros(9, 512), "head.fc.bias": torch.zeros(9)}
    torch.save({"meta": Foreign(), "state_dict": {**prefixed("backbone.", body), **head}}, tmp_path / "mm.pth")
    network, start = started(tmp_path / "mm.pth")
    assert all(torch.equal(tensor, body[name]) for name, tensor in network.state_dict().items() if name in body)
    assert start.fresh == ("fc.weight", "fc.bias")
    assert start.unused == ("head.fc.weight", "head.fc.bias")


def test_prefixes_that_are_the_network_s_own_stay() -> None:
    own = {f"{name}.weight": torch.zeros(1) for name in ("model.conv", "model.conv2", "net.head")}
    assert network_in({"state_dict": own}, own).state.keys() == own.keys()
    assert network_in({"state_dict": prefixed("module.", own)}, own).state.keys() == own.keys()


def test_averaged_weights_come_first(theirs: State, tmp_path: Path) -> None:
    average = {name: tensor + 1 for name, tensor in theirs.items()}
    torch.save({**prefixed("model.", theirs), **prefixed("model_ema.module.", average)}, tmp_path / "own.ckpt")
    network, start = started(tmp_path / "own.ckpt")
    assert torch.equal(network.get_parameter("conv1.weight"), average["conv1.weight"])
    assert "model_ema.module." in start.weights


class Marks:
    """Would run a command where it is unpickled as pickle does it."""

    def __init__(self, command: Callable[..., Any], *arguments: object) -> None:
        self.made_by = command, arguments

    def __reduce__(self) -> Any:
        return self.made_by


@pytest.mark.parametrize("command", [subprocess.call, eval, os.mkdir])
def test_nothing_in_a_file_is_run(command: Callable[..., Any], theirs: State, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    argument = {subprocess.call: ["touch", str(mark)], eval: f"open({str(mark)!r}, 'w')", os.mkdir: str(mark)}[command]
    torch.save({"state_dict": theirs, "surprise": Marks(command, argument)}, tmp_path / "own.pth")
    try:
        network, _ = started(tmp_path / "own.pth")
        assert torch.equal(network.get_parameter("conv1.weight"), theirs["conv1.weight"])
    except RunError:  # of modules that PyTorch blocks altogether
        assert command is os.mkdir
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"no weights at all", "cannot be read: "),
        (b"PK\x03\x04 and no more", "it is cut off"),
    ],
)
def test_files_that_are_no_weights_are_said_to_be_what_they_are(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        started(tmp_path / "own.pth")
    assert "0x" not in str(caught.value)
    assert "\n" not in str(caught.value)
    if content == b"":
        assert "could run code" not in str(caught.value)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_cut_files_are_said_to_be_cut_off(suffix: str, share: float, theirs: State, tmp_path: Path) -> None:
    """As by a copy that was stopped or a full disk; that code could run in it has nothing to do with it."""
    file = tmp_path / f"own{suffix}"
    save_file(theirs, file) if suffix == ".safetensors" else torch.save(theirs, file)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(RunError, match=rf"own{suffix} cannot be read: it is cut off, or no ") as caught:
        started(file)
    assert "could run code" not in str(caught.value)


def test_file_without_anything_is_said_to_hold_no_weights(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "own.pth")
    with pytest.raises(RunError, match=r"holds no state dict, tensors by name$"):
        started(tmp_path / "own.pth")


def test_other_weights_are_refused_with_the_names_that_differ(tmp_path: Path) -> None:
    other = torchvision.models.shufflenet_v2_x0_5().state_dict()
    other["conv1.weight"] = torch.zeros(64, 3, 7, 7)
    torch.save({"state_dict": prefixed("model.", other)}, tmp_path / "own.ckpt")
    with pytest.raises(RunError, match=r"not weights of model\.name=resnet18.*without bn1\.weight.*unknown conv1\.0\."):
        started(tmp_path / "own.ckpt")
