"""Exported weights, used: as the command says, for predictions, without the run that they are of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from families import RUN
from photos import save_photos

from recipe.plan.compose import Plan
from recipe.run import trained
from recipe.run.run import train

Recipe = Callable[..., int]
SIZES = ("train_crop", "val_resize", "val_crop")


@pytest.mark.parametrize("name", ["mnasnet0_5", "googlenet"])
def test_what_it_says_of_loading_loads(
    name: str, plan: Callable[..., Plan], recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_a_step(plan, tmp_path / "run", f"model.name={name}")
    capsys.readouterr()
    assert recipe("export", run, "--out", tmp_path / "own.safetensors") == 0
    said = capsys.readouterr().out.partition("to load it")[2].splitlines()
    code = "\n".join(line.strip() for line in said).replace("own.safetensors", str(tmp_path / "own.safetensors"))
    made: dict[str, Any] = {"torchvision": torchvision, "safetensors": safetensors}
    exec(code, made)
    expected = trained.network(trained.read(run), torch.device("cpu"), "raw").state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in made["model"].state_dict().items())


def train_a_step(plan: Callable[..., Plan], folder: Path, *overrides: str) -> Path:
    composed = plan(*RUN, "data.num_classes=3", *(f"resolution.{key}=64" for key in SIZES), *overrides)
    train(replace(composed, folder=folder))
    return folder


def test_an_exported_file_is_a_classifier_and_a_beginning_by_itself(
    plan: Callable[..., Plan], recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its head, its classes, its pixels: predictions from it are the run's own."""
    run = train_a_step(plan, tmp_path / "run", "model.name=shufflenet_v2_x0_5", "model.head=mlp", "model.head_width=9")
    file = tmp_path / "own.safetensors"
    assert recipe("export", run, "--out", file) == 0
    save_photos(tmp_path / "photos", 0, 2)
    tables = []
    sources: list[list[Any]] = [[run], ["--weights", file]]
    for number, of in enumerate(sources):
        table = tmp_path / f"{number}.csv"
        assert recipe("predict", *of, tmp_path / "photos", "--csv", table) == 0
        tables.append(table.read_text())
    assert tables[0] == tables[1]
    assert "class2" in tables[0]
    assert recipe("predict", "--model", "resnet18", "--weights", file, tmp_path / "photos") == 2
    assert "are of shufflenet_v2_x0_5 (torchvision), not of resnet18" in capsys.readouterr().err
