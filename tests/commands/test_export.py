"""`recipe export` writes files that give the network's logits elsewhere, and say what using them takes."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file
from torchvision.transforms import v2 as transforms

from recipe.run import trained

Recipe = Callable[..., int]
Capture = pytest.CaptureFixture[str]
onnx = pytest.importorskip("onnx", reason="needs the extra `export`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `export`")


def prepared(run: Path, about: dict[str, str]) -> tuple[torch.Tensor, np.ndarray]:
    """Validation photos as the file's metadata say, by torchvision alone: (n, 3, crop, crop) uint8; kept logits."""
    resize, crop, turned = (json.loads(about[name]) for name in ("val_resize", "val_crop", "exif_orientation"))
    assert json.loads(about["interpolation"]) == "bilinear"
    transform = transforms.Compose([transforms.PILToTensor(), transforms.Resize(resize), transforms.CenterCrop(crop)])
    images = []
    for path in sorted((run.parent / "data" / "val").rglob("*.jpg"), key=str):
        with Image.open(path) as photo:
            images.append(transform(ImageOps.exif_transpose(photo) if turned else photo))
    return torch.stack(images), np.load(run / "predictions.npz")["logits"].astype(np.float32)


def normalised(images: torch.Tensor, about: dict[str, str]) -> torch.Tensor:
    mean, std = (json.loads(about[name]) for name in ("mean", "std"))
    return transforms.functional.normalize(images.float() / 255, mean, std)


def test_safetensors_load_into_torchvision_and_say_how_to_use_them(
    photo_run: Path, recipe: Recipe, capsys: Capture
) -> None:
    assert recipe("export", photo_run) == 0
    assert "torchvision.models.shufflenet_v2_x0_5(num_classes=3)" in capsys.readouterr().out
    path = photo_run / "export" / "shufflenet_v2_x0_5-ema.safetensors"
    with safe_open(path, "pt") as file:
        about = file.metadata()
    classes = json.loads(about["classes"])
    model = torchvision.models.shufflenet_v2_x0_5(num_classes=len(classes)).eval()
    model.load_state_dict(load_file(path))
    images, kept = prepared(photo_run, about)
    assert np.abs(model(normalised(images, about)).detach().numpy() - kept).max() < 2e-2 * np.abs(kept).max()
    result = json.loads((photo_run / "result.json").read_text())
    assert classes == ["dark", "größe", "light"]
    assert (json.loads(about["acc1"]), json.loads(about["weights"])) == (result["acc1"], "ema")
    assert json.loads(about["training_hash"]) == result["training_hash"]
    assert about["format"] == "pt"


@pytest.mark.parametrize("pixels", [False, True])
def test_onnx_gives_the_networks_logits_for_any_batch(
    pixels: bool, photo_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "deep" / "model.onnx"
    assert recipe("export", photo_run, "--out", path, *(["--with-preprocessing"] if pixels else [])) == 0
    out = capsys.readouterr().out
    assert "checked      on 16 validation images: logits differ by at most" in out
    assert ("uint8 RGB" in out) == pixels
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    session = onnxruntime.InferenceSession(str(path))
    about = session.get_modelmeta().custom_metadata_map
    images, _ = prepared(photo_run, about)
    run = trained.read(photo_run)
    model = trained.network(run, torch.device("cpu"), "ema")
    for count in (1, 2, 7, len(images)):
        batch = normalised(images[:count], about)
        given = images[:count].permute(0, 2, 3, 1).contiguous() if pixels else batch
        (logits,) = session.run(["logits"], {"images": given.numpy()})
        with torch.inference_mode():
            assert np.abs(logits - model(batch).numpy()).max() < 1e-4
    assert json.loads(about["input"]) == ("pixels" if pixels else "normalised")


def test_weights_are_those_asked_for(photo_run: Path, recipe: Recipe, tmp_path: Path) -> None:
    run = trained.read(photo_run)
    for kind in ("raw", "ema", "best"):
        assert recipe("export", photo_run, "--weights", kind, "--out", tmp_path / f"{kind}.safetensors") == 0
        expected = trained.network(run, torch.device("cpu"), kind).state_dict()
        found = load_file(tmp_path / f"{kind}.safetensors")
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    raw, ema = (load_file(tmp_path / f"{kind}.safetensors")["fc.weight"] for kind in ("raw", "ema"))
    assert not torch.equal(raw, ema)


def test_file_that_differs_from_the_network_is_refused_and_removed(
    photo_run: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from recipe.finished import exporting

    monkeypatch.setattr(exporting, "TOLERANCE", -1.0)  # nothing is that close
    assert recipe("export", photo_run, "--out", tmp_path / "model.onnx") == 2
    assert "logits differ from the network's by" in capsys.readouterr().err
    assert not (tmp_path / "model.onnx").exists()


def test_without_the_photos_noise_is_compared(photo_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(photo_run, tmp_path / "run")
    config = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(config.replace(str(photo_run.parent / "data"), "/nowhere"))
    assert recipe("export", tmp_path / "run", "--format", "onnx") == 0
    assert "images of noise (the validation images are not here)" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_extra_is_named(
    missing: str, photo_run: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    importlib.invalidate_caches()
    code = recipe("export", photo_run, "--out", tmp_path / "model.onnx")
    said = capsys.readouterr()
    assert "pip install -e '.[export]'" in (said.err if missing == "onnx" else said.out)
    assert code == (2 if missing == "onnx" else 0)
    assert (tmp_path / "model.onnx").exists() == (missing == "onnxruntime")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere"], "there is no folder /nowhere"),
        (["RUN", "--weights", "bets"], "Did you mean best?"),
        (["RUN", "--with-preprocessing"], "--with-preprocessing is for --format onnx"),
        (["RUN", "--format", "onnx", "--out", "a.safetensors"], "is named as safetensors"),
        (
            ["RUN", "--out", "model.tflite"],
            "model.tflite names a kind of file that is not written here: model.safetens",
        ),
        (["RUN", "--format", "onnx", "--out", "model.pt"], "is not written here: model.safetensors or model.onnx"),
        (["RUN", "--out", "model"], "names a kind of file that is not written here"),
        (["RUN", "--out", "/tmp"], "--out /tmp is a folder: /tmp/model.safetensors or /tmp/model.onnx"),
        (["RUN", "--out", "/proc/a.safetensors"], "cannot write /proc/a.safetensors"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(
    photo_run: Path, recipe: Recipe, arguments: list[str], message: str, capsys: Capture
) -> None:
    assert recipe("export", *(str(photo_run) if word == "RUN" else word for word in arguments)) == 2
    assert message in capsys.readouterr().err


def test_weights_that_are_gone_are_told(photo_run: Path, recipe: Recipe, tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(photo_run, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "raw.pt").unlink()
    index = tmp_path / "run" / "checkpoints" / "weights.json"
    content = json.loads(index.read_text())
    content["files"]["best"] = "best.pt"
    index.write_text(json.dumps(content))
    for kind in ("best", "raw"):
        assert recipe("export", tmp_path / "run", "--weights", kind) == 2
        assert f"has no {kind} weights any more" in capsys.readouterr().err
    assert recipe("export", tmp_path / "run", "--weights", "ema") == 0  # model.safetensors is left
