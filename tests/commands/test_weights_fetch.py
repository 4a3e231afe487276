"""`recipe weights fetch` brings weights to where runs look for them, and refuses names that nobody publishes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torchvision
from weights_server import SHUFFLENET, Server, serving

Command = Callable[..., int]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """torchvision publishes ShuffleNet's weights there."""
    with serving() as one:
        weights = torchvision.models.get_model_weights(SHUFFLENET)["IMAGENET1K_V1"]
        monkeypatch.setattr(weights.value, "url", one.torchvision_file())
        yield one


def test_each_is_fetched_once_and_its_place_said(
    server: Server, recipe: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network alone stands for the best weights of it."""
    names = (f"{SHUFFLENET}.IMAGENET1K_V1", SHUFFLENET)
    assert recipe("weights", "fetch", *names, "--cache", tmp_path) == 0
    said = capsys.readouterr().out
    (file,) = (tmp_path / "torch" / "hub" / "checkpoints").iterdir()
    assert f"{SHUFFLENET}.IMAGENET1K_V1: fetched into {file} (6 MB)" in said
    assert recipe("weights", "fetch", *names, "--cache", tmp_path) == 0
    assert f"{SHUFFLENET}.IMAGENET1K_V1: in {file} (6 MB)" in capsys.readouterr().out
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "torchvision has no model of this name. Did you mean resnet50?"),
        ("resnet18.IMAGENET1K_V9", "nor weights that torchvision publishes of resnet18 (IMAGENET1K_V1)"),
        ("resnet18.IMAGENET1K_V9", "nor weights that timm publishes of resnet18 (a1_in1k"),
        ("package:efficientnet", "known packages are package:efficientnet-lite0"),
    ],
)
def test_what_nobody_publishes_is_refused(
    name: str, message: str, recipe: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert recipe("weights", "fetch", name, "--cache", tmp_path) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
