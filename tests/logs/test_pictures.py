"""TensorBoard shows what the network sees and says, and the run's settings."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import Tensor

from recipe.config import Config
from recipe.data.folder import scan_folder
from recipe.logs import pictures
from recipe.plan.compose import Plan
from recipe.run.run import train
from recipe.training.evaluate import Evaluation

SMALL = ["scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=128", "data.workers=0"]
COLORS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, plan: Callable[..., Plan]) -> tuple[Path, EventAccumulator]:
    """What TensorBoard reads of a finished run."""
    folder = tmp_path_factory.mktemp("run")
    train(replace(plan("+recipe=v2", *SMALL, "model.name=shufflenet_v2_x0_5", "max_steps=2", "seed=3"), folder=folder))
    read = EventAccumulator(str(folder), size_guidance={"images": 0})
    read.Reload()
    return folder, read


def test_tensorboard_shows_config_and_pictures(board: tuple[Path, EventAccumulator]) -> None:
    folder, read = board
    expected = ["train/images", "val/best_predictions", "val/images", "val/worst_predictions"]
    assert sorted(read.Tags()["images"]) == expected
    (text,) = read.Tensors("config/text_summary")
    assert (folder / "config.yaml").read_text().strip() in text.tensor_proto.string_val[0].decode()
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1  # one run, not one more for HParams


def test_hyperparameters_are_those_of_the_run(board: tuple[Path, EventAccumulator]) -> None:
    folder, read = board
    plugins = read.summary_metadata
    content = plugins["_hparams_/session_start_info"].plugin_data.content
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["recipe"].string_value == "v2"
    assert values["seed"].number_value == 3
    assert values["mix.cutmix_alpha"].number_value == 1
    assert "data.workers" not in values
    result = json.loads((folder / "result.json").read_text())
    assert read.Scalars("val/final_acc1")[0].value == pytest.approx(result["acc1"])


def color_folder(root: Path) -> Path:
    for name, color in COLORS.items():
        (root / name).mkdir()
        for number in range(2):
            Image.new("RGB", (32, 32), color).save(root / name / f"{number}.png")
    return root


def test_grid_puts_each_image_above_its_caption() -> None:
    images = torch.stack([torch.full((3, 200, 200), value, dtype=torch.uint8) for value in (10, 20, 30)])
    sheet = pictures.grid(images, ["one", "a caption that is much too long for its picture", "two\nlines"])
    height, width = 200 + 2 * pictures.LINE + 8, 204
    assert sheet.shape == (3, 2 * height, 2 * width)
    assert (sheet[:, :200, :200] == 10).all()
    assert (sheet[:, :200, width : width + 200] == 20).all()
    assert (sheet[:, height : height + 200, :200] == 30).all()
    caption = sheet[:, 200:height, width:]
    assert (caption == 0).any()
    assert (caption[:, :, -3:] == 255).all()  # cut before the next picture


def test_worst_and_best_predictions_are_those_of_the_labels(tmp_path: Path) -> None:
    dataset = scan_folder(color_folder(tmp_path))  # blue blue green green red red
    config = Config()
    config.resolution.val_resize = config.resolution.val_crop = 32
    sure, wrong = torch.tensor([9.0, 0, 0]), torch.tensor([0.0, 9, 0])
    logits = torch.stack([sure, sure, wrong, wrong, torch.tensor([0.0, 0, 1]), sure])  # the last red one is called blue
    found = Evaluation(0, 0, 0, 0, torch.arange(6), torch.from_numpy(dataset.labels), torch.zeros(6), logits, [])
    worst, best = (first_tile(pictures.predictions(config, dataset, found, worst)) for worst in (True, False))
    assert worst == COLORS["red"]
    assert best in (COLORS["blue"], COLORS["green"])


def first_tile(sheet: Tensor) -> tuple[int, ...]:
    return tuple(sheet[:, 5, 5].tolist())


def test_targets_are_written_as_they_are_mixed() -> None:
    assert pictures._target(torch.tensor([0.0, 1.0, 0.0]), list(COLORS)) == "green"
    assert pictures._target(torch.tensor([0.28, 0.0, 0.72]), list(COLORS)) == "0.72 red\n0.28 blue"
