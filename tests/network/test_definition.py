"""The keys that define a network go where its weights go, one that somebody adds too."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families import RUN
from photos import save_photos
from safetensors.torch import load, save

from recipe.config import ModelConfig
from recipe.errors import ConfigError
from recipe.finished import classifier
from recipe.network import definition
from recipe.network.resolve import resolved
from recipe.network.weights import exported
from recipe.plan.compose import PROJECT, Plan
from recipe.run.run import train

SIZES = [f"resolution.{name}=64" for name in ("train_crop", "val_resize", "val_crop")]
RESNET = ["data.num_classes=3", "model.name=resnet18", *SIZES]
OTHERS: dict[str, Any] = {"stem": "small", "head": "mlp", "head_width": 9, "args": {"groups": 1}}
EARLIER = dict(OTHERS)  # those that files without an entry of all tell of
OTHERS["blur_pool"] = "convolutions"  # all others than the defaults


def test_every_key_of_the_model_defines_it_or_is_excluded_with_a_reason() -> None:
    known = [item.name for item in fields(ModelConfig)]
    assert sorted([*definition.names(), *definition.EXCLUDED]) == sorted(known)
    assert all(definition.EXCLUDED.values())
    assert definition.names() == list(OTHERS)  # a new one needs a value there, for the tests below


@pytest.mark.parametrize("name", OTHERS)
def test_only_what_is_not_at_its_default_is_chosen(name: str) -> None:
    assert definition.chosen(ModelConfig(name="resnet18")) == {}
    assert definition.chosen(ModelConfig(name="resnet18", **{name: OTHERS[name]})) == {name: OTHERS[name]}
    assert definition.chosen(ModelConfig(name="resnet18", freeze="backbone", zero_init_residual=True)) == {}


@pytest.fixture(scope="module")
def run(plan: Callable[..., Plan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network has none of the keys at their default."""
    given = [f"model.{name}={value}" for name, value in OTHERS.items() if name != "args"]
    composed = plan(*RUN, *RESNET, *given, "model.args={groups: 1}")
    folder = tmp_path_factory.mktemp("run") / "run"
    train(replace(composed, folder=folder))
    return folder


def without(file: Path, *names: str, **values: Any) -> Path:
    """The file without these entries of its metadata, and with these values."""
    about = {name: json.dumps(value) for name, value in {**exported(file), **values}.items() if name not in names}
    other = file.with_name(f"other-{file.name}")
    other.write_bytes(save(load(file.read_bytes()), {"format": "pt", **about}))
    return other


def test_an_exported_file_has_them_all_and_a_classifier_is_made_of_them(
    run: Path, recipe: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.safetensors"
    assert recipe("export", run, "--out", file) == 0
    said = capsys.readouterr().out.partition("to load it")[2]
    assert (
        "model.stem=small model.head=mlp model.head_width=9 model.args={groups:1} model.blur_pool=convolutions" in said
    )
    assert "this package makes the network" in said
    assert "torchvision.models" not in said
    assert exported(file)[definition.ENTRY] == OTHERS
    for path in (
        file,
        without(file, *definition.EARLIER_ENTRIES),
        without(file, definition.ENTRY),  # as earlier versions wrote them
    ):
        made = classifier.of_weights(None, "torchvision", str(path)).config.model
        told = OTHERS if definition.ENTRY in exported(path) else EARLIER
        assert definition.chosen(made) == told
        assert definition.of_weights(str(path)) == told
    assert definition.of_weights(str(run)) == OTHERS


def test_a_key_of_a_newer_version_is_refused(run: Path, recipe: Callable[..., int], tmp_path: Path) -> None:
    assert recipe("export", run, "--out", tmp_path / "own.safetensors") == 0
    newer = without(tmp_path / "own.safetensors", **{definition.ENTRY: {"norm": "group"}})
    message = r"made with model\.norm=group, and recipe-ladder .* has no model\.norm"
    with pytest.raises(ConfigError, match=message):
        classifier.of_weights(None, "torchvision", str(newer))
    with pytest.raises(ConfigError, match=message):
        resolved(ModelConfig(name="resnet18", weights=str(newer)))


def test_weights_that_say_nothing_differ_in_nothing(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "a.pth")
    for weights in (None, "IMAGENET1K_V1", str(tmp_path / "a.pth"), str(tmp_path / "gone.safetensors")):
        assert definition.of_weights(weights) is None
        assert definition.differences(ModelConfig(name="resnet18", weights=weights, args={"groups": 1})) == {}


# What somebody does who adds a key: a line of the schema, and what it does in make_model.
KEY = '    activation: str = key("relu", choices=("relu", "silu"), since="0.2")\n'
USE = """        if config.model.activation == "silu":
            for name in [name for name, layer in model.named_modules() if isinstance(layer, nn.ReLU)]:
                model.set_submodule(name, nn.SiLU())
"""


@pytest.mark.slow
def test_a_key_that_somebody_adds_goes_along(tmp_path: Path) -> None:
    """Its tensors have the names and shapes of the other network: nothing else would tell."""
    copy = tmp_path / "copy"
    for name in ("recipe", "conf", "hydra_plugins"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "train.py", copy)
    for file, before, added in (
        ("config.py", "\n\n@dataclass\nclass DataConfig:", KEY),
        ("network/model.py", "        set_head(model, config, num_classes)\n", USE),
    ):
        text = (copy / "recipe" / file).read_text()
        assert text.count(before) == 1
        (copy / "recipe" / file).write_text(text.replace(before, added + before))
    environment = {**os.environ, "PYTHONPATH": str(copy), "RECIPE_OUTPUTS": str(tmp_path / "outputs")}

    def call(*arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=copy,
            env=environment,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run, own = tmp_path / "run", tmp_path / "own.safetensors"
    call("train.py", *RUN, *RESNET, "model.activation=silu", f"hydra.run.dir={run}")
    assert "resnet18, 11.2 M parameters, model.activation=silu\n" in (run / "train.log").read_text()
    said = call("-m", "recipe", "export", run, "--out", own)
    assert "this package makes the network (recipe.network.model.make_model), with model.activation=silu" in said
    assert "torchvision.models" not in said
    save_photos(tmp_path / "photos", 0, 2)
    of_run = call("-m", "recipe", "predict", run, tmp_path / "photos")
    assert call("-m", "recipe", "predict", "--weights", own, tmp_path / "photos") == of_run
    for source in (run, own):
        call("train.py", *RUN, *RESNET, f"model.weights={source}", f"hydra.run.dir={tmp_path / 'relu' / source.name}")
        log = (tmp_path / "relu" / source.name / "train.log").read_text()
        assert "the weights were trained with model.activation=silu, and this run has relu\n" in log
