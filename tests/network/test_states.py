"""States of networks become files whole, also where tensors are shared, and keep the versions that they say."""

from pathlib import Path

import timm
import torch
import torchvision
from safetensors.torch import load as load_safetensors

from recipe.network.states import as_safetensors, load
from recipe.run.checkpoint import load_tensors, on_host, save_tensors


def test_networks_that_share_tensors_become_whole_files() -> None:
    network = timm.create_model("coat_tiny", num_classes=3)
    state = network.state_dict()
    assert len({tensor.data_ptr() for tensor in state.values()}) < len(state)
    loaded = load_safetensors(as_safetensors(network))
    assert loaded.keys() == state.keys()
    other = timm.create_model("coat_tiny", num_classes=3)
    load(other, loaded)
    assert all(torch.equal(tensor, state[name]) for name, tensor in other.state_dict().items())


def test_a_checkpoint_keeps_the_versions_of_a_state_dict(tmp_path: Path) -> None:
    """torchvision's own network then takes it, as it would its own."""
    network = torchvision.models.mnasnet0_5(num_classes=3)
    save_tensors(tmp_path / "last.pt", on_host({"model": network.state_dict()}))
    state = load_tensors(tmp_path / "last.pt")["model"]
    assert state._metadata == network.state_dict()._metadata
    torchvision.models.mnasnet0_5(num_classes=3).load_state_dict(state)
