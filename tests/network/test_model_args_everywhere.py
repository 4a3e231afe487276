"""model.args make the network wherever a run's is made again: after a stop, by every command, from its weights."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from families import RUN, stop_after_a_step
from photos import save_photos
from safetensors.torch import load_file

from recipe.commands.bench import baselines
from recipe.errors import RunError
from recipe.plan.compose import Plan
from recipe.run import trained
from recipe.run.run import train

Recipe = Callable[..., int]
HALF = "model.args={channels: [32, 64, 128, 256], drop_path_rate: 0.1}"
NETWORK = ("data.num_classes=3", "model.source=timm", "model.name=resnet18")
SIZES = [f"resolution.{key}=64" for key in ("train_crop", "val_resize", "val_crop")]


@pytest.fixture(scope="module")
def run(plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of half a ResNet-18, stopped after its first step and finished."""
    folder = tmp_path_factory.mktemp("half") / "run"
    composed = replace(plan(*RUN, *NETWORK, *SIZES, HALF), folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        stop_after_a_step(composed, patch)
    train(composed)
    return folder


def test_a_stopped_run_goes_on_and_says_what_it_is_made_of(run: Path) -> None:
    log = (run / "train.log").read_text()
    assert "going on from the checkpoint" in log
    assert "resnet18, 2.8 M parameters, model.args={channels:[32,64,128,256],drop_path_rate:0.1}" in log
    network = trained.network(trained.read(run), torch.device("cpu"), "raw")
    assert network.get_parameter("fc.weight").shape == (3, 256)
    assert network.layer4[1].drop_path.drop_prob == pytest.approx(0.1)  # type: ignore[index, union-attr]


def test_commands_make_it_again(run: Path, recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An exported file is a classifier by itself, and loads as it says."""
    assert recipe("evaluate", run) == 0
    save_photos(tmp_path / "photos", 0, 2)
    capsys.readouterr()
    assert recipe("export", run, "--out", tmp_path / "own.safetensors") == 0
    code = re.search(r"timm\.create_model\(.*\)", capsys.readouterr().out)
    assert code is not None
    network = eval(code[0].replace("own.safetensors", str(tmp_path / "own.safetensors")), {"timm": timm})
    assert torch.equal(network.state_dict()["fc.weight"], load_file(tmp_path / "own.safetensors")["fc.weight"])
    tables = []
    for number, of in enumerate([[str(run)], ["--weights", str(tmp_path / "own.safetensors")]]):
        assert recipe("predict", *of, tmp_path / "photos", "--csv", tmp_path / f"{number}.csv") == 0
        tables.append((tmp_path / f"{number}.csv").read_text())
    assert tables[0] == tables[1]


def test_explain_shows_its_layers(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe("explain", "v2", *NETWORK[1:], HALF, "--layers", 64) == 0
    assert re.search(r"fc +Linear +1000 +257,000\n", capsys.readouterr().out)


def test_explain_refuses_what_the_constructor_does_not_take(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe("explain", "v2", *NETWORK[1:], "model.args={channel: 3}") == 2
    assert "no such argument. Did you mean channels?" in capsys.readouterr().err


def test_bench_measures_it_beside_timm_s_own(plan: Callable[..., Plan]) -> None:
    vit = ("model.source=timm", "model.name=vit_tiny_patch16_224", "model.args={img_size: 64, depth: 1}")
    composed = plan(*RUN, *vit, *SIZES, "mix=mixup")  # which by itself does not take images of 64 pixels
    for way in (baselines.bare, baselines.timm_style):
        assert way(composed.config, torch.device("cpu"))(1) == 2
    torchvision_s = plan(*RUN, "model.name=resnet50", *SIZES, "model.args={width_per_group: 32}")
    with pytest.raises(RuntimeError, match="takes other arguments"):
        baselines.timm_style(torchvision_s.config, torch.device("cpu"))


def test_a_run_that_starts_from_it_is_told_its_arguments(
    run: Path, recipe: Recipe, plan: Callable[..., Plan], tmp_path: Path
) -> None:
    begin = [*RUN, *NETWORK, *SIZES, "optimizer.lr=0.0002"]
    assert recipe("export", run, "--out", tmp_path / "own.safetensors") == 0
    for weights in (run, tmp_path / "own.safetensors"):
        for args in ([], ["model.args={channels: [16, 32, 64, 128]}"]):
            composed = plan(*begin, f"model.weights='{weights}'", *args)
            with pytest.raises(RunError, match=r"trained with model\.args=\{channels:\[32,64,128,256\],drop_path"):
                train(replace(composed, folder=tmp_path / "refused"))
    for name, given in (("same", HALF), ("other", HALF.replace("0.1", "0.2"))):
        composed = plan(*begin, f"model.weights='{run}'", given)
        train(replace(composed, folder=tmp_path / name))
        said = (tmp_path / name / "train.log").read_text()
        assert ("trained with model.args={channels:[32,64,128,256],drop_path_rate:0.1}, and this" in said) == (
            name == "other"
        )


def test_a_file_of_a_run_is_answered_with_the_run(
    run: Path, recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not say which network it is of."""
    save_photos(tmp_path / "photos", 0, 1)
    assert recipe("predict", "--weights", run / "checkpoints" / "model.safetensors", tmp_path / "photos") == 2
    assert f"the run does: recipe predict {run} …" in capsys.readouterr().err
    (run / "export").mkdir(exist_ok=True)
    for file, said in (
        (run / "export" / "own.onnx", f"the run does: recipe predict {run} …"),
        (run / "checkpoints" / "raw.pt", f"the run does: recipe predict {run} --weights raw …"),
        (tmp_path / "own.onnx", "give the run, or a safetensors file"),
        (tmp_path / "own.pth", "of which model? Add --model"),
    ):
        file.write_bytes(b"")
        assert recipe("predict", "--weights", file, tmp_path / "photos") == 2
        assert said in capsys.readouterr().err
        file.unlink()
