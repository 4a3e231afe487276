"""Real commands in real processes, on real photos where the promise is about photos."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from gpus import needs_gpus
from PIL import Image
from processes import ended, metrics, started

# ResNet-18 at 16 px: seconds a run. Two worker-free settings are as good as any: workers change nothing.
TINY = ["scale=demo", "scale.resolution=0.0715", "evaluate.every=100", "data.workers=1"]
SMALL_MODEL = "model.name=shufflenet_v2_x0_5"  # with batch norm, and checkpoints of 16 MB instead of 134
SYNTHETIC = [*TINY, SMALL_MODEL, "data=synthetic", "data.size=256"]

SYNC = "model.sync_batch_norm=true"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run train.py with arguments, by torchrun where `processes` is given, with its outputs below tmp_path."""
    return lambda *arguments, **options: ended(started(tmp_path, *arguments, **options))


def photos(root: Path, side: int) -> None:
    """Two classes of six noisy squares, to train and to validate on."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for number in range(6):
                Image.effect_noise((side, side), 50).convert("RGB").save(root / split / name / f"{number}.jpg")


def test_two_processes_train_v2_on_photos(command: Command, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    arguments = ("+recipe=v2", *TINY, "epochs=3", "log.every_steps=2")
    done = command(*arguments, processes=2, cwd=elsewhere)
    assert done.returncode == 0, done.stderr
    assert "128 = 4 micro-batches x 32 over 2 ranks" in done.stdout
    (folder,) = (tmp_path / "outputs").glob("*/seed=0")
    assert folder.parent.name.startswith("v2~")
    assert not list(elsewhere.iterdir())

    result = json.loads((folder / "result.json").read_text())
    assert (result["steps"], result["images_seen"]) == (12, 3 * 512)
    assert result["acc1"] == result["ema"]["acc1"]
    predictions = np.load(folder / "predictions.npz")
    assert predictions["index"].tolist() == list(range(1322))
    top1 = (predictions["logits"].astype(np.float32).argmax(1) == predictions["label"]).mean() * 100
    assert top1 == pytest.approx(result["acc1"], abs=0.2)  # float16 may tie what float32 tells apart

    rows = metrics(folder)
    training = [row for row in rows if "train/loss" in row]
    assert [row["step"] for row in training] == list(range(2, 13, 2))
    assert {"train/loss", "train/acc1", "train/lr", "train/images_per_second", "train/data_wait"} <= set(training[0])
    assert {"val/acc1", "val/acc5", "val/loss", "ema/acc1", "ema/acc5", "ema/loss"} <= set(rows[-1])
    losses = [row["train/loss"] for row in training]
    assert sum(losses[-3:]) < sum(losses[:3])

    environment = json.loads((folder / "environment.json").read_text())
    assert environment["hashes"] == {"training": result["training_hash"], "result": result["result_hash"]}
    assert environment["starts"][0]["world_size"] == 2
    expected = {".hydra", "config.yaml", "train.log", "checkpoints", "predictions.npz", "result.json"}
    assert expected <= {path.name for path in folder.iterdir()}
    assert {"weights.json", "model.safetensors"} <= {path.name for path in (folder / "checkpoints").iterdir()}
    assert list(folder.glob("events.out.tfevents.*"))

    before = (folder / "result.json").stat().st_mtime_ns
    again = command(*arguments, processes=2)
    assert again.returncode == 0
    assert again.stdout.count("Finished already") == 1
    assert (folder / "result.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_one_and_two_processes_are_the_same_experiment(command: Command, tmp_path: Path) -> None:
    """Repeated augmentation, mixing, batch norm, EMA, and a last step of 72 images instead of 128."""
    arguments = (
        *("+recipe=v2", "scale=demo", "scale.resolution=0.0715", "data=synthetic", "data.size=200", SMALL_MODEL),
        *("max_steps=3", "log.every_steps=1", "runtime.precision=fp64", "data.workers=1", "ema.decay=0.9999999"),
        "checkpoint.keep_after_training=true",
    )
    for processes in (0, 2):
        done = command(*arguments, f"hydra.run.dir={tmp_path / str(processes)}", processes=processes)
        assert done.returncode == 0, done.stderr
    one, two = (torch.load(tmp_path / n / "checkpoints" / "last.pt", weights_only=True) for n in ("0", "2"))
    for part in ("model", "ema"):
        for name in one[part]:
            assert torch.allclose(one[part][name].double(), two[part][name].double(), rtol=0, atol=1e-9), (part, name)
    losses = [[row["train/loss"] for row in metrics(tmp_path / n) if "train/loss" in row] for n in ("0", "2")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert len(set(losses[0])) == 3
    results = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("0", "2")]
    assert [r["acc1"] for r in results[:1]] == [r["acc1"] for r in results[1:]]
    predictions = [np.load(tmp_path / n / "predictions.npz") for n in ("0", "2")]
    assert np.array_equal(predictions[0]["index"], predictions[1]["index"])
    assert np.allclose(predictions[0]["logits"], predictions[1]["logits"], atol=1e-2)


def test_config_error_is_printed_once_under_torchrun(command: Command, tmp_path: Path) -> None:
    done = command("+recipe=v2", "optimizer.lrr=1", processes=2)
    assert done.returncode != 0
    assert (done.stdout + done.stderr).count("there is no key optimizer.lrr. Did you mean optimizer.lr?") == 1
    assert "exitcode: 2" in "".join((done.stdout + done.stderr).split("\x1b"))  # as torchrun reports it
    assert not (tmp_path / "outputs").exists()


def test_sync_batch_norm_without_gpus_is_refused(command: Command) -> None:
    done = command("+recipe=v1", *SYNTHETIC, "batch_size=32", "micro_batch_size=16", SYNC, processes=2)
    assert done.returncode != 0
    assert (done.stdout + done.stderr).count("model.sync_batch_norm=true needs GPUs, and this run is on a CPU") == 1


def test_sweep_under_torchrun_is_refused(command: Command) -> None:
    done = command("-m", "+recipe=v2", "seed=0,1", processes=2)
    assert done.returncode != 0
    assert (done.stdout + done.stderr).count("python train.py -m") == 1


@pytest.mark.slow
def test_sweep_trains_each_job_in_its_own_folder(command: Command, tmp_path: Path) -> None:
    done = command("-m", "+recipe=v1", *SYNTHETIC, "max_steps=2", "seed=0,1")
    assert done.returncode == 0, done.stderr
    results = sorted((tmp_path / "multirun_outputs").glob("v1~*/seed=*/result.json"))
    assert [path.parent.name for path in results] == ["seed=0", "seed=1"]


@pytest.mark.slow
def test_other_config_in_the_same_folder_is_refused_and_never_resumed(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert command("+recipe=v1", *SYNTHETIC, "max_steps=1", f"hydra.run.dir={folder}").returncode == 0
    (folder / "result.json").unlink()
    other = command("+recipe=v1", *SYNTHETIC, "max_steps=1", "optimizer.lr=0.5", f"hydra.run.dir={folder}")
    assert other.returncode == 2
    assert "optimizer.lr 0.0125 there, 0.5 here" in other.stderr
    assert "resume=never" in other.stderr
    anew = command(
        "+recipe=v1", *SYNTHETIC, "max_steps=1", "optimizer.lr=0.5", f"hydra.run.dir={folder}", "resume=never"
    )
    assert anew.returncode == 0, anew.stderr
    assert (tmp_path / "run.old-1" / "checkpoints" / "model.safetensors").exists()
    assert (folder / "result.json").exists()


@pytest.mark.slow
def test_finished_run_on_other_data_is_not_taken_for_this_one(command: Command, tmp_path: Path) -> None:
    small = ("batch_size=8", "micro_batch_size=4", *TINY, SMALL_MODEL, "max_steps=1", "data=imagefolder")
    for name, side in (("here", 40), ("there", 48)):
        photos(tmp_path / name, side)
    first = command("+recipe=v1", *small, f"data.root={tmp_path / 'here'}")
    assert first.returncode == 0, first.stderr
    other = command("+recipe=v1", *small, f"data.root={tmp_path / 'there'}")
    assert other.returncode == 2
    assert "train set and val set is not the one" in other.stderr
    (tmp_path / "here").rename(tmp_path / "moved")
    assert "Finished already" in command("+recipe=v1", *small, f"data.root={tmp_path / 'moved'}").stdout


@pytest.mark.parametrize("processes", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_unreadable_photo_is_named(command: Command, tmp_path: Path, processes: int) -> None:
    photos(tmp_path / "photos", 40)
    broken = tmp_path / "photos" / "train" / "dog" / "3.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    small = ("batch_size=8", "micro_batch_size=4", "scale=demo", "scale.resolution=0.0715", "data.workers=1")
    done = command("+recipe=v1", *small, "data=imagefolder", f"data.root={tmp_path / 'photos'}", processes=processes)
    assert done.returncode == (1 if processes else 2)
    assert done.stderr.count(f"cannot read the image {broken}") == 1
    assert processes or "Traceback" not in done.stderr


def test_training_set_too_small_for_a_step_is_refused(command: Command) -> None:
    done = command("+recipe=v2", "data=synthetic", "data.size=15")
    assert done.returncode == 2
    assert "15 images" in done.stderr
    assert "8 micro-batches" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant",
    [
        # At 16 px and below, bf16 weight gradients of the last stage are garbage in PyTorch on CPUs (2.14): 32 px.
        "model.source=timm model.name=resnet18 runtime.precision=bf16 loss=bce scale.resolution=0.143",
        "optimizer=lamb schedule=exponential optimizer.grad_clip=1 augment=rand_augment",
        "runtime.channels_last=false augment=auto_augment loss=poly ema=ema evaluate.grid=[{weights:raw}]",
        "optimizer=sgd_nesterov schedule=constant resolution.interpolation=nearest",
        "optimizer=rmsprop schedule=plateau resolution.interpolation=bicubic",
        "optimizer=adam schedule=onecycle",
        "optimizer=adamw schedule=warmup_cosine mix=mixup_cutmix",
    ],
)
def test_variants_of_the_baseline_train(command: Command, tmp_path: Path, variant: str) -> None:
    done = command("+recipe=v1", *SYNTHETIC, "max_steps=2", *variant.split())
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "outputs").glob("*/seed=0/result.json")
    result = json.loads(path.read_text())
    assert 0 <= result["acc1"] <= 100
    assert len(result["grid"]) == ("grid" in variant)
    assert "device-hours" in done.stdout


@needs_gpus(2)
def test_sync_batch_norm_over_two_gpus_is_batch_norm_over_the_whole_step(command: Command, tmp_path: Path) -> None:
    kept = "checkpoint.keep_after_training=true"
    arguments = (
        "+recipe=v1",
        *SYNTHETIC,
        "max_steps=3",
        "batch_size=32",
        "runtime.precision=fp64",
        "runtime.device=cuda",
        kept,
    )
    variants: list[tuple[int, list[str]]] = [
        (0, ["micro_batch_size=32"]),
        (2, ["micro_batch_size=16", "model.sync_batch_norm=true"]),
    ]
    for processes, variant in variants:
        done = command(*arguments, *variant, f"hydra.run.dir={tmp_path / str(processes)}", processes=processes)
        assert done.returncode == 0, done.stderr
    one, two = (
        torch.load(tmp_path / n / "checkpoints" / "last.pt", weights_only=True, map_location="cpu")["model"]
        for n in ("0", "2")
    )
    assert list(one) == list(two)
    for name in one:
        assert torch.allclose(one[name], two[name], rtol=0, atol=1e-9), name
