"""The experiments of conf/experiment as real runs on a few photos: what each starts from, trains and keeps."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from photos import CLASSES, save_photos
from safetensors.torch import load_file

from recipe.plan.compose import PROJECT, Plan, plan_of

Composer = Callable[..., Plan]
FOLDER = PROJECT / "conf" / "experiment"
LARGE = [path.stem for names in ("intel_*", "confirm_*") for path in sorted(FOLDER.glob(f"{names}.yaml"))]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for split, count in (("train", 12), ("valid", 6), ("test", 4)):
        for label, name in enumerate(CLASSES):
            save_photos(root / split / name, label, count)
    return root


def trained(plan: Composer, folder: Path, name: str, photos: Path, *overrides: str) -> dict[str, Any]:
    """The result of a run of an experiment at demo scale on a few photos of 3 classes."""
    from recipe.run.run import train

    small = ("scale=demo", f"data.root={photos}", "data.num_classes=null", "data.workers=0", "log.images=false")
    train(replace(plan(f"+experiment={name}", *small, *overrides), folder=folder))
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def test_fixres_s_second_phase_moves_norms_and_head_of_a_run_alone(
    plan: Composer, photos: Path, photo_run: Path, tmp_path: Path
) -> None:
    """From the run's own weights and head, on its photos; statistics follow the batches."""
    own = ("data=imagefolder", f"data.root={photo_run.parent / 'data'}", "model.name=shufflenet_v2_x0_5")
    batch = ("batch_size=8", "micro_batch_size=8", "epochs=2")
    trained(plan, tmp_path / "run", "fixres_finetune", photos, *own, f"model.weights={photo_run}", *batch)
    before, after = (load_file(run / "checkpoints" / "model.safetensors") for run in (photo_run, tmp_path / "run"))
    network = torchvision.models.shufflenet_v2_x0_5(num_classes=len(CLASSES))
    norms = [name for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    free = tuple(f"{name}." for name in (*norms, "fc"))
    for name, value in after.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, before[name]) != name.startswith(free), name
    assert json.loads((tmp_path / "run" / "environment.json").read_text())["weights"]["fresh"] == []


def test_zoo_trains_a_head_on_frozen_weights_and_keeps_the_epoch_of_the_lowest_loss(
    plan: Composer, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = torchvision.models.resnet18()
    torch.save(own.state_dict(), tmp_path / "own.pth")
    weights = f"model.weights={tmp_path / 'own.pth'}"
    batch = ("batch_size=8", "micro_batch_size=8")
    kept = "checkpoint.keep_after_training=true"
    result = trained(plan, tmp_path / "run", "zoo", photos, weights, "epochs=3", *batch, kept)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    state = torch.load(tmp_path / "run" / "checkpoints" / "best.pt", weights_only=True)["model"]
    parameters = [name for name, _ in own.named_parameters() if not name.startswith("fc.")]
    assert all(torch.equal(state[name], own.state_dict()[name]) for name in parameters)
    assert not torch.equal(state["bn1.running_mean"], own.bn1.running_mean)
    assert state["fc.0.weight"].shape == (256, 512)
    losses = [row["val/loss"] for row in rows if "val/loss" in row]
    assert result["best"]["loss"] == min(losses)
    assert result["best"]["by"] == "loss"
    assert "published" not in capsys.readouterr().out  # other data


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_zero_init_starts_blocks_as_it_says_and_trains(
    plan: Composer, photos: Path, tmp_path: Path, library: str
) -> None:
    from recipe.network.model import make_model

    for start in ("zero", "one"):
        config = plan(f"+experiment=zero_init_{library}_{start}", "data.root=.").config
        last = [p for name, p in make_model(config, 10).named_parameters() if name.endswith("bn2.weight")]
        assert len(last) == 8
        assert all(bool((weight == (start == "one")).all()) for weight in last)
    result = trained(plan, tmp_path / "run", f"zero_init_{library}_zero", photos)
    assert result["steps"] == 3  # 36 images, 16 a step, the last one short
    assert 0 <= result["acc1"] <= 100


@pytest.mark.slow
def test_stages_of_tiny_imagenet_start_from_each_other(
    plan: Composer, photos: Path, tmp_path: Path, recipe: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    own = torchvision.models.resnet18()
    torch.save(own.state_dict(), tmp_path / "own.pth")
    third = tmp_path / "third"
    trained(plan, tmp_path / "1", "tiny_imagenet_1", photos)
    trained(plan, tmp_path / "2", "tiny_imagenet_2", photos, f"model.weights={tmp_path / 'own.pth'}")
    trained(plan, third, "tiny_imagenet_3", photos, f"model.weights={tmp_path / 'own.pth'}")
    for stage, fresh in ((4, []), (5, ["conv1.bias", "conv1.weight"])):
        trained(plan, tmp_path / str(stage), f"tiny_imagenet_{stage}", photos, f"model.weights={third}")
        about = json.loads((tmp_path / str(stage) / "environment.json").read_text())
        assert sorted(about["weights"]["fresh"]) == fresh
    for mix in ("vanilla", "mixup", "cutmix"):
        trained(plan, tmp_path / mix, f"tiny_imagenet_{mix}", photos, "epochs=1")
    assert recipe("evaluate", third, "resolution.val_resize=18", "resolution.val_crop=18") == 0
    assert "18        18" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_models_train_at_demo_scale(plan: Composer, photos: Path, tmp_path: Path, name: str) -> None:
    model = plan_of([f"+experiment={name}", "data.root=."], to_run=False).config.model.name
    overrides = ["epochs=1", "batch_size=8", "micro_batch_size=8"]
    if name.startswith("intel"):
        torch.save(torchvision.models.get_model(model).state_dict(), tmp_path / "own.pth")
        overrides += [f"model.weights={tmp_path / 'own.pth'}", f"model.name={model}"]
    else:
        overrides += ["sampler.repetitions=1", "schedule.warmup_epochs=0", "data=imagefolder"]
    assert trained(plan, tmp_path / "run", name, photos, *overrides)["epochs"] == 1
